import pytest
import torch

from smoothcert.errors import InvalidRequest
from training.methods.standard import Standard


def test_the_loss_is_the_cross_entropy_of_the_images_as_they_are(problem):
    loss = problem.loss(Standard(sigma=0.5))
    logits_BK = problem.clean_logits()
    rows = zip(logits_BK, problem.labels.tolist(), strict=True)
    slow = [torch.logsumexp(row, 0).item() - row[label].item() for row, label in rows]
    assert loss.item() == pytest.approx(sum(slow) / len(slow), rel=1e-12)
    assert problem.loss(Standard(sigma=1.0)).item() == loss.item()


def test_several_noises_are_refused():
    with pytest.raises(InvalidRequest, match="draws no noise"):
        Standard(sigma=0.5, num_noises=2)
