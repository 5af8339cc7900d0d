"""The field's class `Smooth` (Cohen et al. 2019, github.com/locuslab/smoothing), answered by this library.

    from smoothcert.compat import Smooth, ABSTAIN

    Smooth(net, 10, 0.5).certify(x, n0=100, n=100_000, alpha=0.001, batch_size=1000)
    # a class or ABSTAIN, and the certified radius

Same procedures, same arguments, same kind of answers. What differs: the module is copied and checked (see
`SmoothedClassifier`), the engine that measures fastest runs it, and the noise is the exact grid Gaussian.
"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from smoothcert.engines.as_given import AsGivenEngine
from smoothcert.engines.autotune import Subject, available_device, choose_config
from smoothcert.engines.capture import Captured, capture
from smoothcert.engines.config import EngineConfig
from smoothcert.engines.engine import Engine
from smoothcert.engines.function_check import Classifier, Scores, fingerprint
from smoothcert.environment import cache_folder
from smoothcert.errors import BadImage, ImpossibleRequest
from smoothcert.schemas.certificate import Shape
from smoothcert.schemas.limits import check_sigma
from smoothcert.schemas.parameters import ProcedureName, checked_parameters
from smoothcert.stats.procedure import Certification, Result, drive
from smoothcert.votes import Counts, VoteRange, VoteSource

ABSTAIN = -1

_CHUNK = 65_536  # votes
_LEVELS = 255
_ROUNDING = 1e-4  # levels: what float32 arithmetic may add to a multiple of 1/255


class Smooth:
    """A smoothed classifier g, by the names and arguments of the field's own code."""

    ABSTAIN = ABSTAIN

    def __init__(
        self, base_classifier: Classifier, num_classes: int, sigma: float, *, engine: str | None = None
    ) -> None:
        """base_classifier: a torch.nn.Module, or a callable, from (B,C,H,W) to scores (B, num_classes).

        sigma: of the noise, pixels in [0,1]. engine: as certificates name it; by default the one that
        measures fastest here. Nothing runs before the first call. Weights may change between calls. Raises
        InvalidRequest.
        """
        check_sigma(sigma)
        self.base_classifier = base_classifier
        self.num_classes = num_classes
        self.sigma = sigma
        self._engine_text = engine
        self._weights = ""
        self._runners: dict[Shape, _Runner] = {}

    def certify(
        self, x: Tensor, n0: int, n: int, alpha: float, batch_size: int | None = None
    ) -> tuple[int, float]:
        """CERTIFY of Cohen et al. 2019: (class, l2 radius), or (ABSTAIN, 0.0); wrong with probability alpha
        at most.

        x: one image (C,H,W), pixels in [0,1], on any device; any floats are taken. n0, n: votes for selection
        and estimation. batch_size: at most, of a classifier that runs as it is; engines have their own.
        Raises BadImage, InvalidRequest: x or the classifier can't be certified.
        """
        result = self._result(x, "certify", n0, n, alpha, batch_size)
        if result is None or result.predicted_class is None:
            return ABSTAIN, 0.0
        return result.predicted_class, result.radius

    def predict(self, x: Tensor, n: int, alpha: float, batch_size: int | None = None) -> int:
        """PREDICT of Cohen et al. 2019: g's class at x, or ABSTAIN; wrong with probability alpha at most.

        Arguments as for `certify`.
        """
        result = self._result(x, "predict", 1, n, alpha, batch_size)
        if result is None or result.predicted_class is None:
            return ABSTAIN
        return result.predicted_class

    def counts(self, x: Tensor, num: int, batch_size: int | None = None) -> Counts:
        """Votes of `num` noisy copies of x for each class, as the field's `_sample_noise`; shape (K,)."""
        image_CHW = _checked_image(x)
        channels, height, width = image_CHW.shape
        runner = self._runner((channels, height, width))
        source = runner.votes(image_CHW, self.sigma, _fresh_seed(), batch_size)
        return source.count(VoteRange("estimation", 0, num))

    def _result(  # noqa: PLR0917
        self, x: Tensor, procedure: ProcedureName, n0: int, n: int, alpha: float, batch_size: int | None
    ) -> Result | None:
        """None if so few votes can't decide anything."""
        image_CHW = _checked_image(x)
        parameters = checked_parameters(self.sigma, procedure=procedure, n0=n0, n=n, alpha=alpha)
        channels, height, width = image_CHW.shape
        runner = self._runner((channels, height, width))
        source = runner.votes(image_CHW, self.sigma, _fresh_seed(), batch_size)
        try:
            certification = Certification(parameters, source.num_classes, slack=source.slack)
        except ImpossibleRequest:
            return None
        for _ in drive(certification, source, _CHUNK):
            pass
        return certification.result

    def _runner(self, shape_CHW: Shape) -> "_Runner":
        """Checked and captured anew whenever the classifier has changed."""
        base = self.base_classifier
        weights = fingerprint(base if isinstance(base, nn.Module) else None)
        if weights != self._weights:
            self._runners.clear()
            self._weights = weights
        known = self._runners.get(shape_CHW)
        if known is None or not known.captured.probe.still_holds(base):
            captured = capture(base, shape_CHW, self.num_classes, self.sigma)
            self._runners[shape_CHW] = _Runner(captured, shape_CHW, self.num_classes, self._engine_text)
        return self._runners[shape_CHW]


class _Runner:
    """Votes of one captured classifier on images of one shape."""

    def __init__(
        self, captured: Captured, shape_CHW: Shape, num_classes: int, engine_text: str | None
    ) -> None:
        self.captured = captured
        self._shape = shape_CHW
        self._num_classes = num_classes
        self._engine_text = engine_text
        self._engine: Engine | None = None
        self._eager: AsGivenEngine | None = None

    def votes(self, image_CHW: Tensor, sigma: float, seed: int, batch: int | None) -> VoteSource:
        """The votes for an image of any floats.

        Off the grid of k/255 the base classifier is shifted by the distance: f(z + offset) at the grid point
        has the votes, and the radius, of f at the image.
        """
        pixels_CHW, offset_CHW = _nearest_pixels(image_CHW)
        on_grid = float(offset_CHW.abs().max()) * _LEVELS <= _ROUNDING
        if on_grid and self.captured.opaque is None:
            return self._built().sampler(pixels_CHW, sigma, seed)
        eager = self._as_given(batch)
        eager.voter.offset_CHW = None if on_grid else offset_CHW
        return eager.sampler(pixels_CHW, sigma, seed)

    def _built(self) -> Engine:
        if self._engine is None:
            network = self.captured.network
            subject = Subject(network, self._shape, self._num_classes, self.captured.graph_sha256)
            config = (
                EngineConfig.parse(self._engine_text)
                if self._engine_text
                else choose_config(subject, cache_folder())
            )
            self._engine = Engine(network, self._shape, self._num_classes, config)
        return self._engine

    def _as_given(self, batch: int | None) -> AsGivenEngine:
        if self._eager is None or (batch and self._eager.voter.shape_BHWC[0] > batch):
            network = self.captured.network
            device = network.home if isinstance(network, Scores) else torch.device(available_device())
            moved = network if isinstance(network, Scores) else copy.deepcopy(network).to(device)
            self._eager = AsGivenEngine(moved, self._shape, self._num_classes, device=device, batch=batch)
        return self._eager


def _checked_image(x: Any) -> Tensor:
    """x as float64 on the CPU, shape (C,H,W). Raises BadImage."""
    image = torch.as_tensor(x).detach().cpu()
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim != 3:
        raise BadImage(f"x is one image of shape (C, H, W); this has shape {tuple(image.shape)}.")
    image = image.double().div(_LEVELS) if image.dtype == torch.uint8 else image.double()
    if not image.isfinite().all():
        raise BadImage("x holds NaN or infinite numbers.")
    return image


def _nearest_pixels(image_CHW: Tensor) -> tuple[NDArray[np.uint8], Tensor]:
    """The nearest eight-bit pixels, and what is added to them to get the image."""
    pixels_CHW = image_CHW.mul(_LEVELS).round().clamp(0, _LEVELS)
    return pixels_CHW.numpy().astype(np.uint8), (image_CHW - pixels_CHW / _LEVELS).float()


def _fresh_seed() -> int:
    """From torch's own generator, as the field draws its noise: repeatable after torch.manual_seed."""
    high, low = torch.randint(0, 2**63 - 1, (2,)).tolist()
    return int(high) << 64 | int(low)
