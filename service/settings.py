"""The service's environment variables, read once. Each has the prefix SMOOTHCERT_."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.prefix import OUR_OWN, PREFIX
from smoothcert.jobs.broker import LOCAL_BROKER, Address, broker_url
from smoothcert.jobs.store import DAY
from smoothcert.models.registry import BUNDLED, DEFAULT_MODEL


def _listed(value: object) -> object:
    """A JSON list, or names separated by commas or spaces."""
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return json.loads(value) if isinstance(value, str) else value
    return [item for item in re.split(r"[,\s]+", value) if item]


def _root_path(text: str) -> str:
    path = text.strip().rstrip("/")
    if not PREFIX.fullmatch(path):
        raise ValueError("write it like /certify, or leave it out")
    if path.partition("/")[2].partition("/")[0] in OUR_OWN:
        raise ValueError(f"{path} is one of the service's own paths: take another, or X-Forwarded-Prefix")
    return path


def _origin(text: str) -> str:
    origin = text.strip().rstrip("/").lower()
    if not ORIGIN.fullmatch(origin):
        raise ValueError("write each origin like https://www.example.org, with its port where it has one")
    return origin


def _network(text: str) -> str:
    ip_network(text)
    return text


ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
RootPath = Annotated[str, AfterValidator(_root_path)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_listed)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """The settings of the service."""

    model_config = SettingsConfigDict(
        env_prefix="SMOOTHCERT_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    redis_url: Address = Field(default=LOCAL_BROKER, description="the broker and job store")
    redis_password_file: Path | None = Field(default=None, description="file with the password of redis_url")
    models: Path = Field(default=BUNDLED, description="folder of checkpoint folders")
    default_model: str = Field(default=DEFAULT_MODEL, description="certifies where a request names none")
    max_upload_bytes: int = Field(default=25_000_000, gt=0, description="one image file")
    max_batch_bytes: int = Field(default=100_000_000, gt=0, description="all files of one batch")
    max_batch_images: int = Field(default=256, gt=0)
    max_queued: int = Field(default=10_000, gt=0, description="jobs waiting before new ones get 503")
    max_wait: float = Field(default=30.0, ge=0, description="seconds a ?wait= may take")
    max_watching: int = Field(default=1000, gt=0, description="waits and event streams at once, each process")
    hosts: Hosts = Field(default=(), description="the names it answers to; without any, see docs")
    origins: Origins = Field(default=(), description="other sites whose pages may call (CORS)")
    root_path: RootPath = Field(default="", description="path prefix that a proxy serves it below")
    proxies: Networks = Field(
        default=("127.0.0.1", "::1"), description="whose X-Forwarded-Prefix and -Host are believed"
    )
    keep_alive: int = Field(default=75, gt=0, description="seconds an idle connection stays open")
    record_ttl: int = Field(default=DAY, gt=0, description="seconds a record outlives its last change")
    max_open: int = Field(default=1000, gt=0, description="unfinished jobs of one API key's owner")
    max_rate: int = Field(default=600, gt=0, description="submissions a minute of one API key's owner")
    api_keys: Path | None = Field(default=None, description="file of API keys; without one, anybody may call")
    signing_keys: Path | None = Field(default=None, description="public keys of certificates, to be served")
    allow_anonymous: bool = Field(default=False, description="beyond loopback without API keys")
    decoders: int = Field(default=2, gt=0, description="uploads decoded at the same time")
    log_level: str = "INFO"
    log_json: bool = True

    @property
    def broker(self) -> str:
        """The broker's URL, with the password. Raises BadKeyFile."""
        return broker_url(self.redis_url, self.redis_password_file)
