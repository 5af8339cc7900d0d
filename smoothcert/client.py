"""The HTTP face as the command line uses it: submit an image, follow the job, read the certificate."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import httpx2
from pydantic import ValidationError

from certification.contract.job import Job
from certification.contract.problem import Problem
from certification.errors import Failure, UserMistake

TIMEOUT = 30.0  # seconds until a silent service counts as gone
WAIT = 1  # seconds one look at a job may take; it answers at once when the job ends
PATIENCE = 30.0  # seconds a service may be away while a job is followed: a restart loses no job


class ServiceClient:
    """One service. Raises UserMistake for what it refuses, Failure where it can't be reached or breaks."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._http = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT)
        except httpx2.InvalidURL as error:
            raise UserMistake(f"--url {url!r} is no address: {error}.") from error
        if self._http.base_url.scheme not in ("http", "https") or not self._http.base_url.host:
            raise UserMistake(f"--url {url!r} is no address; write it like http://127.0.0.1:8000.")

    def submit(self, image: bytes, file_name: str, fields: dict[str, str], key: str) -> Job:
        """POST /certify. `key`: an idempotency key, so that asking again makes no second job."""
        answer = self._ask(
            "POST",
            "/certify",
            files={"image": (file_name, image)},
            data=fields,
            headers={"Idempotency-Key": key},
        )
        return _job(answer)

    def follow(self, job: Job) -> Iterator[Job]:
        """Snapshots of a job until it has ended; the last one is terminal."""
        yield job
        seen = time.monotonic()
        while not job.ended:
            try:
                job = _job(self._ask("GET", job.links.self, params={"wait": WAIT}))
            except Failure:
                if time.monotonic() - seen > PATIENCE:
                    raise
                time.sleep(WAIT)
                continue
            seen = time.monotonic()
            yield job

    def cancel(self, job: Job) -> None:
        """POST /jobs/{id}/cancel; the job keeps what it has proved."""
        self._ask("POST", job.links.cancel)

    def _ask(self, method: str, path: str, **request: object) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **request)  # type: ignore[arg-type]
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            raise Failure(
                f"{self._http.base_url} does not answer ({reason}); `smoothcert up` starts a service."
            ) from error
        if answer.is_success:
            return answer
        raise _refusal(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()


def _job(answer: httpx2.Response) -> Job:
    try:
        return Job.model_validate_json(answer.content)
    except ValidationError as error:
        raise Failure(f"{answer.url} is not a SmoothCert service: it answered something else.") from error


def _refusal(answer: httpx2.Response) -> Exception:
    """What a problem document says: the user's mistake below 500, a failure from there."""
    kind = UserMistake if answer.is_client_error else Failure
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        return kind(f"{answer.url} answered {answer.status_code} {answer.reason_phrase}.")
    fields = "; ".join(f"{one.field}: {one.detail}" for one in problem.errors or ())
    told = problem.detail if not fields or fields.endswith(problem.detail) else f"{problem.detail} ({fields})"
    return kind(f"The service refused ({problem.status} {problem.title}): {told}")
