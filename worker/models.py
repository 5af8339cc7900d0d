"""Which models this child can run: loaded one after the other, watched for new ones, and announced."""

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
    """The child's sign of life names the models that are loaded; the parent then takes their jobs."""

    def __init__(self, settings: Settings, engines: EngineCache, votes: VoteStore, store: JobStore) -> None:
        self._settings, self._engines, self._votes, self._store = settings, engines, votes, store
        self._tried: dict[str, str] = {}  # model -> the weights that were tried
        self._verdicts: dict[str, str | None] = {}  # not in the record yet: why a model is refused, or None
        self.loaded: list[str] = []

    def load_first(self) -> None:
        """Builds the engines of the first models: the default one, then by name. A model that can't be loaded
        costs its own jobs only."""
        for folder, reason in self._settings.catalogue.left_out().items():
            log.warning("left out", folder=folder, why=reason)
        for name in self._names()[: self._settings.warm]:
            self._try(name, build=True)
        self.beat()

    def watch(self) -> None:
        """The other models are loaded in a thread, beside the first jobs; it gives the signs of life, too."""
        threading.Thread(target=self._watch, name="models", daemon=True).start()

    def refuse(self, name: str, reason: str) -> None:
        """A job showed that the model can't be run."""
        self._verdicts[name] = reason

    def look(self) -> None:
        """Loads what is new in the folder of models."""
        for name in self._names():
            self._try(name)

    def beat(self) -> None:
        """A sign of life; a broker that is away hears the next one."""
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
        names = self._settings.catalogue.names()
        return sorted(names, key=lambda name: name != self._settings.default_model)

    def _watch(self) -> None:
        while True:
            self.look()
            self.beat()
            time.sleep(self._settings.beat)

    def _try(self, name: str, *, build: bool = False) -> None:
        """Loads a model, unless these weights were tried before."""
        try:
            weights = self._settings.catalogue.card(name).weights_sha256
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
