"""Checks that a classifier given in Python is a function of one image, as randomized smoothing assumes.

Found and refused: randomness of its own, state that changes from call to call, answers that depend on the
other images of the batch. Differences at the level of floating-point rounding are no finding.
"""

import hashlib
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from smoothcert.engines.engine import noisy_pixels
from smoothcert.errors import InvalidRequest
from smoothcert.schemas.certificate import Shape

Scores = Callable[[Tensor], Tensor]  # images_BCHW, float32 in [0,1] plus noise, to scores_BK

_SMALL_IMAGE = 10_000  # C*H*W; of larger images fewer are tried
_IMAGES, _IMAGES_LARGE = 12, 4
# Rounding: how far scores may differ between two ways to compute them, as a share of their spread.
_EXACT = 1e-4
_COARSE = 0.02  # float16, bfloat16 and TF32

RANDOM = (
    "{name} answers the same images differently from call to call: it draws random numbers (dropout that "
    "stays on in evaluation mode?) or changes its own state. Give a deterministic classifier."
)
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


def check_is_a_function(scores: Scores, module: nn.Module | None, images_BCHW: Tensor, name: str) -> Tensor:
    """The scores of the images. module: whose state must not change, if any. Raises InvalidRequest."""
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
        return scores(images_BCHW.clone()).detach().clone()


def _random_state() -> tuple[object, ...]:
    """Of the generators that a classifier may draw from."""
    cuda = [state.tolist() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else []
    kind, keys, *position = np.random.get_state(legacy=True)  # the global generator, which others use
    numpys = kind, np.asarray(keys).tolist(), position
    return torch.get_rng_state().tolist(), cuda, numpys, random.getstate()
