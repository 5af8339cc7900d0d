"""What the tests say of a mutant.

A process forked off a warm one runs them, and is killed when it takes too long.
"""

import importlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

Outcome = Literal["killed", "survived", "timed out", "incompetent"]

_ARGUMENTS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "no:randomly", "--tb=line"]
_MEMORY = 6 * 2**30  # bytes of data: an endless loop that also grows ends before the machine does
_PAUSE = 0.005  # seconds between two looks at a running process


def warm(modules: Sequence[str]) -> None:
    """Import these here, once."""
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for module in modules:
        importlib.import_module(module)


def ask(tree: Path, tests: Sequence[str], limit: float) -> tuple[Outcome, float]:
    """How the tests end in this copy of the repository, and after how many seconds. limit: in seconds."""
    began = time.monotonic()
    child = _forked(lambda: _tested(tree, tests))
    while (status := _ended(child)) is None and time.monotonic() - began < limit:
        time.sleep(_PAUSE)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _outcome(status), time.monotonic() - began


def _outcome(status: int | None) -> Outcome:
    """pytest exits with 0 when all passed, with 2 when the tests couldn't even be loaded."""
    if status is None:
        return "timed out"
    named: dict[int, Outcome] = {0: "survived", 2: "incompetent"}
    return named.get(os.waitstatus_to_exitcode(status), "killed")


def _ended(child: int) -> int | None:
    ended, status = os.waitpid(child, os.WNOHANG)
    return status if ended else None


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


def _tested(tree: Path, tests: Sequence[str]) -> int:
    """pytest's exit status, here, with all of ours imported from `tree`."""
    import pytest  # noqa: PLC0415  (only after `warm` has set its environment)

    os.chdir(tree)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if entry and Path(entry) != tree)]
    for name in [name for name in sys.modules if name.startswith("benchmarks")]:
        del sys.modules[name]
    os.environ["PYTHONPATH"] = str(tree)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    quiet = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    return int(pytest.main([*_ARGUMENTS, *(f"tests/{test}" for test in tests)], plugins=[_NoShrinking()]))


class _NoShrinking:
    """One example that fails is enough to kill a mutant; the smallest one is for people."""

    def pytest_sessionstart(self) -> None:
        import hypothesis  # noqa: PLC0415

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", hypothesis.settings(), phases=phases)
        hypothesis.settings.load_profile("mutants")
