"""What a user waits for: start to first page, post to certificate, Ctrl-C to the last process's end.

make bench                      or, with another model or number of votes:
.venv/bin/python benchmarks/end_to_end.py --model mnist-lenet-gaussian-0.50 --n 10000
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
DIGIT = ROOT / "tests" / "data" / "digit-7.png"
START_TIMEOUT = 120.0  # seconds
STOP_TIMEOUT = 30.0  # seconds
PAUSE = 0.02  # seconds between two checks


def seconds_until(done: Callable[[], bool], timeout: float) -> float:
    """Seconds until `done()`. Raises TimeoutError."""
    start = time.perf_counter()
    while not done():
        if time.perf_counter() - start > timeout:
            raise TimeoutError(f"nothing after {timeout:.0f} s")
        time.sleep(PAUSE)
    return time.perf_counter() - start


def answers(process: "subprocess.Popen[bytes]", client: httpx2.Client, path: str) -> bool:
    """Whether the service answers with success. Asserts that it still runs."""
    assert process.poll() is None, "`smoothcert up` ended by itself"
    try:
        return client.get(path).is_success
    except httpx2.TransportError:
        return False


def left_behind(starter: int) -> list[int]:
    """Running processes that `starter` marked, also those with another parent now."""
    mark = f"SMOOTHCERT_BENCH={starter}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # ended meanwhile, or of another user
    return found


@contextmanager
def service(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """`smoothcert up`, marked so that processes it leaves behind can be found."""
    command = [str(Path(sys.executable).with_name("smoothcert")), "up", "--port", str(port)]
    marked = os.environ | {"SMOOTHCERT_BENCH": str(os.getpid())}
    process = subprocess.Popen(command, env=marked, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def certificate(client: httpx2.Client, fields: dict[str, str]) -> dict[str, object]:
    """Posts the digit and waits for its job to end."""
    posted = client.post(
        "/certify", files={"image": (DIGIT.name, DIGIT.read_bytes())}, data=fields
    ).raise_for_status()
    job = posted.json()
    while job["status"] in ("queued", "running"):
        job = client.get(job["links"]["self"], params={"wait": 30}, timeout=60).raise_for_status().json()
    assert job["status"] == "succeeded", job
    found: dict[str, object] = job["certificate"]
    return found


def measure(port: int, fields: dict[str, str], repeats: int) -> dict[str, str]:
    """All measurements of one start."""
    with service(port) as process, httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        page = seconds_until(lambda: answers(process, client, "/"), START_TIMEOUT)
        ready = page + seconds_until(lambda: answers(process, client, "/health/ready"), START_TIMEOUT)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            proved = certificate(client, fields)
            times.append(time.perf_counter() - start)
        process.send_signal(signal.SIGINT)
        stop = seconds_until(
            lambda: process.poll() is not None and not left_behind(os.getpid()), STOP_TIMEOUT
        )
    return {
        "start to first page": f"{page:.2f} s",
        "start to ready (a worker has its model)": f"{ready:.2f} s",
        f"post to certificate, n = {fields['n']}, first": f"{times[0]:.2f} s",
        f"the same, median of {repeats}": f"{sorted(times)[repeats // 2]:.2f} s",
        "radius, engine": f"{proved['radius']}, {proved['engine']}",
        "Ctrl-C to nothing left": f"{stop:.2f} s",
    }


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--model", default="mnist-lenet-consistency-0.50")
    options.add_argument("--n", default="100000")
    options.add_argument("--port", type=int, default=8123)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for what, value in measure(chosen.port, {"model": chosen.model, "n": chosen.n}, chosen.repeats).items():
        print(f"{what:56} {value}")


if __name__ == "__main__":
    main()
