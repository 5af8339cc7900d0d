"""POST /batches: certify many images with the same parameters."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Response

from service.auth import CallerOf
from service.errors import NotAnImage, NotFound
from service.middleware import PrefixOf, RequestId, batch_linked
from service.openapi import BATCH, problems, shows
from service.state import Service, ServiceOf
from service.submission import ManyImages, Upload, described, place, prepare
from smoothcert.errors import BadImage, SmoothCertError
from smoothcert.jobs.batches import Batches, BatchPlan
from smoothcert.jobs.store import Request
from smoothcert.schemas.job import Batch, FieldProblem

RETRY_AFTER = "2"  # seconds until the first poll of a new batch is useful

router = APIRouter(prefix="/batches", tags=["batches"])


@router.post(
    "",
    status_code=202,
    summary="Certify many images",
    responses=problems(400, 401, 403, 413, 415, 422, 429, 503) | shows(202, BATCH),
    openapi_extra=described(many=True),
)
def certify_batch(
    *,
    sent: ManyImages,
    response: Response,
    service: ServiceOf,
    caller: CallerOf,
    prefix: PrefixOf,
    request_id: RequestId,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Batch:
    """Queues one job for each image, all or none, and answers with their batch.

    Sending the same `Idempotency-Key` again, with the same form, answers with the same batch.
    """
    question, model = sent.fields.question(), sent.fields.model
    uploads = (  # a generator: decoded images are small, but the files may not fit in memory together
        Upload(image.read(), question, model, caller, request_id, lane="batch") for image in sent.images
    )
    requests = [_prepare(i, upload, service) for i, upload in enumerate(uploads)]
    plan = Batches(service.store).plan(len(requests), caller.name, idempotency_key, _digest(requests))
    _place_all(plan, requests, service)
    batch = read_batch(plan.batch_id, service, caller, prefix)
    response.headers.update({"Location": batch.links.self, "Retry-After": RETRY_AFTER})
    return batch


@router.get("/{batch_id}", summary="One batch", responses=problems(401, 404, 503) | shows(200, BATCH))
def read_batch(batch_id: str, service: ServiceOf, caller: CallerOf, prefix: PrefixOf) -> Batch:
    """How many of its jobs are in which state, and the jobs themselves in the order of their images."""
    batch = Batches(service.store).batch(batch_id, caller.name)
    if batch is None:
        raise NotFound("There is no such batch: the id is unknown, or the batch was made some time ago.")
    return batch_linked(batch, prefix)


def _prepare(place_in_form: int, upload: Upload, service: Service) -> Request:
    try:
        return prepare(upload, service)
    except BadImage as error:
        problem = FieldProblem(field=f"image[{place_in_form}]", detail=str(error))
        raise NotAnImage(f"Image {place_in_form + 1} of the batch: {error}", [problem]) from error


def _digest(requests: Sequence[Request]) -> str:
    return hashlib.sha256("".join(request.body for request in requests).encode()).hexdigest()


def _place_all(plan: BatchPlan, requests: Sequence[Request], service: Service) -> None:
    """Submits the jobs that have no record yet. On an error it cancels these and drops the batch."""
    placed: list[str] = []
    try:
        for job_id, request in zip(plan.job_ids, requests, strict=True):
            if job_id in plan.missing:
                placed.append(place(replace(request, batch_id=plan.batch_id), service, job_id).id)
    except SmoothCertError:
        for job_id in placed:
            service.store.cancel(job_id)
        Batches(service.store).drop(plan)
        raise
