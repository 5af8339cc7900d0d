"""POST /batches: the same question about many images."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile

from certification.contract.batch import Batch
from certification.contract.problem import FieldProblem
from certification.contract.store.batches import Batches
from certification.contract.store.jobs import Request
from certification.errors import BadImage, SmoothCertError
from service.errors import NotAnImage, NotFound, TooLarge
from service.examples import BATCH
from service.forms import BatchForm
from service.openapi import problems, shows
from service.state import Caller, Service, ServiceOf
from service.submission import Upload, place, prepare

RETRY_AFTER = "2"  # seconds until it is worth asking for a new batch's state

router = APIRouter(prefix="/batches", tags=["batches"])


@router.post(
    "",
    status_code=202,
    summary="Certify many images",
    responses=problems(400, 413, 415, 422, 429, 503) | shows(202, BATCH),
)
def certify_many(
    form: Annotated[BatchForm, Form(media_type="multipart/form-data")],
    response: Response,
    service: ServiceOf,
    caller: Caller,
) -> Batch:
    """Queues one job for each image, all or none, and answers with their batch."""
    most = service.settings.max_batch_images
    if len(form.image) > most:
        raise TooLarge(f"A batch holds at most {most} images.")
    requests = [_prepare(i, image, form, caller, service) for i, image in enumerate(form.image)]
    batch_id = Batches(service.store).make(_place_all(requests, service), caller)
    batch = read_batch(batch_id, service, caller)
    response.headers.update({"Location": batch.links.self, "Retry-After": RETRY_AFTER})
    return batch


@router.get("/{batch_id}", summary="One batch", responses=problems(404, 503) | shows(200, BATCH))
def read_batch(batch_id: str, service: ServiceOf, caller: Caller) -> Batch:
    """How many of its jobs are in which state, and the jobs themselves in the order of their images."""
    batch = Batches(service.store).batch(batch_id, caller)
    if batch is None:
        raise NotFound("There is no such batch: the id is unknown, or the batch was made some time ago.")
    return batch


def _prepare(
    place_in_form: int, image: UploadFile, form: BatchForm, caller: str, service: Service
) -> Request:
    upload = Upload(image.file.read(), form.question(), form.model, caller)
    try:
        return prepare(upload, service)
    except BadImage as error:
        which = FieldProblem(field=f"image[{place_in_form}]", detail=str(error))
        raise NotAnImage(f"Image {place_in_form + 1} of the batch: {error}", [which]) from error


def _place_all(requests: list[Request], service: Service) -> list[str]:
    placed: list[str] = []
    try:
        for request in requests:
            placed.append(place(request, service))
    except SmoothCertError:
        for job_id in placed:
            service.store.cancel(job_id)
        raise
    return placed
