"""Two of the faults of `make faults`, on quick settings; the others take the minutes that they take."""

from pathlib import Path

import pytest

from tests.faults.blows import Fault, cut_connections, kill_broker
from tests.faults.drill import drill
from tests.faults.site import Plan

QUICK = Plan(
    speed=100_000,
    environment={"SMOOTHCERT_BEAT": "0.5"},
)


@pytest.mark.parametrize("strike", [cut_connections, kill_broker])
def test_nothing_is_lost_doubled_or_wrong(strike: object, tmp_path: Path) -> None:
    row = drill(Fault("a fault", "somehow", strike, QUICK), tmp_path / "site")  # type: ignore[arg-type]
    assert row.in_flight
    assert row.clean, row
    assert row.slowest < 5
