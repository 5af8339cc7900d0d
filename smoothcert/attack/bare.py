"""The smallest l2 perturbation that changes the class of the bare network, the undefended classifier.

Decoupled direction and norm (DDN, Rony et al., CVPR 2019): each step turns the perturbation along the
gradient; its norm shrinks where the class has changed, and grows where it has not. A bisection between the
image and each perturbation found ends it. The loss is a difference of logits, whose gradient does not vanish
where the softmax saturates.

Pixels stay in [0,1]. Every perturbation returned was evaluated, as it is, by the network. Norms are l2.
Notation: eta is a perturbation, b restarts, K classes.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RESTARTS = 10  # DDN runs, each towards another class
STEPS = 100  # 1000 steps and 20 restarts find less than 0.1 % smaller ones on MNIST
TURNS = 1.0, 0.01  # the first and the last step, as a share of the norm
GROWTHS = 0.1, 0.001  # by which the norm changes in the first and in the last step
BISECTIONS = 16  # to 2e-5 of the norm: wider than rounding in float32
ANY = -1  # the goal of a restart: any class but the predicted one


@dataclass(frozen=True, eq=False)
class BareResult:
    """predicted: the network's class. norm, reached, eta_CHW: of the smallest perturbation, None if none."""

    predicted: int
    norm: float | None = None
    reached: int | None = None
    eta_CHW: NDArray[np.float64] | None = None


class BareAttacker:
    """Attacks one network, without noise."""

    def __init__(
        self, network: nn.Module, *, restarts: int = RESTARTS, steps: int = STEPS, device: str = "cpu"
    ) -> None:
        self._network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False).to(device)
        self._dtype = next((p.dtype for p in network.parameters()), torch.float32)
        self._restarts = restarts
        self._steps = steps
        self._device = device

    def attack(self, image_CHW: NDArray[np.uint8], seed: int) -> BareResult:
        """The smallest perturbation found. image_CHW: uint8. seed: of the directions of the restarts."""
        run = _Run(self, torch.from_numpy(image_CHW.astype(np.float64) / 255).to(self._device))
        found_bCHW = run.ddn(self._directions(image_CHW.shape, seed), self._steps)
        return run.smallest(found_bCHW)

    def logits(self, images_BCHW: Tensor) -> Tensor:
        """The network's scores, float64."""
        scores_BK: Tensor = self._network(images_BCHW.to(self._dtype))
        return scores_BK.double()

    def goals(self, logits_K: Tensor, predicted: int) -> Tensor:
        """The class that each restart reaches for: any, then the others by their score."""
        others = [k for k in logits_K.argsort(descending=True).tolist() if k != predicted]
        goals = [ANY, *others]
        return torch.tensor([goals[b % len(goals)] for b in range(self._restarts)], device=self._device)

    def _directions(self, shape_CHW: tuple[int, ...], seed: int) -> Tensor:
        """Unit vectors to begin with; the first restart begins at the image, so it has none."""
        generator = torch.Generator().manual_seed(seed % 2**63)
        drawn = torch.randn((self._restarts, *shape_CHW), generator=generator, dtype=torch.float64)
        drawn[0] = 0
        return _scaled(drawn.to(self._device), drawn.new_ones(self._restarts).to(self._device))


class _Run:
    """The attack on one image, pixels in [0,1], float64."""

    def __init__(self, attacker: BareAttacker, image_CHW: Tensor) -> None:
        self._attacker = attacker
        self._image_CHW = image_CHW
        with torch.no_grad():
            logits_K = attacker.logits(image_CHW[None])[0]
        self._predicted = int(logits_K.argmax())
        self._goals_b = attacker.goals(logits_K, self._predicted)

    def ddn(self, directions_bCHW: Tensor, steps: int) -> Tensor:
        """The smallest perturbation that changes the class, of each restart; infinite where none did."""
        norms_b = self._first_norms(directions_bCHW)
        eta = self._inside(_scaled(directions_bCHW, norms_b))
        best = torch.full_like(eta, torch.inf)
        smallest_b = torch.full_like(norms_b, torch.inf)
        for step in range(steps):
            gradient, changed_b, _ = self._gradient(eta)
            better_b = changed_b & (_norms(eta) < smallest_b)
            best[better_b], smallest_b[better_b] = eta[better_b], _norms(eta)[better_b]
            turn, growth = _decayed(TURNS, step / steps), _decayed(GROWTHS, step / steps)
            norms_b = norms_b * torch.where(changed_b, 1 - growth, 1 + growth)
            eta = self._inside(_scaled(eta + _scaled(gradient, turn * norms_b), norms_b))
        return best

    def smallest(self, found_bCHW: Tensor) -> BareResult:
        """The smallest perturbation that changes the class when the network sees that image alone.

        In a batch of another size a score may round the other way.
        """
        for eta_CHW in found_bCHW[_norms(found_bCHW).argsort()]:
            if self._class_of(eta_CHW) not in (None, self._predicted):
                shortest_CHW = self._shortened(eta_CHW)
                norm = float(torch.linalg.vector_norm(shortest_CHW))
                reached = self._class_of(shortest_CHW)
                return BareResult(self._predicted, norm, reached, shortest_CHW.cpu().numpy())
        return BareResult(self._predicted)

    def _shortened(self, eta_CHW: Tensor) -> Tensor:
        """The way to eta up to where the class changes, by bisection."""
        low, high = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if self._class_of(middle * eta_CHW) == self._predicted:
                low = middle
            else:
                high = middle
        return high * eta_CHW

    def _class_of(self, eta_CHW: Tensor) -> int | None:
        """The network's class at one image; None for an infinite perturbation."""
        if not eta_CHW.isfinite().all():
            return None
        with torch.no_grad():
            return int(self._attacker.logits(self._image_CHW[None] + eta_CHW)[0].argmax())

    def _first_norms(self, like_bCHW: Tensor) -> Tensor:
        """How far the boundary would be if the network were linear, for each restart."""
        gradient, _, leads_b = self._gradient(torch.zeros_like(like_bCHW))
        norms_b = -leads_b / _norms(gradient).clamp_min(1e-12)
        return norms_b.clamp(1e-3, math.sqrt(self._image_CHW.numel()))

    def _gradient(self, eta_bCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradient of the goal's lead over the predicted class; whether the class changed; the lead."""
        eta_bCHW = eta_bCHW.detach().requires_grad_()
        logits_bK = self._attacker.logits(self._image_CHW + eta_bCHW)
        others_bK = logits_bK.detach().clone()
        others_bK[:, self._predicted] = -torch.inf
        goals_b = torch.where(self._goals_b == ANY, others_bK.argmax(dim=1), self._goals_b)
        leads_b = logits_bK.gather(1, goals_b[:, None])[:, 0] - logits_bK[:, self._predicted]
        (gradient_bCHW,) = torch.autograd.grad(leads_b.sum(), eta_bCHW)
        return gradient_bCHW, logits_bK.argmax(dim=1) != self._predicted, leads_b.detach()

    def _inside(self, eta_bCHW: Tensor) -> Tensor:
        """eta with pixels in [0,1]."""
        return (self._image_CHW + eta_bCHW).clamp(0, 1) - self._image_CHW


def _norms(eta_bCHW: Tensor) -> Tensor:
    norms_b: Tensor = torch.linalg.vector_norm(eta_bCHW.flatten(1), dim=1)
    return norms_b


def _times(eta_bCHW: Tensor, factors_b: Tensor) -> Tensor:
    return eta_bCHW * factors_b.view(-1, 1, 1, 1)


def _scaled(eta_bCHW: Tensor, norms_b: Tensor) -> Tensor:
    """eta scaled to these norms; the zero vector stays."""
    return _times(eta_bCHW, norms_b / _norms(eta_bCHW).clamp_min(torch.finfo(eta_bCHW.dtype).tiny))


def _decayed(ends: tuple[float, float], share: float) -> float:
    """From the first to the second, along a cosine."""
    return ends[1] + (ends[0] - ends[1]) * (1 + math.cos(math.pi * share)) / 2
