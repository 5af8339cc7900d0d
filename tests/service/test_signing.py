"""The public keys of certificates are served, and signatures survive their way through the service."""

from pathlib import Path

from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from smoothcert.schemas.certificate import PublicKeys
from smoothcert.signing import Signer, signature_problem
from tests.service.worker import StandInWorker, certificate, progress


def test_what_the_service_serves_is_what_the_worker_signed(
    settings: Settings, worker: StandInWorker, digit: bytes, tmp_path: Path
) -> None:
    signer, file = Signer.draw(), tmp_path / "signing-keys.json"
    file.write_text(PublicKeys(keys=(signer.public,)).model_dump_json())
    with TestClient(create_app(settings.model_copy(update={"signing_keys": file}))) as client:
        job = client.post("/certify", files={"image": digit}, data={"n": 1000}).json()
        task = worker.begin(job["id"])
        worker.votes.finish(task, signer.sign(certificate(task, 1000, 1 / 3)), progress(1000, 1 / 3))
        keys = PublicKeys.model_validate_json(client.get("/keys/signing").content)
        assert signature_problem(client.get(job["links"]["certificate"]).json(), keys) is None
        assert signature_problem(client.get(job["links"]["self"]).json()["certificate"], keys) is None


def test_without_a_key_there_is_none_to_serve(client: TestClient) -> None:
    assert client.get("/keys/signing").json() == {"keys": []}
