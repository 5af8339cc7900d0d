"""Messages: what they hold, whom they reach, and how long anybody waits for a broker that takes none."""

import json
import socket
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import redis
from celery._state import get_current_app

from smoothcert.errors import BrokerUnavailable
from smoothcert.jobs import tasks
from smoothcert.jobs.keys import IDLE_QUEUE, queue_of
from smoothcert.jobs.tasks import (
    HELPER,
    TASK,
    Message,
    TaskPublisher,
    application,
)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(tasks, "ANSWER_TIMEOUT", 0.3)


def message(client: redis.Redis) -> dict[str, Any]:
    """The next one for model m, with its body read."""
    taken: Any = client.lpop("certify.m")
    said: dict[str, Any] = json.loads(taken)
    return {**said, "body": json.loads(b64decode(said["body"]))}


def test_a_message_names_its_job_and_is_found_in_the_logs_by_it(redis_url: str, client: redis.Redis) -> None:
    with closing(TaskPublisher(redis_url)) as publisher:
        publisher.send(Message("the-job", "certify.m", 3))
    sent = message(client)
    assert (sent["headers"]["task"], sent["body"][0]) == (TASK, ["the-job", 3])
    assert sent["headers"]["id"] == sent["properties"]["correlation_id"] == "the-job.3"


def test_every_helpers_message_is_one_of_its_own(redis_url: str, client: redis.Redis) -> None:
    with closing(TaskPublisher(redis_url)) as publisher:
        for _ in range(2):
            publisher.send(Message("the-job", "certify.m", HELPER))
    first, second = message(client), message(client)
    assert [each["body"][0] for each in (first, second)] == [["the-job", HELPER]] * 2
    assert first["headers"]["id"] != second["headers"]["id"]


def test_a_worker_without_models_listens_where_nothing_is_sent() -> None:
    assert [*application("redis://h").amqp.queues] == [IDLE_QUEUE]


def test_a_publisher_leaves_the_applications_of_its_process_alone(redis_url: str) -> None:
    """Whoever embeds the service keeps their own Celery."""
    before = get_current_app()
    made = application(redis_url)
    assert get_current_app() is before is not made


def test_nobody_keeps_what_a_task_answers_wherever_the_environment_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "cache+memory://")
    app = application("redis://h")
    assert app.conf.result_backend == "cache+memory://"
    assert app.task(name="any")(queue_of).ignore_result


@contextmanager
def swallowing() -> Iterator[int]:
    """A port whose queue of connections is full: further ones are neither taken nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        yield port
        for one in waiting:
            one.close()


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def closed() -> Iterator[int]:
    """A port where nobody listens."""
    yield 1


@pytest.mark.timeout(10)
@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(("port", "most"), [(swallowing, 1.2), (silent, 1.2), (closed, 0.6)])
def test_who_submits_waits_for_no_broker_that_takes_no_messages(port: Any, most: float) -> None:
    """The record has the job: the answer must not hang on its message, and a janitor sends it."""
    with port() as number, closing(TaskPublisher(f"redis://127.0.0.1:{number}")) as publisher_:
        start = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            publisher_.send(Message("id", "certify.m", 1))
        assert time.monotonic() - start < most
