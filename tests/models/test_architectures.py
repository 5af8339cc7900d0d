"""Networks: their parameters and shapes are those of the published checkpoints."""

import sys
from importlib.util import find_spec

import pytest
import torch

from smoothcert.errors import InternalError, InvalidRequest
from smoothcert.models.architectures import ARCHITECTURES, DenoisedClassifier, DnCNN, build_network
from smoothcert.models.registry import DenoisedArchitecture

SHAPES = {"lenet": (1, 28, 28), "resnet20": (3, 32, 32), "resnet110": (3, 32, 32), "densenet40": (3, 32, 32)}


def network(name: str, classes: int = 10) -> torch.nn.Module:
    channels = SHAPES[name][0] if name in SHAPES else 3
    return build_network(name, classes, [0.5] * channels, [0.25] * channels).eval()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet", 431_080),
        ("resnet20", 272_474),
        ("resnet110", 1_730_714),
        ("densenet40", 211_978),
        ("resnet50", 25_557_032),
    ],
)
def test_parameter_counts_are_those_of_the_papers(name: str, count: int) -> None:
    classes = 1000 if name == "resnet50" else 10
    assert sum(p.numel() for p in network(name, classes).parameters()) == count


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_come_one_row_an_image(name: str) -> None:
    with torch.no_grad():
        assert network(name)(torch.rand(3, *SHAPES[name])).shape == (3, 10)


def test_densenet_has_three_blocks_of_six_bottlenecks_with_growth_12() -> None:
    shapes = [
        tuple(p.shape) for n, p in network("densenet40").named_parameters() if n.endswith("conv2.weight")
    ]
    assert shapes == [(12, 48, 3, 3)] * 18


def test_between_densenets_blocks_there_is_pooling_only_as_compression_is_1() -> None:
    weights = {n: p for n, p in network("densenet40").named_parameters() if p.ndim == 4}
    assert len(weights) == 1 + 2 * 18
    inner = [weight.shape[1] for name, weight in weights.items() if name.endswith("conv1.weight")]
    assert inner == [24 + 12 * i for i in range(18)]


@pytest.mark.parametrize(("name", "blocks"), [("resnet20", 3), ("resnet110", 18)])
def test_cifar_resnets_have_their_blocks_and_two_projections(name: str, blocks: int) -> None:
    weights = {n: tuple(p.shape) for n, p in network(name).named_parameters()}
    assert sum(n.endswith("conv1.weight") for n in weights) == 3 * blocks
    projections = [shape for n, shape in weights.items() if "shortcut.0" in n]
    assert projections == [(32, 16, 1, 1), (64, 32, 1, 1)]


def test_normalisation_is_the_first_layer_and_not_in_the_weights() -> None:
    made = build_network("resnet20", 10, [0.5, 0.4, 0.3], [0.2, 0.25, 0.1])
    pixels = torch.full((1, 3, 1, 1), 0.5)
    torch.testing.assert_close(made[0](pixels).flatten(), torch.tensor([0.0, 0.4, 2.0]))  # type: ignore[index]
    assert not [name for name in made.state_dict() if name.startswith("0.")]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3", "squeezenet1_1", "vit_b_32"])
def test_torchvisions_classifiers_give_plain_logits_in_training_too(name: str) -> None:
    with torch.device("meta"):  # shapes alone
        logits = network(name).train()(torch.empty(2, 3, 224, 224))
    assert logits.shape == (2, 10)


def test_an_unknown_architecture_is_named_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match=r"no architecture 'lenin'.*lenet"):
        build_network("lenin", 10, [0.0], [1.0])


def test_a_torchvision_network_needs_colour() -> None:
    with pytest.raises(InvalidRequest, match="takes colour images"):
        build_network("resnet50", 10, [0.0], [1.0])


def test_a_network_of_timm_is_built_or_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("timm"):
        network = build_network("timm:mobilenetv3_small_050", 7, (0.5,), (0.5,)).eval()
        assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 7)
        with pytest.raises(InvalidRequest, match="no architecture 'none_such'"):
            build_network("timm:none_such", 7, (0.5,), (0.5,))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InternalError, match=r"needs the package timm.*timm"):
        build_network("timm:resnet18", 7, (0.5,), (0.5,))


def test_a_dncnn_has_the_published_layers() -> None:
    denoiser = DnCNN(17, 64, 3)
    assert (
        sum(p.numel() for p in denoiser.parameters()) == 27 * 64 + 64 + 15 * (9 * 64 * 64 + 2 * 64) + 27 * 64
    )
    norms = [layer for layer in denoiser.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum) for norm in norms] == [(1e-4, 0.95)] * 15
    with torch.no_grad():
        assert denoiser(torch.rand(2, 3, 40, 24)).shape == (2, 3, 40, 24)


def test_a_fresh_denoiser_changes_no_answer() -> None:
    torch.manual_seed(1)
    pair = build_network("dncnn-5-16:lenet", 10, (0.1,), (0.5,)).eval()
    assert isinstance(pair, DenoisedClassifier)
    images_BCHW = torch.randn(4, 1, 28, 28)
    with torch.no_grad():
        assert torch.equal(pair.denoiser(images_BCHW), images_BCHW)
        assert torch.equal(pair(images_BCHW), pair.classifier(images_BCHW))


def test_training_mode_leaves_the_classifier_in_evaluation_mode() -> None:
    pair = build_network("dncnn-3-4:resnet20", 10, (0.0,) * 3, (1.0,) * 3).train()
    assert {part.training for part in pair.denoiser.modules()} == {True}  # type: ignore[union-attr,operator]
    assert {part.training for part in pair.classifier.modules()} == {False}  # type: ignore[union-attr,operator]
    before = {name: value.clone() for name, value in pair.classifier.state_dict().items()}  # type: ignore[union-attr,operator]
    pair(torch.rand(4, 3, 32, 32)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in pair.classifier.state_dict().items())  # type: ignore[union-attr,operator]
    assert all(parameter.grad is None for parameter in pair.classifier.parameters())  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("name", ["dncnn-5-16:lenet", "dncnn-17-64:timm:resnet18", "dncnn-2-1:onnx"])
def test_the_name_of_a_denoised_architecture_is_read_as_it_is_written(name: str) -> None:
    read = DenoisedArchitecture.parse(name)
    assert read is not None
    assert str(read) == name
