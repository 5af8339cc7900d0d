"""Checks that a classifier is a function of one image, as randomized smoothing assumes.

Every network that comes from elsewhere passes them, as a module in Python or as a file. Found and refused:
other answers than one row of scores an image, randomness of its own, state that changes from call to call,
answers that depend on the other images of the batch. Differences at the level of floating-point rounding are
no finding.
"""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smoothcert.engines.engine import noisy_pixels
from smoothcert.errors import InvalidRequest
from smoothcert.schemas.certificate import Shape

Classifier = nn.Module | Callable[[Tensor], Any]
Path = tuple[str | int, ...]  # attributes, keys and indices that lead from an answer to its scores

_SMALL_IMAGE = 10_000  # C*H*W; of larger images fewer are tried
_IMAGES, _IMAGES_LARGE = 12, 4
# Rounding: how far scores may differ between two ways to compute them, as a share of their spread.
_EXACT = 1e-4
_COARSE = 0.02  # float16, bfloat16 and TF32

RANDOM = (
    "{name} answers the same images differently from call to call: it draws random numbers (dropout that "
    "stays on in evaluation mode?) or changes its own state. Give a deterministic classifier."
)
FIT = "Do input_shape, mean and std fit it?"
COUPLED = (
    "The answer of {name} to an image depends on the other images of its batch (batch normalisation by the "
    "batch's own statistics?). Give a classifier that answers each image by itself."
)


def probe_images(shape_CHW: Shape, sigma: float) -> Tensor:
    """Images of coarse random blocks plus Gaussian noise, float32, shape (B,C,H,W)."""
    channels, height, width = shape_CHW
    size = _IMAGES if channels * height * width <= _SMALL_IMAGE else _IMAGES_LARGE
    pixels_BHWC = noisy_pixels((size, height, width, channels), 255 * sigma)
    return pixels_BHWC.float().div(255).permute(0, 3, 1, 2).contiguous()


class Scores(nn.Module):
    """The classifier with its normalisation before it; its scores are taken out of whatever it returns."""

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self, classifier: Classifier, mean: Sequence[float] | None, std: Sequence[float] | None
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.path: Path = ()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, None if values is None else torch.tensor(values).view(1, -1, 1, 1))

    @property
    def module(self) -> nn.Module | None:
        """The classifier if it is a module."""
        return self.classifier if isinstance(self.classifier, nn.Module) else None

    @property
    def home(self) -> torch.device:
        """Where the module's weights lie."""
        return next((tensor.device for tensor in _tensors(self.module)), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the module's weights."""
        floats = (tensor.dtype for tensor in _tensors(self.module) if tensor.is_floating_point())
        return next(floats, torch.float32)

    def answer(self, images_BCHW: Tensor) -> Any:
        """What the classifier returns."""
        if self.mean is not None:
            images_BCHW = images_BCHW - self.mean
        if self.std is not None:
            images_BCHW = images_BCHW / self.std
        return self.classifier(images_BCHW.to(self.dtype))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        scores = self.answer(images_BCHW)
        for step in self.path:
            named = isinstance(step, str) and not isinstance(scores, Mapping)
            scores = getattr(scores, str(step)) if named else scores[step]
        return scores if isinstance(scores, Tensor) else torch.as_tensor(scores)


def name_of(classifier: Classifier) -> str:
    """For messages: the class of a module, or the name of a function."""
    if isinstance(classifier, nn.Module):
        return type(classifier).__name__
    return getattr(classifier, "__name__", type(classifier).__name__)


def check_classifier(
    scores: Scores, images_BCHW: Tensor, num_classes: int, name: str, hint: str = FIT
) -> Tensor:
    """The scores of the images; `scores.path` is set to where they are in the classifier's answer.

    hint: what to check if it fails on such images. Raises InvalidRequest.
    """
    answer = _first_answer(scores, images_BCHW, name, hint)
    scores.path = _find_scores(answer, len(images_BCHW), num_classes, name)
    scores_BK = _check_is_a_function(scores, images_BCHW, name)
    if not scores_BK.isfinite().any():
        raise InvalidRequest(f"The scores of {name} are not finite. {hint}")
    return scores_BK


def _check_is_a_function(scores: Scores, images_BCHW: Tensor, name: str) -> Tensor:
    module = scores.module
    before = _random_state(), fingerprint(module)
    first_BK = _plain(scores, images_BCHW)
    again_BK = _plain(scores, images_BCHW)
    if not alike(first_BK, again_BK) or before != (_random_state(), fingerprint(module)):
        raise InvalidRequest(RANDOM.format(name=name))
    try:
        others = _in_other_company(scores, images_BCHW)
    except Exception as error:  # of a user's code, which may raise anything
        reason = f" (with batches of another size it fails: {type(error).__name__}: {error})."
        raise InvalidRequest(COUPLED.format(name=name) + reason) from error
    if _depends_on_others(scores, images_BCHW) or not all(alike(first_BK, other) for other in others):
        raise InvalidRequest(COUPLED.format(name=name))
    return first_BK


def alike(ours_BK: Tensor, theirs_BK: Tensor) -> bool:
    """Whether two computations of the same scores differ by rounding only."""
    coarse = {ours_BK.dtype, theirs_BK.dtype} & {torch.float16, torch.bfloat16}
    ours, theirs = ours_BK.detach().double().cpu(), theirs_BK.detach().double().cpu()
    finite = ours.isfinite()
    if not torch.equal(finite, theirs.isfinite()):
        return False
    if not finite.any():
        return True
    spread, size = ours[finite].max() - ours[finite].min(), ours[finite].abs().max()
    share = _COARSE if coarse or ours_BK.device.type != "cpu" else _EXACT
    return bool((ours - theirs)[finite].abs().max() <= share * spread + 1e-6 * size)


def fingerprint(module: nn.Module | None) -> str:
    """Of weights and buffers: equal as long as none of them changes."""
    digest = hashlib.blake2b()
    for tensor in [] if module is None else [*module.parameters(), *module.buffers()]:
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """The content of a tensor of any type, on any device."""
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""


def _in_other_company(scores: Scores, images_BCHW: Tensor) -> list[Tensor]:
    """The scores of the same images: in reverse, one by one, and beside images unlike them."""
    half = len(images_BCHW) // 2
    parts = images_BCHW[:half], images_BCHW[half:]
    alone = torch.cat([_plain(scores, image) for image in torch.split(images_BCHW, 1)])
    reverse = _plain(scores, images_BCHW.flip(0)).flip(0)
    return [alone, reverse, *(_beside(scores, parts, factor) for factor in (-5, 5))]


def _beside(scores: Scores, parts: tuple[Tensor, Tensor], factor: float) -> Tensor:
    """Scores of both parts, each beside images so bright or dark that they shift every mean."""
    strangers = factor * (parts[0] + 1)
    return torch.cat([_plain(scores, torch.cat([strangers, part]))[len(strangers) :] for part in parts])


def _depends_on_others(scores: Scores, images_BCHW: Tensor) -> bool:
    """Whether one image's scores have a gradient with respect to another: exact where it can be computed."""
    images = images_BCHW.clone().requires_grad_()
    middle = len(images) // 2
    try:
        with torch.enable_grad():
            scores_K = scores(images)[middle].float()
            weights_K = torch.linspace(-1, 2, len(scores_K), device=scores_K.device)
            (gradient,) = torch.autograd.grad((scores_K * weights_K).sum(), images)
    except (RuntimeError, NotImplementedError, IndexError):  # not differentiable
        return False
    others = torch.cat([gradient[:middle], gradient[middle + 1 :]])
    return bool((others.nan_to_num() != 0).any())


def _plain(scores: Scores, images_BCHW: Tensor) -> Tensor:
    with torch.no_grad():
        plain_BK: Tensor = scores(images_BCHW.clone())
    return plain_BK.detach().clone()


def _random_state() -> tuple[object, ...]:
    """Of the generators that a classifier may draw from."""
    cuda = [state.tolist() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else []
    kind, keys, *position = np.random.get_state(legacy=True)  # the global generator, which others use
    numpys = kind, np.asarray(keys).tolist(), position
    return torch.get_rng_state().tolist(), cuda, numpys, random.getstate()


def _first_answer(scores: Scores, images_BCHW: Tensor, name: str, hint: str) -> Any:
    shape = "(B, " + ", ".join(map(str, images_BCHW.shape[1:])) + ")"
    try:
        with torch.no_grad():
            return scores.answer(images_BCHW.clone())
    except Exception as error:  # a user's code may raise anything
        message = str(error).strip().partition("\n")[0]
        raise InvalidRequest(
            f"{name} fails on float images of shape {shape}: {type(error).__name__}: {message}. {hint}"
        ) from error


def _find_scores(answer: Any, batch: int, num_classes: int, name: str) -> Path:
    """Where in the answer the scores (B,K) are. Raises InvalidRequest."""
    named = getattr(answer, "logits", None)
    if named is None and isinstance(answer, Mapping):
        named = answer.get("logits")
    if named is not None:
        _check_shape(named, batch, num_classes, f"the logits of {name}")
        return ("logits",)
    if isinstance(answer, Mapping | tuple | list):
        return _only_scores(answer, batch, num_classes, name)
    _check_shape(answer, batch, num_classes, name)
    return ()


def _only_scores(answer: Mapping[Any, Any] | Sequence[Any], batch: int, num_classes: int, name: str) -> Path:
    parts = list(answer.items()) if isinstance(answer, Mapping) else list(enumerate(answer))
    fitting = [key for key, part in parts if _shape(part) == (batch, num_classes)]
    if len(fitting) == 1:
        return (fitting[0],)
    kinds = ", ".join(f"{key}: {_shape(part) or type(part).__name__}" for key, part in parts[:5])
    what = "no" if not fitting else "more than one"
    raise InvalidRequest(
        f"{name} returns a {type(answer).__name__} ({kinds}) with {what} tensor of {num_classes} scores an "
        "image: give a function that returns the scores alone, such as lambda x: net(x)[0]."
    )


def _check_shape(scores: Any, batch: int, num_classes: int, name: str) -> None:
    shape = _shape(scores)
    if shape is None:
        raise InvalidRequest(
            f"{name} returns a {type(scores).__name__}, not a tensor of scores (B, {num_classes})."
        )
    if shape == (batch, num_classes):
        return
    if len(shape) == 2 and shape[0] == batch:
        raise InvalidRequest(f"{name} gives {shape[1]} scores an image, but num_classes is {num_classes}.")
    hint = ": these are classes, not scores; give the scores" if shape == (batch,) else ""
    raise InvalidRequest(
        f"{name} returns shape {shape} for {batch} images, not ({batch}, {num_classes}){hint}."
    )


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "shape", None)
    return None if shape is None or not hasattr(value, "dtype") else tuple(shape)


def _tensors(module: nn.Module | None) -> Iterator[Tensor]:
    if module is not None:
        yield from module.parameters()
        yield from module.buffers()
