import subprocess
import sys

import pytest

CRASH = """
import structlog
from smoothcert.logs import configure

def crash(password):
    raise RuntimeError("broken")

configure("INFO", {as_json})
try:
    crash("5e" * 3)
except RuntimeError:
    structlog.get_logger().exception("unexpected")
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_where_and_no_variables(as_json: bool) -> None:
    code = CRASH.format(as_json=as_json)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "RuntimeError: broken" in done.stderr
    assert "in crash" in done.stderr
    assert "5e5e5e" not in done.stderr
