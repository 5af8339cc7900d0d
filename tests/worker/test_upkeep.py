"""What a worker's parent does between deliveries."""

from certification.contract.parameters import Parameters
from certification.contract.pixels import CertifiedImage
from certification.contract.store.jobs import Request
from tests.worker.plant import Plant


def test_jobs_of_a_model_that_is_gone_are_ended_by_workers_of_another(plant: Plant) -> None:
    plant.launch(SMOOTHCERT_UNSERVED=1)
    image = CertifiedImage.of(bytes(4), (1, 2, 2), [])
    job_id = plant.store.submit(Request("gone", Parameters(n=1000, sigma=0.5), image)).job_id
    job = plant.ended(job_id)
    assert (job.status, job.attempts) == ("failed", 0)
    assert job.error is not None
    assert "No worker has had the model gone for 1 s" in job.error.detail
    assert plant.ended(plant.submit(n=1000)).status == "succeeded"
