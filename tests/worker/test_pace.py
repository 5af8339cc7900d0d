from worker.pace import Pace


def test_chunks_settle_at_the_time_they_should_take() -> None:
    pace, start = Pace(chunk=0.25, batch=128), 0
    for _ in range(10):
        votes = pace.most(start)
        pace.observe(votes, votes / 40_000)
        start += votes
    assert 9_800 < pace.most(start) < 10_200


def test_chunks_end_where_batches_end() -> None:
    pace = Pace(chunk=0.25, batch=128, votes=1000)
    for start in (0, 100, 128, 1001):
        assert (start + pace.most(start)) % 128 == 0
        assert pace.most(start) > 0


def test_a_slow_engine_gets_one_batch_at_a_time() -> None:
    pace = Pace(chunk=0.25, batch=64)
    pace.observe(64, 30.0)
    assert pace.most(0) == 64


def test_a_remainder_before_a_look_says_nothing_about_speed() -> None:
    pace = Pace(chunk=0.25, batch=128, votes=5000)
    pace.observe(1, 0.004)
    assert pace.votes == 5000


def test_what_is_left_of_a_chunk_is_filled_and_no_more() -> None:
    pace = Pace(chunk=0.25, batch=128, votes=12_800)
    assert pace.most(0, left=0.05) == 2560
    assert pace.most(0, left=-1.0) == 128
    assert pace.most(0, left=9.0) == 12_800


def test_what_is_left_is_told_by_the_speed_whatever_size_the_next_chunk_has() -> None:
    pace = Pace(chunk=0.25, batch=128)
    assert pace.seconds(40_000) == 0.0, "nothing is known yet"
    pace.observe(128, 128 / 40_000)
    assert pace.votes < 10_000
    assert pace.seconds(40_000) == 1.0


def test_a_part_of_a_second_is_told_too() -> None:
    pace = Pace(chunk=0.25, batch=128)
    pace.observe(256, 1.0)
    assert pace.seconds(64) == 0.25


def test_a_portion_is_a_chunks_worth_and_a_batch_at_least() -> None:
    pace = Pace(chunk=0.25, batch=128)
    assert pace.wanted == 128
    pace.observe(1280, 0.25)
    assert pace.wanted == 1280


def test_an_engine_that_became_slow_is_believed_after_one_batch() -> None:
    pace = Pace(chunk=0.25, batch=128, votes=50_000)
    pace.observe(128, 1.0)
    assert pace.most(0) == 128


def test_the_first_votes_tell_something_however_few() -> None:
    pace = Pace(chunk=0.25, batch=128)
    pace.observe(100, 1.0)
    assert pace.seconds(200) == 2.0


def test_a_clock_too_coarse_for_a_batch_is_no_error() -> None:
    pace = Pace(chunk=0.25, batch=128)
    pace.observe(128, 0.0)
    assert pace.most(0) > 128
