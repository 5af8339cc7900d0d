import numpy as np
import pytest
from scipy import stats

from smoothcert.noise.streams import BatchStream, device_key, parse_seed
from smoothcert.votes import Stage

SEED = 0x0123456789ABCDEF_FEDCBA9876543210
KEYS: list[tuple[int, Stage, int]] = [
    (seed, stage, batch)
    for seed in (SEED, SEED + 1, SEED + 2**32, SEED + 2**64, SEED ^ 2**127, 0)
    for stage in ("selection", "estimation")
    for batch in (0, 1, 2, 2**31, 2**32)
]


def test_a_stream_is_a_function_of_seed_stage_and_batch() -> None:
    first, again = (BatchStream(SEED, "estimation", 5).words(1000) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize(
    ("stage", "words", "key"),
    [
        ("selection", [0x515900B1B8C74E73, 0xD9CAE3B935F2052F], 0x1DB99ACE4E33DA44),
        ("estimation", [0xA2E1B0E67E04D35A, 0xA076484475C49E97], 0x66973804DBFDC0CF),
    ],
)
def test_streams_stay_what_they_were_so_that_old_certificates_can_be_replayed(
    stage: Stage, words: list[int], key: int
) -> None:
    assert BatchStream(SEED, stage, 5).words(2).tolist() == words
    assert device_key(SEED, stage, 5) == key


def test_streams_of_different_keys_share_no_words() -> None:
    words = np.concatenate([BatchStream(*key).words(1000) for key in KEYS])
    assert len(np.unique(words)) == len(words)


def test_device_keys_of_different_triples_differ_and_fit_a_signed_word() -> None:
    keys = {device_key(*key) for key in KEYS}
    assert len(keys) == len(KEYS)
    assert all(0 <= key < 2**63 for key in keys)


def test_lanes_use_every_bit_of_the_words() -> None:
    words = BatchStream(SEED, "selection", 0).words(3)
    lanes = BatchStream(SEED, "selection", 0).lanes(10)
    assert np.array_equal(lanes, words.view(np.uint16)[:10])


def test_a_seed_is_hexadecimal_of_128_bits() -> None:
    assert parse_seed(f"{SEED:032x}") == SEED
    assert parse_seed("0" * 32) == 0
    assert parse_seed("f" * 32) == 2**128 - 1
    for bad in ("", "xyz", "-1", "1" + "0" * 32):
        with pytest.raises(ValueError):  # noqa: PT011  (any message: int() has its own)
            parse_seed(bad)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 4001])
def test_as_many_lanes_are_drawn_as_are_asked_for(count: int) -> None:
    assert BatchStream(SEED, "estimation", 0).lanes(count).shape == (count,)


def test_lanes_take_no_more_words_than_they_need() -> None:
    stream = BatchStream(SEED, "selection", 0)
    stream.lanes(8)
    assert stream.words(1) == BatchStream(SEED, "selection", 0).words(3)[2]


def test_normal_values_are_normal() -> None:
    values = BatchStream(SEED, "estimation", 1).normals(100_000)
    assert values.shape == (100_000,)
    assert stats.kstest(values, "norm").pvalue > 1e-4  # fixed seed: passes or does not
