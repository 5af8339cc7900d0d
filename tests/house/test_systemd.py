"""systemd accepts the units of deploy/systemd."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze on PATH")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    environment = Path(sys.prefix)
    for unit in UNITS.iterdir():
        here = unit.read_text().replace("/srv/smoothcert/.venv", str(environment))
        here = here.replace("/srv/smoothcert", str(ROOT)).replace("User=smoothcert", "User=root")
        (tmp_path / unit.name.replace("@.", "@0.")).write_text(here)
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "smoothcert" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
