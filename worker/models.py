"""The models that this child can run: loads them in turn, watches for new ones, announces them."""

import threading
import time

import structlog

from smoothcert.errors import BrokerUnavailable, SmoothCertError
from smoothcert.jobs.store import JobStore
from smoothcert.jobs.votes import VoteStore
from worker.cache import EngineCache
from worker.settings import BEATS_MISSED, Settings

log = structlog.get_logger(__name__)


class Models:
    """The child's heartbeat names the loaded models; the parent then consumes their queues."""

    def __init__(self, settings: Settings, engines: EngineCache, votes: VoteStore, store: JobStore) -> None:
        self._settings, self._engines, self._votes, self._store = settings, engines, votes, store
        self._tried: dict[str, str] = {}  # model -> digest of the weights tried last
        self._verdicts: dict[str, str | None] = {}  # not yet in the record: model -> error, or None
        self._left_out: dict[str, str] = {}  # folder -> reason, as logged
        self.loaded: list[str] = []

    def load_first(self) -> None:
        """Builds the engines of the first models: the default model, then by name.

        A model that can't be loaded does not keep the worker from running the others.
        """
        self._name_left_out()
        for name in self._names()[: self._settings.warm]:
            self._try(name, build=True)
        self.beat()

    def watch(self) -> None:
        """Starts a thread that loads the other models while jobs run, and sends the heartbeats."""
        threading.Thread(target=self._watch, name="models", daemon=True).start()

    def refuse(self, name: str, reason: str) -> None:
        """Records why a model could not be loaded for a job."""
        self._verdicts[name] = reason

    def look(self) -> None:
        """Loads models that are new or changed in the folder."""
        self._name_left_out()
        for name in self._names():
            self._try(name)

    def beat(self) -> None:
        """Sends a heartbeat. If the broker is unavailable, the next one reports the same."""
        try:
            for name, reason in list(self._verdicts.items()):
                if reason is None:
                    self._store.accept_model(name)
                else:
                    self._store.refuse_model(name, reason)
                del self._verdicts[name]
            self._votes.beat(self.loaded, BEATS_MISSED * self._settings.beat)
        except BrokerUnavailable as error:
            log.warning("no sign of life", error=str(error))

    def _names(self) -> list[str]:
        names = self._settings.registry.names()
        return sorted(names, key=lambda name: name != self._settings.default_model)

    def _name_left_out(self) -> None:
        """Logs each folder that is no model, once for each reason."""
        found = self._settings.registry.left_out()
        for folder, reason in found.items():
            if self._left_out.get(folder) != reason:
                log.warning("left out", folder=folder, why=reason)
        self._left_out = found

    def _watch(self) -> None:
        while True:
            self.look()
            self.beat()
            time.sleep(self._settings.beat)

    def _try(self, name: str, *, build: bool = False) -> None:
        """Loads a model, unless its current weights were tried before."""
        try:
            weights = self._settings.registry.card(name).weights_sha256
            if self._tried.get(name) == weights:
                return
            self._tried[name] = weights
            if build:
                log.info("loaded", model=name, engine=str(self._engines.load(name, None).engine.description))
            else:
                self._engines.check(name)
        except SmoothCertError as error:
            log.warning("not loaded", model=name, error=str(error))
            self._verdicts[name] = str(error)
            return
        self._verdicts[name] = None
        self.loaded = [*dict.fromkeys([*self.loaded, name])]
