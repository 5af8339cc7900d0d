import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="the extra `cpu` is not installed")

from torch import nn

from smoothcert.engines.config import EngineConfig
from smoothcert.engines.hardware import has_bfloat16
from smoothcert.engines.openvino_cpu import OpenVinoVoter
from smoothcert.errors import InternalError


def test_openvino_sends_no_telemetry_and_writes_no_files_to_the_home_folder(tmp_path: Path) -> None:
    code = "import smoothcert.engines.openvino_cpu, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "None", done.stderr
    assert list(tmp_path.rglob("*ga_cid*")) == []
    assert not (tmp_path / "intel").exists()


@pytest.mark.parametrize("precision", ["float16", "tf32"])
def test_a_precision_that_would_not_be_run_is_refused(small_network: nn.Module, precision: str) -> None:
    config = EngineConfig("cpu", "openvino", precision, 8, threads=1)  # type: ignore[arg-type]
    with pytest.raises(InternalError, match=precision):
        OpenVinoVoter(small_network, (3, 12, 12), 6, config)


@pytest.mark.skipif(has_bfloat16(), reason="this processor does multiply bfloat16")
def test_bfloat16_is_refused_where_the_processor_lacks_it(small_network: nn.Module) -> None:
    config = EngineConfig("cpu", "openvino", "bfloat16", 8, threads=1)
    with pytest.raises(InternalError, match="bfloat16"):
        OpenVinoVoter(small_network, (3, 12, 12), 6, config)
