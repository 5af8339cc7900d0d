"""The service, killed at the worst moment: a job's record is written, its message isn't sent yet."""

import os
import signal

from certification.contract.store.delivery import Courier
from service.__main__ import main


def die(courier: Courier, job_id: str, model: str) -> None:
    """In place of sending."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    Courier.send = die  # type: ignore[method-assign]
    main()
