"""Every command, as found in the application, in environments that users have: none ends in a traceback."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer.main

from smoothcert.cli.main import commands
from smoothcert.cli.processes import free_port
from tests.cli.conftest import DATA, MODEL, ROOT, SETUP, settings_of

DRIVER = Path(__file__).with_name("every_command.py")
STRANGER = 54_321  # the id of a user without an entry in the system's list
MNIST = ("--dataset", "mnist", "--data-root", DATA / "mnist-tiny")
FEW = ("--n", "20", "--n0", "5", "--alpha", "0.3", "--engine", SETUP)
ONE = (*FEW, "--limit", "1", "--seed", "1")
PGD = ("--restarts", "1", "--steps", "1", "--noises", "1")
NOWHERE = "http://127.0.0.1:1"
NO_UTF8 = b"/caf\xe9"
Variables = dict[str, str]
Call = tuple[object, ...]

# What the environment says while a command runs. A plain one is that of the test of ASCII.
SOFT: dict[str, Variables] = {
    "proxies": {
        "ALL_PROXY": "socks5://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "SSL_CERT_FILE": "/no/such.pem",
    },
    "odd proxies and nowhere to write": {
        "HTTP_PROXY": "no proxy at all",
        "HTTPS_PROXY": "ftp://127.0.0.1:x",
        "SSL_CERT_DIR": "/no/such",
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null",
        "XDG_STATE_HOME": "/dev/null",
        "TMPDIR": "/no/such",
        "SMOOTHCERT_CACHE": "/dev/null/cache",
    },
    "settings": {
        "SMOOTHCERT_SETUP": "quick, please",
        "SMOOTHCERT_API_KEYS": "/dev/null",
        "SMOOTHCERT_API_KEY": "clé\n",
        "SMOOTHCERT_REDIS_URL": "redis://:swordfish@h:x/0",
        "SMOOTHCERT_REDIS_PASSWORD_FILE": "/no/such",
    },
    "models": {
        "SMOOTHCERT_MODELS": "/dev/null",
        "SMOOTHCERT_DEFAULT_MODEL": "\udcff",
        "SMOOTHCERT_REDIS_URL": "sentinel://a:1/main",
    },
    "broker": {"SMOOTHCERT_REDIS_URL": "unix:///no/such.sock"},
}
# What these say matters only to calls with one of these words.
ONLY = {"proxies": {"--url"}, "broker": {"--workers", "up"}}
# What a process must be started with.
ASCII = {
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "LC_ALL": "POSIX",
    "TERM": "dumb",
    "COLUMNS": "20",
}
HOMES = ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
STRANGE = "no entry"
NOWHERE_TO_WRITE = "odd proxies and nowhere to write"
MEASURED = (NOWHERE_TO_WRITE, STRANGE)
WORKING = ("plain", "proxies", NOWHERE_TO_WRITE, STRANGE)  # where what needs nothing else works


@dataclass(frozen=True)
class Site:
    """What commands are given, where they may write, and a port that is taken."""

    given: Path
    models: Path
    port: int

    def calls(self, out: Path, *, measured: bool) -> dict[str, list[Call]]:
        """What each command is asked. measured: a training finds its precision by itself."""
        picture, photos = bytes(self.given) + NO_UTF8 + b".png", b"folder:" + bytes(self.given) + NO_UTF8
        log, odd = self.given / "log.tsv", bytes(out) + NO_UTF8
        training = ("--sigma", "0.5", "--epochs", "1")
        precision = () if measured else ("--precision", "float32")
        return {
            "up": [("up", "--port", self.port)],
            "certify": [
                ("certify", picture, *FEW),
                ("certify", picture, *FEW, "--json", "--out", odd + b".json"),
                ("certify", self.given, *FEW, "--json"),
                ("certify", picture, "--url", NOWHERE),
                ("certify", picture, "--url", "https://127.0.0.1:1"),
                ("certify", picture, "--url", "http://service.invalid", "--model", b"\xff"),
            ],
            "models": [("models",), ("models", "--json")],
            "report": [("report", log), ("report", log, "--format", "json", "--plot", out / "plot.svg")],
            "verify": [("verify", self.given / "none.json", "--url", NOWHERE)],
            "bench": [("bench", MODEL, "--seconds", "0.01", "--engine", SETUP)],
            "reproduce": [
                ("reproduce", "--list"),
                ("reproduce", "table1", "--no-train", "--no-evaluate", "--out", out / "r"),
            ],
            "evaluate": [
                ("evaluate", MODEL, *MNIST, *ONE, "--out", odd + b".tsv"),
                ("evaluate", MODEL, *MNIST, *ONE, "--workers", "--out", out / "workers.tsv"),
                ("evaluate", MODEL, "--dataset", photos, *ONE, "--out", out / "photos.tsv"),
            ],
            "attack": [("attack", MODEL, *MNIST, *ONE, *PGD, "--out", out / "attack.tsv")],
            "quantize": [("quantize", self.models / MODEL, *MNIST, "--images", "1")],
            "train": [
                ("train", "gaussian", *MNIST, *training, *precision, "--out", out / "digits"),
                (
                    *("train", "gaussian", "--dataset", photos, "--arch", "lenet", *training),
                    *("--precision", "float32", "--out", out / "p"),
                ),
            ],
            "keys create": [("keys", "create", "ann", "--file", odd), ("keys", "create", "ann")],
            "keys list": [("keys", "list", "--file", odd), ("keys", "list")],
            "keys revoke": [("keys", "revoke", b"\xff")],
            "keys signing": [("keys", "signing", "--out", odd + b"-keys")],
        }


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own, which no other user may enter."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@pytest.fixture
def site(models: Path, folder: Path) -> Iterator[Site]:
    given = folder / "given"
    given.mkdir()
    own = folder / "models"
    shutil.copytree(models, own)
    Path(os.fsdecode(bytes(own) + NO_UTF8)).mkdir()  # of which `models` says that it is no model
    photos = Path(os.fsdecode(bytes(given) + NO_UTF8))
    for k in range(10):
        (photos / f"größe {k}").mkdir(parents=True)
        for i in range(2):
            shutil.copy(DATA / f"digit-{k}.png", photos / f"größe {k}" / f"{i}.png")
    shutil.copy(DATA / "digit-3.png", os.fsdecode(bytes(given) + NO_UTF8 + b".png"))
    card = own / MODEL / "card.json"
    card.write_text(card.read_text().replace('"3"', '"größe 3"'))
    (given / "log.tsv").write_text("idx label predict radius correct time\n0 7 7 0.953 1 0:00:00.3\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield Site(given, own, taken.getsockname()[1])


def names(command: Any = None, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the application, groups gone through."""
    command = command or typer.main.get_command(commands)
    below = getattr(command, "commands", None)
    if below is None:
        yield path.strip(), command
        return
    for name, one in below.items():
        yield from names(one, f"{path} {name}")


def made_up(name: str, command: Any) -> Call:
    """Something for each thing that a command must be given."""
    words: list[object] = name.split()
    for parameter in command.params:
        if parameter.required:
            words += [parameter.opts[0]] * (parameter.param_type_name == "option") + ["no such thing"]
    return tuple(words)


def all_calls(site: Site, name: str) -> list[Call]:
    """Those that an environment may change."""
    out = site.given.parent / f"out {name}"
    out.mkdir()
    known, found = site.calls(out, measured=name in MEASURED), dict(names())
    assert known.keys() <= found.keys()
    calls = [
        call
        for path, command in found.items()
        for call in [*known.get(path, [made_up(path, command)]), (*path.split(), "--help")]
    ]
    return [call for call in calls if name not in ONLY or not ONLY[name].isdisjoint(call)]


@dataclass(frozen=True)
class Round:
    """Calls one after the other under one environment."""

    name: str
    calls: list[Call]
    variables: Variables = field(default_factory=dict)
    without: tuple[str, ...] = ()
    user: int | None = None

    @property
    def document(self) -> dict[str, Any]:
        words = [[encoded(word) for word in call] for call in self.calls]
        return {"variables": self.variables, "without": self.without, "user": self.user, "calls": words}


def run(site: Site, rounds: list[Round], variables: Variables) -> None:
    """Runs all rounds in one process, which loads PyTorch once, and checks what became of each call."""
    asked, results = site.given.parent / "rounds.json", site.given.parent / "results.json"
    asked.write_text(json.dumps([one.document for one in rounds]))
    done = subprocess.run(
        [sys.executable, DRIVER, asked, results],
        env=variables, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for one, told in zip(rounds, json.loads(results.read_text()), strict=True):
        for call, (status, said, complaints) in zip(one.calls, told, strict=True):
            check(one.name, call, status, said, complaints)


def check(name: str, call: Call, status: int | None, said: str, complaints: str) -> None:
    where = f"{name}: {call}\n{complaints}"
    assert status in (0, 1, 2), where
    assert "Traceback" not in said + complaints, where
    assert "swordfish" not in said + complaints, where
    if status:
        mine = [line for line in complaints.splitlines() if line.startswith("smoothcert: ")]
        assert [complaints.splitlines()[-1]] == mine, where
        assert name not in WORKING or may_fail(call), where
    elif "--json" in call:
        json.loads(said)


def may_fail(call: Call) -> bool:
    """What fails everywhere: there is no service, worker, key, document or file, and the port is taken."""
    return (
        not {"--url", "--workers"}.isdisjoint(call)
        or call[0] in ("up", "quantize", "attest", "add")
        or (call[0] == "keys" and "--file" not in call and "--out" not in call)
    )


def encoded(word: object) -> str:
    return base64.b64encode(word if isinstance(word, bytes) else os.fsencode(str(word))).decode()


def usual(site: Site) -> Variables:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SMOOTHCERT_")}
    return kept | settings_of(site.models) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.timeout(900)  # over two hundred calls: as long as `run` waits for them
def test_no_command_ends_in_a_traceback_whatever_the_environment_says(site: Site) -> None:
    """At last as a user without an entry in the system's list, and so without a home."""
    out = site.given.parent
    rounds = [Round(name, all_calls(site, name), SOFT[name]) for name in SOFT]
    if os.geteuid() == 0:
        calls = [*all_calls(site, STRANGE), ("up", "--port", free_port())]
        lend(out)
        rounds.append(Round(STRANGE, calls, without=HOMES, user=STRANGER))
    run(site, rounds, usual(site))


@pytest.mark.timeout(900)
def test_no_command_ends_in_a_traceback_where_nothing_but_ascii_is_known(site: Site) -> None:
    plain = Round("plain", all_calls(site, "plain"))
    run(site, [plain], usual(site) | ASCII)


def lend(folder: Path) -> None:
    """Gives a folder to another user."""
    for one in [folder, *folder.rglob("*")]:
        os.chown(one, STRANGER, STRANGER)


def in_bash(command: str, site: Site) -> "subprocess.CompletedProcess[str]":
    everything = {"env": usual(site), "cwd": ROOT, "capture_output": True, "text": True, "timeout": 60}
    return subprocess.run(["bash", "-c", command], check=False, **everything)


def test_a_reader_that_goes_away_ends_a_command_without_a_word(site: Site) -> None:
    command = f"{Path(sys.executable).with_name('smoothcert')} models --json | true"
    done = in_bash(f"sleep 0.1; {command}; exit ${{PIPESTATUS[0]}}", site)
    assert done.returncode == 1
    assert "smoothcert:" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "< /dev/null >/dev/full"])
def test_streams_that_are_closed_or_full_end_in_no_traceback(site: Site, closed: str) -> None:
    command = f"{Path(sys.executable).with_name('smoothcert')} models {closed}"
    done = in_bash(command, site)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("smoothcert: No") == ("full" in closed)
    assert done.returncode == (1 if "full" in closed else 0)
