"""The faults, as they are made. Each is a generator: it yields when it has struck (what is killed) or is over
(what was away for a while): the seconds to recover are counted from there; afterwards it cleans up.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.callers import Caller, picture
from tests.faults.site import LENET, Plan, Site
from tests.worker.plant import Worker, eventually

SILENCE = 10.0  # seconds: longer than a worker may be silent
RESTART = 2.0  # seconds until a supervisor has started again what died
OUTAGE = SILENCE + 3.0  # seconds
HOUR = 3600


@dataclass
class Scene:
    """Where a fault strikes. job: runs and is half done. may_fail: jobs that this fault may end without a
    certificate, if it says why. victim: the worker that is hit, if not the one that has the job."""

    site: Site
    caller: Caller
    job: str
    may_fail: set[str] = field(default_factory=set)
    victim: Worker | None = None

    @property
    def holder(self) -> Worker:
        """The worker that is hit: the one that has the job."""
        return self.victim or eventually(lambda: self.site.holder(self.job))


Blow = Iterator[None]


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    name: str
    how: str
    strike: Callable[[Scene], Blow]
    plan: Plan = field(default_factory=Plan)


def kill_child(scene: Scene) -> Blow:
    os.kill(scene.holder.child, signal.SIGKILL)
    yield


def kill_parent(scene: Scene) -> Blow:
    doomed = scene.holder
    doomed.process.kill()
    doomed.process.wait()
    yield
    scene.site.restaff()


def drain_worker(scene: Scene) -> Blow:
    doomed = scene.holder
    doomed.process.terminate()
    yield
    assert doomed.process.wait(30) == 0
    scene.site.restaff()


def freeze_worker(scene: Scene) -> Blow:
    """Stopped with its child, for longer than a worker may be silent; then it goes on and writes late."""
    frozen = scene.holder
    processes = [frozen.process.pid, *frozen.children()]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    yield
    time.sleep(SILENCE + 2)
    for pid in processes:
        os.kill(pid, signal.SIGCONT)


def kill_service_before_sending(scene: Scene) -> Blow:
    """Its caller gets no answer, and asks the next one again with the same key."""
    site = scene.site
    site.service.kill()
    site.service.wait()
    site.start_service("tests.faults.doomed")
    known = set(site.store.scripts.client.keys(f"{site.store.root}:job:*"))
    while site.service.poll() is None:  # the caller's traffic, or this, brings it to its end
        scene.caller.post(2000, picture(), key="the worst moment", tries=1.0)
    assert set(site.client.keys(f"{site.store.root}:job:*")) - known, "the record was written"
    time.sleep(RESTART)
    site.start_service()
    yield
    assert scene.caller.post(2000, picture(), key="the worst moment")


def kill_service(scene: Scene) -> Blow:
    scene.site.service.kill()
    scene.site.service.wait()
    time.sleep(RESTART)
    scene.site.start_service()
    yield


def _broker_away(scene: Scene, how: signal.Signals, seconds: float) -> Blow:
    scene.site.kill_broker(how)
    time.sleep(seconds)
    scene.site.start_broker()
    yield


def kill_broker(scene: Scene) -> Blow:
    yield from _broker_away(scene, signal.SIGKILL, RESTART)


def restart_broker(scene: Scene) -> Blow:
    yield from _broker_away(scene, signal.SIGTERM, RESTART)


def broker_refuses(scene: Scene) -> Blow:
    yield from _broker_away(scene, signal.SIGKILL, OUTAGE)


def broker_swallows(scene: Scene) -> Blow:
    """Connections are taken (by the kernel), nothing is ever answered."""
    scene.site.broker.send_signal(signal.SIGSTOP)
    time.sleep(OUTAGE)
    scene.site.broker.send_signal(signal.SIGCONT)
    yield


def cut_connections(scene: Scene) -> Blow:
    """Everybody's, five times in a second."""
    for _ in range(5):
        for kind in ("normal", "pubsub"):
            scene.site.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        time.sleep(0.2)
    yield


def fill_broker(scene: Scene) -> Blow:
    """Not one byte more is allowed than it has."""
    client = scene.site.client
    client.config_set("maxmemory", 1)
    time.sleep(OUTAGE)
    client.config_set("maxmemory", 0)
    yield


def broker_clock(seconds: int) -> Callable[[Scene], Blow]:
    """Steps it while a worker dies: what the record believes of workers is then most wrong."""

    def strike(scene: Scene) -> Blow:
        scene.holder.process.kill()
        scene.site.clocks["broker"].step(seconds)
        yield
        scene.site.restaff()

    return strike


def worker_clocks(seconds: int) -> Callable[[Scene], Blow]:
    """Those of all workers and none other, while one of them dies."""

    def strike(scene: Scene) -> Blow:
        scene.site.clocks["workers"].step(seconds)
        scene.holder.process.kill()
        yield
        scene.site.restaff()

    return strike


def _children_restarted(scene: Scene) -> None:
    for worker in scene.site.alive():
        for child in worker.children():
            os.kill(child, signal.SIGKILL)


@contextmanager
def _without_model(scene: Scene) -> Iterator[None]:
    """Jobs that were open before or are accepted meanwhile may fail, for a reason that is said."""
    accepted, site = scene.caller.ledger.accepted, scene.site
    ended = {job for job in list(accepted.values()) if (now := site.store.job(job)) and now.ended}
    _children_restarted(scene)
    yield
    time.sleep(5)
    site.write_model()
    scene.may_fail |= set(accepted.values()) - ended


def lose_model(scene: Scene) -> Blow:
    """The folder goes while its jobs run and wait, and every child dies, so that nobody has it loaded."""
    shutil.rmtree(scene.site.models / scene.site.plan.model)
    with _without_model(scene):
        yield


def spoil_model(scene: Scene) -> Blow:
    """The weights are overwritten in the middle, and every child dies, so that they are loaded anew."""
    weights = scene.site.models / scene.site.plan.model / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(weights.stat().st_size // 2)
        file.write(bytes(4096))
    with _without_model(scene):
        yield


def poison(scene: Scene) -> Blow:
    """An image whose every vote aborts the process that casts it."""
    job_id = scene.caller.post(2000, picture(255))
    assert job_id is not None
    scene.may_fail.add(job_id)
    ended = scene.caller.ended([job_id], 60)[job_id]
    assert (ended["status"], ended["attempts"]) == ("failed", 3)
    assert "3 attempts" in ended["error"]["detail"]
    yield


FAULTS = (
    Fault("worker's child killed", "SIGKILL", kill_child),
    Fault("worker killed", "SIGKILL of the parent; its child dies with it", kill_parent),
    Fault("worker's child killed, real LeNet", "SIGKILL", kill_child, Plan(model=LENET)),
    Fault("worker killed, real LeNet", "SIGKILL of the parent", kill_parent, Plan(model=LENET)),
    Fault("worker told to stop", "SIGTERM", drain_worker),
    Fault("worker frozen", "SIGSTOP to parent and child, SIGCONT after 12 s", freeze_worker),
    Fault("service killed", "SIGKILL, started again after 2 s", kill_service),
    Fault(
        "service killed between writing a job and sending its message",
        "SIGKILL in place of the sending, started again after 2 s",
        kill_service_before_sending,
    ),
    Fault("broker killed", "SIGKILL, started again after 2 s with its append-only file", kill_broker),
    Fault("broker restarted", "SIGTERM, started again after 2 s with its append-only file", restart_broker),
    Fault("broker refuses connections", "away for 13 s", broker_refuses),
    Fault("broker is a black hole", "SIGSTOP for 13 s: it accepts and never answers", broker_swallows),
    Fault("all connections cut", "CLIENT KILL of all, five times in a second", cut_connections),
    Fault("broker full", "maxmemory below what it holds for 13 s, noeviction", fill_broker),
    Fault(
        "broker's clock an hour ahead", "stepped as a worker is killed", broker_clock(HOUR), Plan(clocks=True)
    ),
    Fault(
        "broker's clock an hour back", "stepped as a worker is killed", broker_clock(-HOUR), Plan(clocks=True)
    ),
    Fault(
        "workers' clocks an hour ahead",
        "stepped as a worker is killed",
        worker_clocks(HOUR),
        Plan(clocks=True),
    ),
    Fault(
        "workers' clocks an hour back",
        "stepped as a worker is killed",
        worker_clocks(-HOUR),
        Plan(clocks=True),
    ),
    Fault("model folder gone", "removed for 5 s, every child killed", lose_model),
    Fault("weights corrupt", "overwritten in the middle, every child killed", spoil_model, Plan(model=LENET)),
    Fault("a job that kills its worker", "its votes abort the process", poison),
)
