"""What the tests say of a mutant.

A process forked off a warm one runs them, and is killed when it takes too long.
"""

import gc
import importlib
import json
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pytest

Outcome = Literal["killed", "survived", "timed out", "incompetent"]

# A mutant's process lives for a fraction of a second: no rewriting of assertions, no search for what leaks.
_ARGUMENTS = ["-x", "-q", "--tb=line", "--assert=plain", "-p", "pytest_timeout"]
_ARGUMENTS += [part for name in ("cacheprovider", "unraisableexception") for part in ("-p", f"no:{name}")]
_DURATIONS = Path("durations.json")  # in the copy: seconds of each test, written when all have passed
_EXAMPLES = 25  # of each property, a quarter of what the suite tries: a mutant they miss counts as alive
_MEMORY = 6 * 2**30  # bytes of data: an endless loop that also grows ends before the machine does
_PAUSE = 0.005  # seconds between two looks at a running process


def warm(modules: Sequence[str]) -> None:
    """Import these here, once."""
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def ask(tree: Path, tests: Sequence[str], limit: float) -> tuple[Outcome, float]:
    """How the tests end in this copy of the repository, and after how many seconds of processor time.

    limit: of these; of wall time ten times as many, so that a busy machine makes no difference.
    """
    deadline = time.monotonic() + 10 * limit
    child = _forked(lambda: _tested(tree, tests, math.ceil(limit)))
    ended, status, used = os.wait4(child, os.WNOHANG)
    while not ended and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        ended, status, used = os.wait4(child, os.WNOHANG)
    if not ended:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _outcome(status) if ended else "timed out", used.ru_utime + used.ru_stime


def _outcome(status: int) -> Outcome:
    """pytest exits with 0 when all passed, with 2 when the tests couldn't even be loaded."""
    named: dict[int, Outcome] = {0: "survived", 2: "incompetent", -signal.SIGXCPU: "timed out"}
    return named.get(os.waitstatus_to_exitcode(status), "killed")


def _forked(work: Callable[[], int]) -> int:
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        os.setpgid(0, 0)
        status = work()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)


def _tested(tree: Path, tests: Sequence[str], limit: int) -> int:
    """pytest's exit status, here, with all of ours imported from `tree`."""
    os.chdir(tree)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry and Path(entry) != tree)]
    for name in [name for name in sys.modules if name.startswith("benchmarks")]:
        del sys.modules[name]
    os.environ["PYTHONPATH"] = str(tree)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    quiet = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    return int(
        importlib.import_module("pytest").main(
            [*_ARGUMENTS, *(f"tests/{test}" for test in tests)], plugins=[_Quick()]
        )
    )


class _Quick:
    """The quickest tests first; of hypothesis one failing example, not the smallest."""

    def __init__(self) -> None:
        self._durations: Counter[str] = Counter()

    def pytest_sessionstart(self) -> None:
        import hypothesis  # noqa: PLC0415

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile(
            "mutants", hypothesis.settings(), phases=phases, max_examples=_EXAMPLES
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_collection_modifyitems(self, items: list["pytest.Item"]) -> None:
        if _DURATIONS.exists():
            known = json.loads(_DURATIONS.read_text())
            items.sort(key=lambda item: known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: "pytest.TestReport") -> None:
        self._durations[report.nodeid] += report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0 and not _DURATIONS.exists():
            _DURATIONS.write_text(json.dumps(self._durations))
