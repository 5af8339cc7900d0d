import os
import platform
import subprocess
import sys

import pytest
import torch

from training.step import CLEAR_REFS, peak_memory_mib, reset_peak_memory

CPU = torch.device("cpu")
MUCH = 256  # MiB
STEPS = """
import resource, sys, torch
from training.step import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():  # as training does: several activations live at once, all freed at the end
    return [torch.ones(2 << 20) for _ in range(8)]
for _ in range(5):  # until the heap has reached its size
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(12):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


# glibc's start values, fixed: otherwise it raises them in some processes.
HELD = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


def page_faults(kept: str) -> int:
    command = [sys.executable, "-c", STEPS, kept]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | HELD)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library: nothing is told to it")
def test_memory_that_a_step_freed_serves_the_next_one() -> None:
    assert page_faults("keep") < page_faults("default") / 10  # huge pages make both counts 500 times smaller


@pytest.mark.skipif(not CLEAR_REFS.exists(), reason="the peak of a process can be reset on Linux only")
def test_the_peak_is_that_of_the_run_and_not_of_what_the_process_did_before() -> None:
    reset_peak_memory(CPU)
    before = peak_memory_mib(CPU)
    large = torch.ones(MUCH << 18)  # float32
    assert peak_memory_mib(CPU) > before + 0.9 * MUCH
    del large
    assert peak_memory_mib(CPU) > before + 0.9 * MUCH
    reset_peak_memory(CPU)
    assert peak_memory_mib(CPU) < before + 0.5 * MUCH
