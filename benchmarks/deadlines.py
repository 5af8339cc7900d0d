"""Are deadlines kept? Jobs with deadlines of 0.5 to 5 s, all sent at once to a running service.

    smoothcert up & python -m benchmarks.deadlines http://127.0.0.1:8000 --jobs 100

Each asks for far more votes than fit, so that only its deadline ends it. Prints how much later than the
deadline the jobs ended, counted from the start of their work.
"""

import argparse
from pathlib import Path

import numpy as np

import smoothcert

IMAGE = Path(__file__).resolve().parents[1] / "tests/data/digit-3.png"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url")
    options.add_argument("--jobs", type=int, default=100)
    chosen = options.parse_args()
    deadlines = np.random.default_rng(0).uniform(0.5, 5.0, chosen.jobs).round(2)
    with smoothcert.Client(chosen.url) as client:
        jobs = [client.submit(IMAGE, n=10_000_000, deadline=float(deadline)) for deadline in deadlines]
        records = [job.wait(timeout=3600).snapshot for job in jobs]
    late = []
    for deadline, record in zip(deadlines, records, strict=True):
        assert record.certificate is not None
        assert record.certificate.ended_by == "deadline"
        assert record.started_at is not None
        assert record.finished_at is not None
        late.append((record.finished_at - record.started_at).total_seconds() - float(deadline))
    for name, share in (("least", 0), ("median", 50), ("p90", 90), ("p99", 99), ("most", 100)):
        print(f"{name:7} {1000 * float(np.percentile(late, share)):8.0f} ms after the deadline")


if __name__ == "__main__":
    main()
