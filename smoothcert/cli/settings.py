"""The environment variables of the command line, read once. All have the prefix SMOOTHCERT_."""

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from smoothcert.environment import read_environment
from smoothcert.files import from_home
from smoothcert.models.registry import BUNDLED, DEFAULT_MODEL, ModelRegistry


class Settings(BaseSettings):
    """The settings of the command line."""

    model_config = SettingsConfigDict(env_prefix="SMOOTHCERT_", frozen=True, extra="ignore")

    models: Path = Field(default=BUNDLED, description="folder of checkpoint folders")
    cache: Path = Field(
        default=Path("~/.cache/smoothcert"),
        validate_default=True,
        description="where measured engines are kept",
    )
    setup: str | None = Field(default=None, description="the engine, instead of the one chosen")
    default_model: str = Field(default=DEFAULT_MODEL, description="certifies where the command names none")
    redis_url: SecretStr | None = Field(
        default=None, description="broker of the workers that `evaluate` asks"
    )
    redis_password_file: Path | None = Field(default=None, description="file with the password of redis_url")
    api_keys: Path | None = Field(default=None, description="file of API keys that `smoothcert keys` changes")
    api_key: SecretStr | None = Field(default=None, description="sent to a service that wants one")

    @field_validator("cache")
    @classmethod
    def _home(cls, cache: Path) -> Path:
        return from_home(cache)

    @property
    def bearer(self) -> str | None:
        """The API key in plain text."""
        return self.api_key.get_secret_value() if self.api_key else None

    @property
    def catalogue(self) -> ModelRegistry:
        return ModelRegistry(self.models)


@cache
def settings() -> Settings:
    """The settings of this process. Raises InvalidRequest."""
    return read_environment(Settings)
