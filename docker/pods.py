"""The pods of deploy/kubernetes on this host's Docker engine, without a cluster: do they fit the images?

.venv/bin/python docker/pods.py     some minutes; needs both images, an engine with Compose, no GPU

Each container gets what its pod would: command, environment, user and groups, the files of its secrets with
owner and mode, a read-only root, no capabilities, its limit of memory, its grace period; its readiness probe
decides whether it is healthy. In what order they start is left to chance, as in a cluster. What only a
cluster has is not tried: scheduling, network policies, storage classes, devices. Nothing of a running
SmoothCert is touched.
"""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import yaml

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "deploy" / "kubernetes" / "base"
WORKER_IMAGE = yaml.safe_load((BASE / "worker.yaml").read_text())["spec"]["template"]["spec"]["containers"][
    0
]["image"]
DIGIT = ROOT / "tests" / "data" / "digit-7.png"
PROJECT = "smoothcert-pods"
PORT = int(os.environ.get("TRY_PORT", "18001"))  # on loopback
VOTES = int(os.environ.get("TRY_VOTES", "200000"))  # of the job that is disturbed
TIMEOUT = 600.0  # seconds any one job may take
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

Manifest = dict[str, Any]


def run(*words: str, data: bytes | None = None) -> str:
    """What a command prints. Raises CalledProcessError; what went wrong is on stderr."""
    return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout.decode().strip()


def pods() -> dict[str, Manifest]:
    """The specification of each pod, by the name of its workload."""
    files = (BASE / f"{name}.yaml" for name in ("redis", "service", "worker"))
    found = [one for file in files for one in yaml.safe_load_all(file.read_text())]
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in found if "template" in one["spec"]
    }


# --- from a pod to a container of Compose ---


def probe_words(container: Manifest, probe: Manifest) -> list[str]:
    """A probe as a command inside the container; the kubelet's HTTP requests are made by Python."""
    if "exec" in probe:
        return list(probe["exec"]["command"])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    url = f"http://127.0.0.1:{ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
    return ["python", "-c", f"import urllib.request; urllib.request.urlopen({url!r}, timeout=5)"]


def healthcheck(container: Manifest) -> Manifest:
    """Nobody is put out for not being ready yet, and some wait for others: hence the long start."""
    ready = container["readinessProbe"]
    return {
        "test": ["CMD", *(word.replace("$", "$$") for word in probe_words(container, ready))],
        "interval": f"{ready['periodSeconds']}s",
        "timeout": f"{ready['timeoutSeconds']}s",
        "start_period": "600s",
    }


def mounts(name: str, pod: Manifest) -> Iterator[tuple[str, str, Manifest]]:
    """Path, Compose volume and the pod's volume of each mount; a claim is a volume without more."""
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in pod["containers"][0]["volumeMounts"]:
        yield mount["mountPath"], f"{name}-{mount['name']}", volumes.get(mount["name"], {})


def lasts(volume: Manifest) -> bool:
    """Whether a volume of a pod is there before it is."""
    return "emptyDir" not in volume


def confinement(pod: Manifest, container: Manifest) -> Manifest:
    security, own = pod["securityContext"], container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    return {
        "user": f"{security['runAsUser']}:{security['runAsGroup']}",
        "group_add": [str(security["fsGroup"])],
        "read_only": own["readOnlyRootFilesystem"],
        "cap_drop": own["capabilities"]["drop"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": container["resources"]["limits"]["memory"].removesuffix("i").lower(),
    }


def environment(container: Manifest) -> dict[str, str]:
    """A pod finds redis by an address that Kubernetes puts into its environment, a container by its name."""
    told = {one["name"]: one["value"] for one in container.get("env", [])}
    return {name: value.replace("$(REDIS_SERVICE_HOST)", "redis") for name, value in told.items()}


def container_of(name: str, pod: Manifest) -> Manifest:
    """What Compose is told of one pod."""
    (container,) = pod["containers"]
    placed = list(mounts(name, pod))
    made = confinement(pod, container) | {
        "image": container["image"],
        "environment": environment(container),
        "volumes": [
            f"{volume}:{path}{':ro' if kept else ''}" for path, volume, kept in placed if lasts(kept)
        ],
        "tmpfs": [f"{path}:mode=1777,exec" for path, _, kept in placed if not lasts(kept)],
        "stop_grace_period": f"{pod['terminationGracePeriodSeconds']}s",
        "healthcheck": healthcheck(container),
        "restart": "always",
        "networks": ["inside"],
    }
    if "command" in container:  # takes the place of what the image starts
        made |= {"entrypoint": [word.replace("$", "$$") for word in container["command"]], "command": []}
    if name == "service":
        made |= {"networks": ["inside", "outside"], "ports": [f"127.0.0.1:{PORT}:8000"]}
    return made


def compose_file(found: dict[str, Manifest]) -> Manifest:
    placed = [mount for name, pod in found.items() for mount in mounts(name, pod)]
    return {
        "name": PROJECT,
        "services": {name: container_of(name, pod) for name, pod in found.items()},
        "networks": {"inside": {"internal": True}, "outside": {}},
        "volumes": {volume: {} for _, volume, kept in placed if lasts(kept)},
    }


# --- the secrets, made as docs/kubernetes.md says ---


def make_secrets(folder: Path) -> str:
    """Fills the folder, one folder a Secret or ConfigMap; the API key of a first caller."""
    password = secrets.token_hex(32)
    acl = (ROOT / "deploy" / "users.acl.example").read_text().replace("CHANGE-ME", password)
    script = "smoothcert keys create ann --file api-keys.json && smoothcert keys signing --out signing >&2"
    me = ("--user", f"{os.getuid()}:{os.getgid()}", "--volume", f"{folder}:/made", "--workdir", "/made")
    key = run("docker", "run", "--rm", "--network=none", *me, WORKER_IMAGE, "sh", "-c", script)
    files = {
        "smoothcert-redis/password": password.encode(),
        "smoothcert-redis/users.acl": acl.encode(),
        "smoothcert-api-keys/api-keys.json": (folder / "api-keys.json").read_bytes(),
        "smoothcert-signing/signing-key.pem": (folder / "signing/signing-key.pem").read_bytes(),
        "smoothcert-signing-keys/signing-keys.json": (folder / "signing/signing-keys.json").read_bytes(),
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return key


def fill(volume: str, kept: Manifest, group: int, folder: Path) -> None:
    """Puts into a volume what the kubelet would, as it would; a claim is empty and the group's."""
    source = kept.get("secret", kept.get("configMap", {}))
    origin, mode = folder / source.get("secretName", source.get("name", "")), source.get("defaultMode", 0o644)
    names = [item["path"] for item in source.get("items", [])] or [
        one.name for one in origin.iterdir() if kept
    ]
    helper = ("docker", "run", "--rm", "--interactive", "--user=0", "--network=none")
    helper += ("--volume", f"{PROJECT}_{volume}:/to", "redis:7-bookworm", "sh", "-c")
    run(*helper, f"chown 0:{group} /to && chmod {755 if kept else 2770} /to")
    for name in names:
        script = f"cat >/to/{name} && chown 0:{group} /to/{name} && chmod {mode:o} /to/{name}"
        run(*helper, script, data=(origin / name).read_bytes())


# --- what is shown ---


class Trial:
    """The pods, running. `compose` is the command up to its own words."""

    def __init__(self, file: Path, found: dict[str, Manifest], key: str) -> None:
        self.compose = ("docker", "compose", "--progress=quiet", "--file", str(file))
        self.pods = found
        self.http = httpx2.Client(
            base_url=f"http://127.0.0.1:{PORT}", headers={"Authorization": f"Bearer {key}"}, timeout=60
        )

    def inside(self, name: str, *words: str, data: bytes | None = None) -> str:
        return run(*self.compose, "exec", "-T", name, *words, data=data)

    def start(self) -> None:
        began = time.monotonic()
        run(*self.compose, "up", "--detach", "--wait")
        say(f"every readiness probe holds after {time.monotonic() - began:.0f} s")

    def probes(self) -> None:
        """Each probe, and what is done before a stop, as the kubelet would."""
        for name, pod in self.pods.items():
            (container,) = pod["containers"]
            for probe in PROBES:
                self.inside(name, *probe_words(container, container[probe]))
            for hook in container.get("lifecycle", {}).values():
                self.inside(name, *hook["exec"]["command"])
            identity = self.inside(
                name, "sh", "-c", "id; grep CapEff /proc/self/status; ! touch /usr/tried 2>&1"
            )
            say(f"{name}: startup, readiness, liveness hold; {' '.join(identity.split())}")

    def submit(self, votes: int) -> str:
        answer = self.http.post("/certify", files={"image": DIGIT.read_bytes()}, data={"n": str(votes)})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str, wait: int = 0) -> Manifest:
        return dict(self.http.get(f"/jobs/{job_id}", params={"wait": wait}).raise_for_status().json())

    def ended(self, job_id: str) -> Manifest:
        deadline = time.monotonic() + TIMEOUT
        while (job := self.job(job_id, wait=20))["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, f"job {job_id} did not end"
        assert job["status"] == "succeeded", job
        assert sum(job["certificate"]["counts"]) == job["parameters"]["n"]
        return job

    def signed(self) -> None:
        """One certificate with its signature, checked against the key that the service tells."""
        certificate = self.ended(self.submit(100_000))["certificate"]
        check = (
            "cat >/tmp/certificate.json && smoothcert verify /tmp/certificate.json --url http://service:8000"
        )
        said = self.inside("worker", "sh", "-c", check, data=json.dumps(certificate).encode())
        say(f"class {certificate['label']}, radius {certificate['radius']}; {said.splitlines()[0]}")
        assert "signature" in said, said
        say(f"without a key: {httpx2.get(f'http://127.0.0.1:{PORT}/jobs').status_code}")

    def drained(self) -> None:
        """The worker is told to end in the midst of a job, as a rollout would."""
        job_id = self.submit(VOTES)
        while not (job := self.job(job_id))["progress"]["samples"]:
            time.sleep(0.2)
        began, worker = time.monotonic(), run(*self.compose, "ps", "--quiet", "worker")
        run(*self.compose, "stop", "worker")
        code = run("docker", "inspect", "--format", "{{.State.ExitCode}}", worker)
        seconds = time.monotonic() - began
        say(f"told to end at {job['progress']['samples']} votes: exit code {code} after {seconds:.0f} s")
        assert (code, self.job(job_id)["status"]) == ("0", "running")  # its message waits for a worker
        run(*self.compose, "start", "worker")
        job = self.ended(job_id)
        counts = job["certificate"]["counts"]
        say(f"the next one: {job['status']}, lost tasks {job['attempts']}, counts {counts}")


def say(words: str) -> None:
    print(words, flush=True)


def try_all(trial: Trial, folder: Path) -> None:
    run(*trial.compose, "create")
    for name, pod in trial.pods.items():
        for _, volume, kept in mounts(name, pod):
            if lasts(kept):
                fill(volume, kept, pod["securityContext"]["fsGroup"], folder)
    trial.start()
    trial.probes()
    trial.signed()
    trial.drained()


def main() -> None:
    found = pods()
    with tempfile.TemporaryDirectory() as made:
        folder, file = Path(made), Path(made) / "compose.yaml"
        file.write_text(yaml.safe_dump(compose_file(found)))
        trial = Trial(file, found, make_secrets(folder))
        try:
            try_all(trial, folder)
        except (subprocess.CalledProcessError, AssertionError, httpx2.HTTPError):
            subprocess.run([*trial.compose, "logs", "--tail=20"], check=False)
            raise
        finally:
            run(*trial.compose, "down", "--volumes", "--timeout=5")
    say("the manifests fit the images")


if __name__ == "__main__":
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        sys.exit("docker/pods.py: skipped, there is no Docker engine here (`docker info` fails)")
    main()
