"""Freed memory is kept; counted in page faults, in a process of its own."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():  # as training does: several activations live at once, all freed at the end
    return [torch.ones(2 << 20) for _ in range(8)]
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kept: str) -> int:
    done = subprocess.run([sys.executable, "-c", STEPS, kept], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library: nothing is told to it")
def test_memory_that_a_step_freed_serves_the_next_one() -> None:
    assert page_faults("keep") < 1000
    assert page_faults("default") > 10_000
