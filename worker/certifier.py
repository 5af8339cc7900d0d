"""One job from claim to end. Lives in the child, which alone loads models and touches the device."""

from collections.abc import Callable
from contextlib import suppress

import redis
import structlog

from smoothcert.errors import BadCheckpoint, BrokerUnavailable, InternalError, InvalidRequest, SmoothCertError
from smoothcert.images.pixels import CertifiedImage
from smoothcert.jobs.broker import connect
from smoothcert.jobs.delivery import TaskPublisher
from smoothcert.jobs.jobs import JobStore
from smoothcert.jobs.leases import Claim, Leases, LostLease
from smoothcert.jobs.shares import Help, Shares
from smoothcert.schemas.job import Problem
from smoothcert.signing import Signer
from smoothcert.stats.schedule import plan_for
from worker.cache import EngineCache, Loaded
from worker.company import Company
from worker.drain import draining
from worker.drive import Drive, Turn
from worker.hand import Division, Hand
from worker.keeper import Keeper, Message
from worker.pace import Pace
from worker.settings import Settings

log = structlog.get_logger(__name__)


class Certifier:
    """Everything a child needs, made once after the fork. worker_id: of its parent."""

    def __init__(self, settings: Settings, worker_id: str) -> None:
        self._settings = settings
        self._client: redis.Redis = connect(settings.broker)
        self._store = JobStore(self._client)
        self._leases = Leases(self._client, settings.terms)
        self._courier = TaskPublisher(settings.broker)
        self._engines = EngineCache(settings.catalogue, settings.engine_builder())
        signer = Signer.read(settings.signing_key) if settings.signing_key else None
        self._turn = Turn(settings.chunk, settings.quantum, settings.divide, signer)
        self._shares = Shares(self._client, worker_id, self._engines.platform, settings.terms)
        self._company = Company(self._shares, self._courier)

    def warm_up(self) -> None:
        """Loads the first models, so that their first jobs needn't wait for that: the default one, then by
        name. A model that can't be loaded costs its own jobs only."""
        names = sorted(
            self._settings.catalogue.names(), key=lambda name: name != self._settings.default_model
        )
        for place, name in enumerate(names):
            try:
                self._try_model(name, load=place < self._settings.warm)
            except SmoothCertError as error:
                log.warning("not loaded", model=name, error=str(error))
        for folder, reason in self._settings.catalogue.left_out().items():
            log.warning("left out", folder=folder, why=reason)
        try:
            self._shares.announce()
        except SmoothCertError as error:
            log.warning("not announced", error=str(error))

    def _try_model(self, name: str, *, load: bool) -> None:
        """Loads a model, or only checks that it can be loaded; the record knows of those that can't."""
        try:
            if load:
                log.info("loaded", model=name, engine=str(self._engines.load(name, None).engine.description))
            else:
                self._engines.check(name)
        except SmoothCertError as error:
            with suppress(BrokerUnavailable):  # away for a moment: the model's first job will tell
                self._store.refuse_model(name, str(error))
            raise
        with suppress(BrokerUnavailable):
            self._store.accept_model(name)

    def certify(self, job_id: str, delivery_tag: str | None) -> None:
        """Works on the job as far as it can; whatever happens is in the record then."""
        claim = self._leases.claim(job_id, self._shares.worker, self._shares.platform)
        if isinstance(claim, str):
            log.info("not claimed", job=job_id, why=claim)
            return
        with structlog.contextvars.bound_contextvars(job=claim.job_id, request=claim.request_id):
            self._hold(claim, Message(self._client, delivery_tag))

    def help(self, job_id: str, delivery_tag: str | None) -> None:
        """Shares a divided job, as long as there is a portion to take and nobody waits for this worker."""
        asked = self._shares.join(job_id)
        if asked is None:
            log.info("nothing to share", job=job_id)
            return
        with structlog.contextvars.bound_contextvars(job=job_id, request=asked.request_id):
            try:
                with self._keeper(
                    lambda: self._shares.hold(job_id, asked.division), Message(self._client, delivery_tag)
                ) as keeper:
                    self._share(asked, keeper)
            except SmoothCertError as error:
                log.warning("could not help", error=str(error))

    def _share(self, asked: Help, keeper: Keeper) -> None:
        loaded = self._engines.load(asked.model, asked.engine)
        if (loaded.engine.description, loaded.classifier_sha256) != (asked.engine, asked.weights):
            raise InternalError("This worker has another classifier than the one that votes on this job.")
        source = loaded.votes(self._image(asked.job_id), asked.parameters.sigma, asked.seed)
        which = Division(asked.job_id, asked.division, plan_for(asked.parameters))
        hand = Hand(self._shares, which, source, Pace(self._turn.chunk, asked.engine.batch))
        log.info("helping")
        try:
            while not keeper.lost and not draining() and hand.step():
                keeper.note()
        finally:
            hand.leave()
        log.info("helped", votes=hand.votes)

    def _keeper(self, renew: Callable[[], None], message: Message) -> Keeper:
        return Keeper(renew, message, self._settings.lease, self._settings.stall)

    def _hold(self, claim: Claim, message: Message) -> None:
        log.info("claimed", job=claim.job_id, model=claim.model, attempt=claim.attempt, fence=claim.fence)
        try:
            with self._keeper(lambda: self._leases.renew(claim), message) as keeper:
                self._work(claim, keeper)
        except LostLease:
            log.info("lost", job=claim.job_id, fence=claim.fence)

    def _work(self, claim: Claim, keeper: Keeper) -> None:
        try:
            claim, loaded = self._load(claim)
            image = self._image(claim.job_id)
            drive = Drive(self._leases, claim, image, loaded, self._turn, company=self._company)
            ending = drive.run(keeper)
        except (LostLease, BrokerUnavailable):
            raise
        except SmoothCertError as error:
            self._fail(claim, error)
        except Exception:
            log.exception("unexpected", job=claim.job_id)  # here, where the line gets its request's id
            self._fail(
                claim, InternalError("The worker met an error that it did not expect; its log has more.")
            )
        else:
            log.info(ending, job=claim.job_id)
            if ending == "handed back":
                self._courier.send(claim.job_id, claim.model)

    def _load(self, claim: Claim) -> tuple[Claim, Loaded]:
        """The engine of this job's votes, pinned. Other weights or another set-up start the job again."""
        loaded = self._loaded(claim)
        weights, engine = loaded.classifier_sha256, loaded.engine.description
        if claim.engine is not None and (claim.engine, claim.weights) != (engine, weights):
            log.warning("restarted", job=claim.job_id, was=str(claim.engine), now=str(engine))
            return self._load(self._leases.restart(claim))
        self._leases.pin(claim, engine, self._shares.platform, weights)
        return claim, loaded

    def _loaded(self, claim: Claim) -> Loaded:
        try:
            return self._engines.load(claim.model, claim.engine or claim.setup)
        except BadCheckpoint as error:
            self._store.refuse_model(claim.model, str(error))
            raise

    def _image(self, job_id: str) -> CertifiedImage:
        image = self._store.image(job_id)
        if image is None:
            raise InternalError("The image of this job has expired.")
        return image

    def _fail(self, claim: Claim, error: SmoothCertError) -> None:
        log.warning("failed", job=claim.job_id, error=str(error))
        foreseen = isinstance(error, InvalidRequest)
        title = "The request can't be carried out" if foreseen else "The worker failed"
        self._leases.fail(claim, Problem(title=title, status=422 if foreseen else 500, detail=str(error)))
