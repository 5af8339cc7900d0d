"""The worker's environment variables, read once. Each has the prefix SMOOTHCERT_."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from smoothcert.environment import read_environment
from smoothcert.jobs.broker import LOCAL_BROKER, Address, broker_url
from smoothcert.jobs.keys import DAY
from smoothcert.jobs.tasks import Policy
from smoothcert.models.registry import BUNDLED, DEFAULT_MODEL, ModelRegistry

Seconds = float
BEATS_MISSED = 4  # heartbeats missed before a worker counts as gone


class Settings(BaseSettings):
    """The settings of the worker."""

    model_config = SettingsConfigDict(
        env_prefix="SMOOTHCERT_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    redis_url: Address = Field(default=LOCAL_BROKER, description="the broker and job store")
    redis_password_file: Path | None = Field(default=None, description="file with the password of redis_url")
    models: Path = Field(default=BUNDLED, description="folder of checkpoint folders")
    default_model: str = Field(default=DEFAULT_MODEL, description="the first model that a worker loads")
    warm: int = Field(default=1, ge=0, le=4, description="models loaded before the first job is taken")
    setup: str | None = Field(default=None, description="the engine config, for all models")
    signing_key: Path | None = Field(default=None, description="private key that signs certificates")
    tune: bool = Field(default=True, description="time the engines when a model first loads (seconds, once)")
    cache: Path = Field(
        default=Path("~/.cache/smoothcert"), description="folder that keeps the fastest engines measured"
    )
    engines: str = Field(default="worker.engines:Engines", description="the class that builds engines")
    unserved: Seconds = Field(
        default=3600.0, gt=0, description="seconds that a job waits for a model that no worker has"
    )
    record_ttl: int = Field(default=DAY, gt=0, description="seconds a record outlives its last change")
    slice: Seconds = Field(default=3.0, gt=0, description="seconds that one task works on a job")
    nice: int = Field(default=10, ge=0, le=19, description="niceness of the processes that vote")
    beat: Seconds = Field(default=2.0, gt=0, description="seconds between two heartbeats")
    alive: Path | None = Field(default=None, description="file rewritten at each heartbeat")
    log_level: str = "INFO"
    log_json: bool = True

    @model_validator(mode="after")
    def _jobs_are_given_up_before_they_expire(self) -> Self:
        if self.unserved >= self.record_ttl:
            raise ValueError(
                f"SMOOTHCERT_UNSERVED ({self.unserved:g} s) must be less than SMOOTHCERT_RECORD_TTL"
                f" ({self.record_ttl} s): jobs of a model that no worker has would expire without a word."
            )
        return self

    def engine_builder(self) -> Any:
        """An instance of the class that `engines` names. Only for the child: imports torch.

        Raises ImportError.
        """
        module, _, name = self.engines.partition(":")
        return getattr(import_module(module), name)(self)

    @property
    def broker(self) -> str:
        """The broker's URL, with the password. Raises BadKeyFile."""
        return broker_url(self.redis_url, self.redis_password_file)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.models)

    @property
    def policy(self) -> Policy:
        return Policy(ttl=self.record_ttl, unserved=self.unserved)


@cache
def settings() -> Settings:
    """The settings of this process. Raises InvalidRequest."""
    return read_environment(Settings)
