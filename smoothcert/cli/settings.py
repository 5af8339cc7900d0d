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
        description="folder that keeps the fastest engines measured",
    )
    setup: str | None = Field(
        default=None,
        description="engine to use, for example cpu:eager/2-threads:float32:64; else one is chosen",
    )
    default_model: str = Field(default=DEFAULT_MODEL, description="used if the command names no model")
    redis_url: SecretStr | None = Field(
        default=None, description="broker of the workers for `evaluate --workers`"
    )
    redis_password_file: Path | None = Field(default=None, description="file with the password of redis_url")
    api_keys: Path | None = Field(default=None, description="file of API keys that `smoothcert keys` changes")
    signing_key: Path | None = Field(default=None, description="private key that signs statements")
    api_key: SecretStr | None = Field(default=None, description="API key sent to the service")

    @field_validator("cache")
    @classmethod
    def _home(cls, cache: Path) -> Path:
        return from_home(cache)

    @property
    def bearer(self) -> str | None:
        """The API key in plain text."""
        return self.api_key.get_secret_value() if self.api_key else None

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.models)


@cache
def settings() -> Settings:
    """The settings of this process. Raises InvalidRequest."""
    return read_environment(Settings)
