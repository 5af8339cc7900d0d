"""The service's environment variables, read once. Each has the prefix SMOOTHCERT_."""

import json
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.middleware import OUR_OWN, PREFIX
from smoothcert.jobs.broker import LOCAL_BROKER, Address, broker_url
from smoothcert.jobs.keys import DAY
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
    default_model: str = Field(default=DEFAULT_MODEL, description="used if a request names no model")
    max_upload_bytes: int = Field(default=25_000_000, gt=0, description="largest image file, bytes")
    max_batch_bytes: int = Field(
        default=100_000_000, gt=0, description="all image files of a batch together, bytes"
    )
    max_batch_images: int = Field(default=256, gt=0, description="images in one batch")
    max_queued: int = Field(
        default=10_000, gt=0, description="waiting jobs; a submission beyond them gets 503"
    )
    max_wait: float = Field(default=30.0, ge=0, description="longest ?wait=, seconds")
    max_watching: int = Field(
        default=1000, gt=0, description="concurrent waits and event streams, per process"
    )
    hosts: Hosts = Field(
        default=(), description="accepted Host names; empty: any with API keys, else localhost"
    )
    origins: Origins = Field(default=(), description="origins of other sites whose pages may call (CORS)")
    root_path: RootPath = Field(default="", description="path prefix below which a proxy serves it")
    proxies: Networks = Field(
        default=("127.0.0.1", "::1"), description="networks whose X-Forwarded-Prefix and -Host are trusted"
    )
    keep_alive: int = Field(default=75, gt=0, description="seconds before an idle connection is closed")
    record_ttl: int = Field(
        default=DAY, gt=0, description="seconds that a record is kept after its last change"
    )
    max_open: int = Field(default=1000, gt=0, description="unfinished jobs of one API key's owner")
    max_rate: int = Field(default=600, gt=0, description="submissions a minute of one API key's owner")
    api_keys: Path | None = Field(
        default=None, description="file of API keys; without one, every caller is accepted"
    )
    signing_keys: Path | None = Field(
        default=None, description="file of public keys that /keys/signing serves"
    )
    allow_anonymous: bool = Field(
        default=False, description="accept callers beyond loopback without API keys"
    )
    decoders: int = Field(default=2, gt=0, description="threads that decode uploads")
    log_level: str = "INFO"
    log_json: bool = True

    @property
    def broker(self) -> str:
        """The broker's URL, with the password. Raises BadKeyFile."""
        return broker_url(self.redis_url, self.redis_password_file)
