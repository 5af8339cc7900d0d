"""The service's environment: lists as people write them, and what is wrong is refused at the start."""

import pytest
from pydantic import ValidationError

from service.settings import Settings

ORIGINS = ("https://a.example", "http://localhost:3000", "http://[::1]:3000")


@pytest.mark.parametrize(
    "text",
    [
        '["https://a.example", "http://localhost:3000", "http://[::1]:3000"]',
        "https://a.example,http://localhost:3000,http://[::1]:3000",
        " https://A.example/ , http://localhost:3000  http://[::1]:3000 ",
    ],
)
def test_a_list_is_json_or_names_with_commas(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SMOOTHCERT_ORIGINS", text)
    assert Settings().origins == ORIGINS


def test_an_empty_list_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORIGINS", "HOSTS", "PROXIES", "ROOT_PATH"):
        monkeypatch.setenv(f"SMOOTHCERT_{name}", "")
    settings = Settings()
    assert (settings.origins, settings.hosts, settings.proxies, settings.root_path) == ((), (), (), "")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ORIGINS", "*"),
        ("ORIGINS", "a.example"),
        ("ORIGINS", "https://a.example/path"),
        ("ORIGINS", '["https://a.example"'),
        ("PROXIES", "proxy.example"),
        ("PROXIES", "10.0.0.1/8"),
        ("ROOT_PATH", "certify"),
        ("ROOT_PATH", "/a//b"),
        ("ROOT_PATH", "/jobs"),
        ("ROOT_PATH", "/static/v1"),
        ("KEEP_ALIVE", "0"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"SMOOTHCERT_{name}", text)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()
