"""Modules given in Python: refused where they are no function of one image, else they vote as alone."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.classifier import SmoothedClassifier
from smoothcert.engines.capture import Captured, capture
from smoothcert.engines.pytorch import fold_batch_norm
from smoothcert.errors import InvalidRequest, NotProved
from smoothcert.stats.verify import verify as recompute
from smoothcert.verification import verify

SHAPE, CLASSES, SIGMA = (3, 12, 12), 6, 0.5
ENGINE = "cpu:eager/channels-last/folded/1-threads:float32:64"


class Body(nn.Module):
    """Linear scores, and what a test does with them."""

    def __init__(self, then: Callable[..., Any] = lambda scores, images: scores) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 12 * 12, CLASSES)
        self.then = then

    def forward(self, images: Tensor) -> Any:
        return self.then(self.linear(images.flatten(1)), images)


def captured(module: Any, classes: int = CLASSES) -> Captured:
    torch.manual_seed(0)
    return capture(module, SHAPE, classes, SIGMA)


def _branch(scores: Tensor, images: Tensor) -> Tensor:
    return scores if images.mean() > 0.5 else -scores


def _large_batch(scores: Tensor, images: Tensor) -> Tensor:
    return scores if len(images) > 3 else scores + 1


@pytest.mark.parametrize(
    "then",
    [
        _branch,
        _large_batch,
        lambda scores, images: scores - 1e-5 * scores.mean(0),
        lambda scores, images: scores.softmax(0),
        lambda scores, images: scores.cumsum(0),
        lambda scores, images: scores - 0.01 * scores.detach().max(),
        lambda scores, images: scores + images.numpy().std(),
        lambda scores, images: F.batch_norm(scores, None, None, training=True),
    ],
)
def test_answers_that_depend_on_the_rest_of_the_batch_are_refused(then: Callable[..., Any]) -> None:
    with pytest.raises(InvalidRequest, match="depends on the other images of its batch"):
        captured(Body(then))


class Counting(Body):
    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(images) + 0.01 * self.calls


class Updating(Body):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1e-9
        return super().forward(images)


class AlwaysTraining(nn.Sequential):
    def train(self, mode: bool = True) -> "AlwaysTraining":
        super().train(True)
        return self


@pytest.mark.parametrize(
    "module",
    [
        Body(lambda scores, images: F.dropout(scores, 0.01, training=True)),
        Body(lambda scores, images: scores + 1e-6 * torch.randn(1)),
        Body(lambda scores, images: scores + 1e-6 * random.random()),
        Body(lambda scores, images: scores + 1e-6 * np.random.rand()),
        Counting(),
        Updating(),
        AlwaysTraining(nn.BatchNorm2d(3), Body()),
        lambda images: torch.rand(len(images), CLASSES),
    ],
)
def test_randomness_and_state_are_refused(module: Any) -> None:
    with pytest.raises(InvalidRequest, match="answers the same images differently"):
        captured(module)


@pytest.mark.parametrize(
    "then",
    [
        lambda scores, images: {"features": images, "values": scores},
        lambda scores, images: (images, scores),
        lambda scores, images: SimpleNamespace(logits=scores, loss=None),
        lambda scores, images: {"logits": scores, "more": scores},
    ],
)
def test_scores_are_found_in_what_a_module_returns(then: Callable[..., Any]) -> None:
    found = captured(Body(then))
    assert found.opaque is None
    assert any("the scores are" in note for note in found.notes)


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (lambda scores, images: (scores, scores), "more than one tensor of 6 scores"),
        (lambda scores, images: {"a": images}, "no tensor of 6 scores"),
        (lambda scores, images: scores.argmax(1), "classes, not scores"),
        (lambda scores, images: scores[:, :, None, None], r"returns shape \(12, 6, 1, 1\)"),
        (lambda scores, images: "cat", "returns a str"),
        (lambda scores, images: scores[:, :5], "gives 5 scores an image, but num_classes is 6"),
        (lambda scores, images: images.flatten(1) @ torch.ones(4), "fails on float images of shape"),
    ],
)
def test_other_answers_are_refused_in_words(then: Callable[..., Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        captured(Body(then))


def test_twenty_classes_for_ten_and_weights_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="gives 6 scores an image, but num_classes is 20"):
        captured(Body(), classes=20)
    broken = Body()
    with torch.no_grad():
        broken.linear.bias[0] = torch.nan
    with pytest.raises(InvalidRequest, match=r"linear\.bias holds NaN"):
        captured(broken)
    for thing in ("resnet18", None, 3):
        with pytest.raises(InvalidRequest, match=r"A classifier is a torch\.nn\.Module or a function"):
            captured(thing)


@pytest.mark.parametrize(
    "then",
    [
        lambda scores, images: torch.stack([s if s.max() > 0 else -s for s in scores]),
        lambda scores, images: scores.index_fill(1, (scores.sum(0) > 1e9).nonzero().squeeze(1), 0.0),
        lambda scores, images: torch.from_numpy(np.tanh(scores.numpy())),
    ],
)
def test_what_can_not_be_captured_runs_as_it_is(then: Callable[..., Any]) -> None:
    found = captured(Body(then))
    assert found.opaque
    assert "torch.export" in found.opaque


def test_training_mode_is_put_right_on_a_copy(small_network: nn.Module, image_CHW: NDArray[np.uint8]) -> None:
    trained = nn.Sequential(nn.Dropout(0.5), small_network).train()
    classifier = classifier_of(trained)
    assert trained.training
    assert any("training mode" in note for note in classifier.notes)
    votes = classifier.certify(image_CHW, n=256, seed=1).counts
    assert votes == classifier_of(small_network).certify(image_CHW, n=256, seed=1).counts
    small_network.eval()


def classifier_of(module: Any, **options: Any) -> SmoothedClassifier:
    options = {"sigma": SIGMA, "num_classes": CLASSES, "input_shape": SHAPE, "engine": ENGINE} | options
    return SmoothedClassifier(module, **options)


def test_a_module_and_the_same_function_get_the_same_votes(
    small_network: nn.Module, image_CHW: NDArray[np.uint8]
) -> None:
    module = classifier_of(small_network)
    function = classifier_of(small_network.forward)
    assert module.opaque is None
    assert function.opaque is not None
    certificates = [each.certify(image_CHW, n=512, seed=7) for each in (module, function)]
    assert certificates[0].counts == certificates[1].counts
    assert [c.model.opaque is None for c in certificates] == [True, False]
    assert all(recompute(c).first_wrong is None for c in certificates)
    assert "as-given" in certificates[1].engine.backend
    assert verify(certificates[0], image=image_CHW, model=module, replay=True)
    assert verify(certificates[1], image=image_CHW, model=function, replay=True)
    with pytest.raises(NotProved, match="model: the weights"):
        verify(certificates[1], image=image_CHW, model=module, replay=True)


def test_normalisation_is_part_of_the_classifier(
    small_network: nn.Module, image_CHW: NDArray[np.uint8]
) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    inside = classifier_of(small_network, mean=mean, std=std)
    tensors = [torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std)]
    outside = classifier_of(lambda images: small_network((images - tensors[0]) / tensors[1]))
    counts = [each.certify(image_CHW, n=512, seed=7).counts for each in (inside, outside)]
    assert counts[0] == counts[1]


def test_the_digest_covers_weights_and_code() -> None:
    torch.manual_seed(1)
    one = Body()
    other_code = Body(lambda scores, images: scores.relu())
    other_code.load_state_dict(one.state_dict())
    other_weights = Body()
    digests = [captured(module) for module in (one, one, other_code, other_weights)]
    assert digests[0].weights_sha256 == digests[1].weights_sha256 == digests[2].weights_sha256
    assert digests[0].graph_sha256 == digests[1].graph_sha256 == digests[3].graph_sha256
    assert digests[2].graph_sha256 != digests[0].graph_sha256
    assert digests[3].weights_sha256 != digests[0].weights_sha256
    constant = [captured(Body(lambda s, x, c=c: s * torch.tensor([c]))).graph_sha256 for c in (1.0, 2.0)]
    assert constant[0] != constant[1]


@pytest.mark.parametrize(
    ("wrap", "dtype"),
    [
        (nn.DataParallel, torch.float32),
        (torch.compile, torch.float32),
        (nn.Sequential, torch.float64),
        (nn.Sequential, torch.float16),
    ],
)
def test_wrappers_and_other_precisions_are_captured(
    wrap: Callable[[nn.Module], nn.Module], dtype: torch.dtype
) -> None:
    assert captured(wrap(Body().to(dtype))).opaque is None


def test_attention_is_captured() -> None:
    def by_image(scores: Tensor, images: Tensor) -> Tensor:
        return scores + F.scaled_dot_product_attention(images, images, images).flatten(1)[:, :CLASSES]

    assert captured(Body(by_image)).opaque is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"sigma": 0}, "sigma must be from"),
        ({"sigma": "a"}, "is no number"),
        ({"num_classes": 1}, "2 to"),
        ({"num_classes": True}, "2 to"),
        ({"num_classes": 10.0}, "2 to"),
        ({"input_shape": (3, 12, 12.0)}, r"it is \(C, H, W\)"),
        ({"input_shape": (3, 12, 0, 12)}, r"it is \(C, H, W\)"),
        ({"input_shape": (12, 12)}, r"it is \(C, H, W\)"),
        ({"input_shape": (4, 12, 12)}, "1 channel"),
        ({"mean": (0.5,)}, "1 numbers for 3 channel"),
        ({"std": (0.5, 0.0, 0.5)}, "std must be positive"),
        ({"labels": ["a"]}, "There are 1 labels"),
    ],
)
def test_wrong_descriptions_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        classifier_of(Body(), **options)


def test_numbers_of_numpy_and_torch_describe_a_classifier_too() -> None:
    """As `labels.max() + 1` and `images.shape` of an array of shapes give them."""
    shape = np.array([3, 12, 12])
    described = classifier_of(Body(), num_classes=torch.tensor(CLASSES), input_shape=shape)
    assert described.card.input_shape == (3, 12, 12)
    assert len(described.card.labels) == CLASSES


def test_the_fastest_engine_is_measured(
    small_network: nn.Module,
    image_CHW: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SMOOTHCERT_CACHE", str(cache))
    classifier = classifier_of(small_network, engine=None, labels=list("abcdef"))
    certificate = classifier.certify(image_CHW, n=512, procedure="predict")
    assert certificate.label in {None, *"abcdef"}
    assert len(list(cache.iterdir())) == 1
    assert "as-given" not in certificate.engine.backend


def test_batch_norm_of_a_captured_network_is_folded_into_its_convolutions(
    small_network: nn.Module, image_CHW: NDArray[np.uint8]
) -> None:
    graph = captured(small_network).network
    images_BCHW = torch.from_numpy(image_CHW) / 255 + 0.5 * torch.randn(20, *SHAPE)
    with torch.no_grad():
        expected_BK = graph(images_BCHW)
        folded = fold_batch_norm(graph)
        torch.testing.assert_close(folded(images_BCHW), expected_BK, rtol=1e-4, atol=1e-5)
    assert "aten.batch_norm" not in str(folded.graph)


class TwoUses(nn.Module):
    """A batch norm that has another use of its convolution, and one behind no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norms = (
            nn.Conv2d(3, 3, 3, padding=1, bias=False),
            nn.ModuleList(map(nn.BatchNorm2d, (3, 3))),
        )
        self.head = nn.Linear(3 * 12 * 12, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        once = self.conv(images)
        return self.head((self.norms[0](once) + once + self.norms[1](images)).flatten(1))


def test_other_batch_norms_of_a_captured_network_stay() -> None:
    torch.manual_seed(1)
    module = TwoUses()
    module(torch.rand(8, *SHAPE))  # statistics other than 0 and 1
    graph, images_BCHW = captured(module.eval()).network, torch.rand(4, *SHAPE)
    with torch.no_grad():
        expected_BK = graph(images_BCHW)
        folded = fold_batch_norm(graph)
        assert torch.equal(folded(images_BCHW), expected_BK)
    assert str(folded.graph).count("aten.batch_norm.default") == 2


def test_a_hugging_face_model_is_captured_as_it_is(image_CHW: NDArray[np.uint8]) -> None:
    transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=12,
        patch_size=4,
        num_labels=CLASSES,
    )
    torch.manual_seed(0)
    module = transformers.ViTForImageClassification(config)
    classifier = SmoothedClassifier(
        module, sigma=SIGMA, num_classes=CLASSES, input_shape=SHAPE, engine=ENGINE
    )
    assert classifier.opaque is None
    assert "the scores are logits of what it returns" in classifier.notes
    assert sum(classifier.certify(image_CHW, n=100, seed=1).counts) == 100
