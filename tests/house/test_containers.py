"""The compose files and Dockerfiles do what docs/deploy.md says. Needs no Docker engine."""

import fnmatch
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ["redis", "service", "worker"]
DOCKERFILES = ["docker/service.Dockerfile", "docker/worker.Dockerfile"]
BASH = shutil.which("bash") or "bash"
RESET = "reset by an override"


class ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's `!reset`, which removes a value of an earlier file."""


ComposeLoader.add_constructor("!reset", lambda _loader, _node: RESET)


def compose(name: str) -> Any:
    return yaml.load((ROOT / name).read_text(), Loader=ComposeLoader)


def service(name: str) -> Any:
    return compose("docker-compose.yml")["services"][name]


def instructions(dockerfile: str) -> list[list[str]]:
    """The instructions in order, continuation lines joined, split into the keyword and its words."""
    text = (ROOT / dockerfile).read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def words_of(dockerfile: str, keyword: str) -> list[list[str]]:
    return [words[1:] for words in instructions(dockerfile) if words[0] == keyword]


def test_broker_writes_every_job_to_an_append_only_file_on_a_volume() -> None:
    command = service("redis")["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    (volume,) = service("redis")["volumes"]
    assert volume.split(":") == ["redis-data", "/data"]
    assert "redis-data" in compose("docker-compose.yml")["volumes"]


def test_full_broker_refuses_a_new_job_and_evicts_none() -> None:
    command = service("redis")["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert "--maxmemory" in command


def test_broker_accepts_the_other_containers() -> None:
    """In protected mode Redis accepts only its own container."""
    command = service("redis")["command"]
    assert command[command.index("--protected-mode") + 1] == "no"


def test_worker_reserves_one_gpu() -> None:
    (device,) = service("worker")["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_cpu_override_removes_the_reservation_and_changes_nothing_else() -> None:
    override = {"services": {"worker": {"deploy": {"resources": {"reservations": {"devices": RESET}}}}}}
    assert compose("docker-compose.cpu.yml") == override


def test_keys_override_requires_a_key_and_mounts_the_folder_read_only() -> None:
    override = compose("docker-compose.keys.yml")["services"]["service"]
    folder = Path(override["environment"]["SMOOTHCERT_API_KEYS"]).parent
    assert override["environment"]["SMOOTHCERT_ALLOW_ANONYMOUS"] == "false"
    assert override["volumes"] == [f"api-keys:{folder}:ro"], (
        "a file that is mounted by itself cannot be replaced"
    )


def test_keys_are_made_in_the_services_image_without_a_network() -> None:
    services = compose("docker-compose.keys.yml")["services"]
    keys, path = services["keys"], services["service"]["environment"]["SMOOTHCERT_API_KEYS"]
    assert keys["image"] == service("service")["image"]
    assert keys["environment"]["SMOOTHCERT_API_KEYS"] == path
    assert keys["volumes"] == [f"api-keys:{Path(path).parent}"]
    assert keys["network_mode"] == "none"
    assert keys["profiles"], "`up` must not start it"
    assert (keys["read_only"], keys["cap_drop"]) == (True, ["ALL"])


def test_a_new_volume_for_keys_belongs_to_the_services_user() -> None:
    (made,) = (run for run in words_of("docker/service.Dockerfile", "RUN") if run[0] == "install")
    ((user,),) = words_of("docker/service.Dockerfile", "USER")
    assert made[-1] == "/keys"
    assert made[made.index("-o") + 1] == user


def test_signing_override_mounts_the_private_key_into_the_worker_only() -> None:
    override = compose("docker-compose.signing.yml")["services"]
    assert override["worker"]["environment"]["SMOOTHCERT_SIGNING_KEY"].startswith("/app/signing/")
    assert override["worker"]["volumes"] == ["./keys/signing:/app/signing:ro"]
    (public,) = override["service"]["volumes"]
    assert public.split(":")[0].endswith("signing-keys.json")


@pytest.mark.parametrize("name", SERVICES)
def test_containers_have_no_privilege_and_a_read_only_root(name: str) -> None:
    settings = service(name)
    assert settings["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in settings["security_opt"]
    assert settings["read_only"] is True
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode"} & settings.keys()
    assert not any("docker.sock" in volume for volume in settings["volumes"])


@pytest.mark.parametrize("name", ["redis", "worker"])
def test_worker_and_broker_have_no_way_out(name: str) -> None:
    networks = compose("docker-compose.yml")["networks"]
    assert all(networks[network]["internal"] for network in service(name)["networks"])
    assert "ports" not in service(name)


def test_only_the_service_is_published_and_only_on_loopback() -> None:
    (published,) = service("service")["ports"]
    assert published.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_a_health_check_and_restarts(name: str) -> None:
    settings = service(name)
    own = [settings["healthcheck"]["test"]] if "healthcheck" in settings else []
    built = words_of(settings["build"]["dockerfile"], "HEALTHCHECK") if "build" in settings else []
    assert own + built
    assert settings["restart"] == "unless-stopped"


def test_service_and_worker_share_one_broker_and_the_same_models() -> None:
    brokers = {service(name)["environment"]["SMOOTHCERT_REDIS_URL"] for name in ("service", "worker")}
    assert brokers == {"redis://redis:6379/0"}
    assert (
        set(service("service")["volumes"]) == set(service("worker")["volumes"]) == {"./models:/app/models:ro"}
    )


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_run_without_root_and_build_from_official_bases(dockerfile: str) -> None:
    assert {words[0] for words in words_of(dockerfile, "FROM")} == {"python:3.11-slim-bookworm"}
    after_last_from = instructions(dockerfile)[::-1]
    users = [words[1] for words in after_last_from if words[0] == "USER"]
    assert users[0].isdecimal(), "a number: Kubernetes cannot tell that a name is not root"
    assert int(users[0]) > 0
    assert "syntax=" not in (ROOT / dockerfile).read_text(), "a syntax line is fetched at build time"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_install_at_the_versions_of_the_lock(dockerfile: str) -> None:
    installs = [" ".join(run) for run in words_of(dockerfile, "RUN") if "pip" in run]
    assert installs
    assert all("--constraint requirements.lock" in install for install in installs)


def test_service_image_has_neither_torch_nor_the_other_packages() -> None:
    (install,) = (" ".join(run) for run in words_of("docker/service.Dockerfile", "RUN") if "pip" in run)
    assert "'.[service]'" in install
    copied = {source for sources in words_of("docker/service.Dockerfile", "COPY") for source in sources}
    assert not {"worker", "training"} & copied


def test_the_worker_can_load_what_it_compiles() -> None:
    """Docker mounts a tmpfs with noexec by default."""
    (scratch,) = service("worker")["tmpfs"]
    folder, options = scratch.split(":")
    assert "exec" in options.split(",")
    variables = [word for words in words_of("docker/worker.Dockerfile", "ENV") for word in words]
    assert f"TORCHINDUCTOR_CACHE_DIR={folder}/inductor" in variables


def test_a_container_sees_a_gpu_only_if_it_asks_for_one() -> None:
    """`NVIDIA_VISIBLE_DEVICES=all` in an image shows every device where NVIDIA's is the default runtime."""
    variables = [word for words in words_of("docker/worker.Dockerfile", "ENV") for word in words]
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in variables
    assert not any(variable.startswith("NVIDIA_VISIBLE_DEVICES") for variable in variables)


def test_worker_is_one_forked_process_for_one_device() -> None:
    (command,) = words_of("docker/worker.Dockerfile", "CMD")[-1:]
    joined = re.sub(r'[",\[\]]', "", " ".join(command))
    assert "--pool prefork" in joined
    assert "--concurrency 1" in joined


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_copied_files_exist_and_are_not_ignored(dockerfile: str) -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = [line[1:] for line in ignore if line.startswith("!")]
    for *sources, _target in (
        copy for copy in words_of(dockerfile, "COPY") if not copy[0].startswith("--from")
    ):
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source


def test_the_trial_script_skips_without_a_docker_engine() -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "PATH": os.environ["PATH"]}
    tried = subprocess.run(
        [BASH, ROOT / "docker/try.sh"], env=nowhere, capture_output=True, text=True, check=False
    )
    assert (tried.returncode, tried.stderr) == (0, "")
    assert "skipped, there is no Docker engine here" in tried.stdout
