"""A vote is a function of its own pixels: where its row stands in the batch must not matter."""

import numpy as np
import torch

from smoothcert.noise.sampler import BatchVoter


def rows_answer_alike_in_any_order(voter: BatchVoter) -> bool:
    pixels_BHWC = torch.randint(-255, 510, voter.shape_BHWC, dtype=torch.int16)
    order = torch.randperm(len(pixels_BHWC))
    voter.start(0, pixels_BHWC)
    straight = voter.classes(0)
    voter.start(0, pixels_BHWC[order].contiguous())
    return np.array_equal(voter.classes(0), straight[order.numpy()])
