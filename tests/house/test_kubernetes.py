"""The manifests satisfy Kubernetes' schemas, and do what docs/kubernetes.md says. Needs no cluster."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings as ServiceSettings
from worker.settings import Settings as WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.37"  # of the schemas
BASE = ["namespace.yaml", "redis.yaml", "service.yaml", "worker.yaml", "network.yaml"]
OVERLAYS = ["gpu", "cpu"]
WORKLOADS = ["redis", "service", "worker"]
NAME = "app.kubernetes.io/name"

Manifest = dict[str, Any]


def manifests(*files: str) -> list[Manifest]:
    return [one for file in files for one in yaml.safe_load_all((FOLDER / file).read_text())]


def only(kind: str, name: str) -> Manifest:
    found = [m for m in manifests(*(f"base/{file}" for file in BASE)) if m["kind"] == kind]
    (one,) = [m for m in found if m["metadata"]["name"] == name]
    return one


def pod(name: str) -> Manifest:
    return only("StatefulSet" if name == "redis" else "Deployment", name)["spec"]["template"]["spec"]


def container(name: str) -> Manifest:
    (one,) = pod(name)["containers"]
    return one


def environment(name: str) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in container(name)["env"]}


def rendered(overlay: str) -> Iterator[Manifest]:
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / overlay], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    return yaml.safe_load_all(done.stdout)


@pytest.fixture(scope="module")
def validate() -> Any:
    import kubernetes_validate

    return kubernetes_validate.validate


@pytest.mark.parametrize("file", BASE)
def test_every_manifest_satisfies_the_strict_schema_of_its_kind(validate: Any, file: str) -> None:
    for manifest in manifests(f"base/{file}"):
        validate(manifest, VERSION, strict=True)


def test_the_schema_finds_a_misspelt_field(validate: Any) -> None:
    wrong = only("Deployment", "worker")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(Exception, match="terminationGracePeriod"):
        validate(wrong, VERSION, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, which brings kustomize")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_changes_what_the_worker_computes_on_and_nothing_else(validate: Any, overlay: str) -> None:
    made = {(m["kind"], m["metadata"]["name"]): m for m in rendered(overlay)}
    for manifest in made.values():
        validate(manifest, VERSION, strict=True)
        assert manifest["metadata"].get("namespace", "smoothcert") == "smoothcert"
    limits = made["Deployment", "worker"]["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits.get("nvidia.com/gpu") == (1 if overlay == "gpu" else None)
    assert len(made) == len(manifests(*(f"base/{file}" for file in BASE)))


def test_the_base_and_the_overlays_name_all_files() -> None:
    (base,) = manifests("base/kustomization.yaml")
    assert base["resources"] == BASE
    for overlay in OVERLAYS:
        (kustomization,) = manifests(f"{overlay}/kustomization.yaml")
        assert (kustomization["resources"], kustomization["patches"]) == (
            ["../base"],
            [{"path": "worker.yaml"}],
        )


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_have_no_privilege_and_a_read_only_root(name: str) -> None:
    spec, locked = pod(name), container(name)["securityContext"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert locked == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))


def test_users_are_those_of_the_images() -> None:
    for name in ("service", "worker"):
        dockerfile = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
        assert f"USER {pod(name)['securityContext']['runAsUser']}\n" in dockerfile


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_pod_has_probes_and_resource_limits(name: str) -> None:
    here = container(name)
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= here.keys()
    assert here["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in here["resources"]["limits"]


def test_probes_of_the_service_call_live_and_ready() -> None:
    probes = container("service")
    assert probes["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": "http"}
    assert probes["readinessProbe"]["httpGet"]["path"] == "/health/ready"


@pytest.mark.parametrize(
    ("says", "age", "holds"),
    [
        ("ready", 0, {"startupProbe", "livenessProbe", "readinessProbe"}),
        ("ready", 30, {"startupProbe", "livenessProbe", "readinessProbe"}),
        ("loading", 0, {"startupProbe", "livenessProbe"}),
        ("ready", 90, set()),
    ],
)
def test_the_worker_lives_while_its_heartbeat_is_young_and_is_ready_when_it_says_so(
    tmp_path: Path, says: str, age: int, holds: set[str]
) -> None:
    beat = environment("worker")["SMOOTHCERT_ALIVE"]
    mine = tmp_path / "beat"
    mine.write_text(f"{says}\n")
    then = time.time() - age
    os.utime(mine, (then, then))
    held = set()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        *shell, script = container("worker")[probe]["exec"]["command"]
        assert beat in script
        done = subprocess.run([*shell, script.replace(beat, str(mine))], check=False)
        held |= {probe} if done.returncode == 0 else set()
    assert held == holds


def test_a_worker_has_time_to_end_the_slice_of_its_job() -> None:
    slice_s = WorkerSettings.model_fields["slice"].default
    assert pod("worker")["terminationGracePeriodSeconds"] >= slice_s + 10


@pytest.mark.parametrize(("name", "settings"), [("service", ServiceSettings), ("worker", WorkerSettings)])
def test_every_environment_variable_is_a_setting_and_none_is_a_secret(name: str, settings: Any) -> None:
    told = environment(name)
    assert {variable.removeprefix("SMOOTHCERT_").lower() for variable in told} <= settings.model_fields.keys()
    assert told["SMOOTHCERT_REDIS_URL"] == "redis://smoothcert@$(REDIS_SERVICE_HOST):6379/0"
    mounted = tuple(mount["mountPath"] for mount in container(name)["volumeMounts"])
    files = [value for variable, value in told.items() if value.startswith("/")]
    assert all(file.startswith(mounted) for file in files)
    assert "SMOOTHCERT_ALLOW_ANONYMOUS" not in told


def test_only_the_worker_sees_the_private_key() -> None:
    secrets = {name: json.dumps(pod(name)).count('smoothcert-signing"') for name in WORKLOADS}
    assert secrets == {"redis": 0, "service": 0, "worker": 1}


def policy(name: str) -> Manifest:
    return only("NetworkPolicy", name)["spec"]


def names(peers: list[Manifest]) -> set[str]:
    return {peer["podSelector"]["matchLabels"][NAME] for peer in peers}


def test_network_policies_forbid_by_default() -> None:
    assert policy("nothing-else") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in WORKLOADS:
        assert policy(name)["podSelector"]["matchLabels"] == {NAME: name}


def test_the_worker_reaches_only_redis_and_accepts_no_connection() -> None:
    (way,) = policy("worker")["egress"]
    assert (names(way["to"]), way["ports"]) == ({"redis"}, [{"protocol": "TCP", "port": 6379}])
    assert "ingress" not in policy("worker")


def test_only_service_and_worker_reach_redis_which_opens_no_connection() -> None:
    (way,) = policy("redis")["ingress"]
    assert names(way["from"]) == {"service", "worker"}
    assert "egress" not in policy("redis")


def test_redis_keeps_every_job_and_requires_a_password() -> None:
    command = container("redis")["command"]
    for option, value in (("--appendonly", "yes"), ("--maxmemory-policy", "noeviction")):
        assert command[command.index(option) + 1] == value
    assert command[command.index("--aclfile") + 1] == "/etc/redis/users.acl"
    (claim,) = only("StatefulSet", "redis")["spec"]["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": "/data"} in container("redis")["volumeMounts"]


def test_disruptions_leave_a_service_and_take_one_worker_at_a_time() -> None:
    assert only("Deployment", "service")["spec"]["replicas"] > 1
    assert only("PodDisruptionBudget", "service")["spec"]["minAvailable"] == 1
    assert only("PodDisruptionBudget", "worker")["spec"]["maxUnavailable"] == 1
    for name in ("service", "worker"):
        assert only("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"] == {NAME: name}


def test_keda_scales_the_worker_by_metrics_that_the_service_exports(redis_url: str) -> None:
    """No package has KEDA's schema: the fields are those of its documentation (2.17)."""
    (scaled,) = manifests("keda/scaledobject.yaml")
    assert (scaled["apiVersion"], scaled["kind"]) == ("keda.sh/v1alpha1", "ScaledObject")
    spec = scaled["spec"]
    assert spec["scaleTargetRef"] == {"name": "worker"}
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    exported = (ROOT / "service" / "monitoring.py").read_text()
    for trigger, figure in zip(spec["triggers"], ("queue_oldest_seconds", "queue_jobs"), strict=True):
        assert trigger.keys() == {"type", "metricType", "metadata"}
        assert trigger["metadata"].keys() == {"serverAddress", "query", "threshold"}
        assert f"smoothcert_{figure}" in trigger["metadata"]["query"]
        assert f"smoothcert_{figure}" in exported
        assert isinstance(trigger["metadata"]["threshold"], str)
