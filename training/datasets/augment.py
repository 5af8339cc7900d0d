"""Augmentation of whole uint8 batches on their device; each image has its own random draw.

Shapes do not depend on the data, so a CUDA graph can hold it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Augment = Callable[[Tensor, torch.Generator | None], Tensor]  # uint8 (B, C, H, W) to uint8

PADDING = 4  # pixels
MIN_AREA = 0.08  # share of the image that a random crop keeps
MAX_RATIO = 4 / 3  # of a random crop's sides


def crop_and_flip(images_BCHW: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random crop of the same size from the image padded with 4 black pixels, then a flip in half of them.

    He et al., CVPR 2016, section 4.2.
    """
    batch, _, height, width = images_BCHW.shape
    device = images_BCHW.device
    padded = functional.pad(images_BCHW, (PADDING,) * 4)
    top, left = torch.randint(0, 2 * PADDING + 1, (2, batch, 1), generator=generator, device=device)
    flip = torch.randint(0, 2, (batch, 1), generator=generator, device=device).bool()
    rows_BH = top + torch.arange(height, device=device)
    columns_W = torch.arange(width, device=device)
    columns_BW = left + torch.where(flip, columns_W.flip(0), columns_W)
    image_B11 = torch.arange(batch, device=device)[:, None, None]
    return padded.movedim(1, -1)[image_B11, rows_BH[:, :, None], columns_BW[:, None, :]].movedim(-1, 1)


def resized_crop_and_flip(images_BCHW: Tensor, generator: torch.Generator | None, size: int) -> Tensor:
    """A random crop resized (bilinear) to size x size pixels, then a flip in half of them.

    As torchvision's RandomResizedCrop: area uniform in [0.08, 1] of the image, ratio of the sides log-uniform
    in [3/4, 4/3]. A side longer than the image's is cut to it.
    """
    batch, channels = images_BCHW.shape[:2]
    device = images_BCHW.device
    area, ratio, x, y, mirror = torch.rand((5, batch), generator=generator, device=device)
    area = MIN_AREA + (1 - MIN_AREA) * area
    stretch = torch.exp((ratio - 0.5) * math.log(MAX_RATIO))  # square root of the ratio
    width = (area.sqrt() * stretch).clamp_max(1)
    height = (area.sqrt() / stretch).clamp_max(1)
    sign = torch.where(mirror < 0.5, 1.0, -1.0)
    zero = torch.zeros_like(width)
    horizontal = torch.stack([sign * width, zero, (2 * x - 1) * (1 - width)], dim=1)
    vertical = torch.stack([zero, height, (2 * y - 1) * (1 - height)], dim=1)
    grid = functional.affine_grid(
        torch.stack([horizontal, vertical], dim=1), [batch, channels, size, size], align_corners=False
    )
    crops = functional.grid_sample(images_BCHW.float(), grid, padding_mode="border", align_corners=False)
    return crops.round().to(torch.uint8)
