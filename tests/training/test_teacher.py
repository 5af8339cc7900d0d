"""Counting a teacher's votes on the training images."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from scipy.stats import norm
from torch import nn

from smoothcert.errors import InvalidRequest
from training.datasets.base import Schedule
from training.datasets.image_set import ImageSet
from training.methods.base import Method
from training.recipe import Recipe, build_recipe
from training.teacher import VoteCount, count_votes, is_counted, read_shares, shares_digest
from training.trainer import Trainer

CPU = torch.device("cpu")
VOTES, SIGMA = 200, 0.5
COUNT = VoteCount("weights", "images", SIGMA, VOTES)


class FirstPixel(nn.Module):
    """Class 1 if the first pixel is above 0.5; so the share of class 1 is known."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        margin_B = images_BCHW[:, 0, 0, 0] - 0.5
        return torch.stack([-margin_B, margin_B, margin_B - 1000], dim=1)


def images(side: int = 2) -> ImageSet:
    """600 images, more than one batch; the pixels from the middle on are 255 * i / 600."""
    pixels_u8 = torch.zeros(600, 1, 4, 4, dtype=torch.uint8)
    pixels_u8[:, :, 1:, 1:] = (torch.arange(600) * 255 // 600).to(torch.uint8)[:, None, None, None]
    return ImageSet(
        name="steps",
        split="train",
        images_u8=pixels_u8,
        labels=torch.zeros(600, dtype=torch.int64),
        class_names=("dark", "light", "never"),
        licence="none",
        input_shape=(1, side, side),
    )


def count(path: Path, votes: int = VOTES) -> None:
    list(count_votes(FirstPixel(), images(), VoteCount("weights", "images", SIGMA, votes), path, CPU))


def test_the_shares_are_those_of_the_cropped_images_under_noise(tmp_path: Path) -> None:
    count(tmp_path / "votes")
    shares = read_shares(tmp_path / "votes", COUNT)
    first = images().images_u8[:, 0, 1, 1].double() / 255  # type: ignore[index]
    expected = torch.from_numpy(norm.cdf((first.numpy() - 0.5) / SIGMA))
    assert shares.dtype == torch.float32
    assert torch.allclose(shares.sum(1), torch.ones(600))
    assert shares[:, 2].max() == 0
    # 600 shares of 200 votes: standard error 0.036 at most, so 5 of them; their mean is sure to 0.0015.
    assert (shares[:, 1] - expected).abs().max() < 0.18
    assert float((shares[:, 1] - expected).mean()) == pytest.approx(0, abs=0.006)


def test_a_count_that_was_killed_goes_on_with_the_very_same_votes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count(tmp_path / "whole", votes=7)
    monkeypatch.setattr("training.teacher.SAVE_EVERY", 0.0)
    steps = count_votes(FirstPixel(), images(), COUNT, tmp_path / "parts", CPU)
    assert [next(steps) for _ in range(3)] == [1, 2, 3]
    steps.close()
    assert not is_counted(tmp_path / "parts", COUNT)
    with pytest.raises(InvalidRequest, match="3 of 200 votes"):
        read_shares(tmp_path / "parts", COUNT)
    count(tmp_path / "parts", votes=7)
    few = VoteCount("weights", "images", SIGMA, 7)
    assert is_counted(tmp_path / "parts", few)
    shares = [read_shares(tmp_path / name, few) for name in ("whole", "parts")]
    assert torch.equal(*shares)
    assert shares_digest(shares[0]) == shares_digest(shares[1])


@pytest.mark.parametrize(
    "other", [VoteCount("others", "images", SIGMA, 1), VoteCount("weights", "images", 1.0, 1)]
)
def test_votes_of_another_network_or_noise_are_refused(tmp_path: Path, other: VoteCount) -> None:
    count(tmp_path / "votes", votes=1)
    with pytest.raises(InvalidRequest, match="another network or on other images; remove it"):
        is_counted(tmp_path / "votes", other)


def test_a_file_without_counts_is_refused(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(1)}, tmp_path / "votes")
    with pytest.raises(InvalidRequest, match="can't be read as vote counts"):
        is_counted(tmp_path / "votes", COUNT)


def recipe() -> Recipe:
    found = build_recipe("cat-rs", "mnist", 0.5, options={"num_noises": 2, "steps": 1})
    return Recipe(
        method_name="cat-rs",
        method=found.method,
        dataset="mnist",
        architecture="lenet",
        schedule=Schedule(epochs=1, lr=0.05, lr_step=1, batch=16),
        mean=(0.0,),
        std=(1.0,),
    )


def final_weights(shares_NK: torch.Tensor | None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    digits = ImageSet(
        name="random",
        split="train",
        images_u8=torch.randint(0, 256, (32, 1, 28, 28), dtype=torch.uint8, generator=generator),
        labels=torch.arange(32) % 10,
        class_names=tuple("0123456789"),
        licence="none",
        input_shape=(1, 28, 28),
    )
    trainer = Trainer(recipe(), digits, CPU, shares_NK)
    list(trainer.steps())
    return torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()])


def test_every_image_is_trained_with_its_own_shares(one_thread: None) -> None:
    """The labels as shares are what the method takes without any; those of other images are not."""
    certain = nn.functional.one_hot(torch.arange(32) % 10, 10).float()
    by_labels = final_weights(None)
    assert torch.equal(final_weights(certain), by_labels)
    assert not torch.equal(final_weights(certain.roll(1, 0)), by_labels)


def test_only_cat_rs_uses_vote_shares() -> None:
    assert recipe().method.uses_vote_shares
    assert not Method.uses_vote_shares
