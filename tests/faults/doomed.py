"""The service, killed at the worst moment: a job's record is written, its message isn't sent yet."""

import os
import signal

from service.__main__ import main
from smoothcert.jobs.tasks import Message, TaskPublisher


def die(publisher: TaskPublisher, message: Message) -> None:
    """In place of sending."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    TaskPublisher.send = die  # type: ignore[method-assign]
    main()
