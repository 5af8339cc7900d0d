"""The notebook and the how-to of the Python interface run as they stand."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOK = json.loads((DOCS / "certify.ipynb").read_text())
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "how-to-certify-my-model.md").read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHCERT_CACHE", str(tmp_path / "cache"))


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(DOCS)
    # Fewer votes than the reader draws: the engines are measured all the same.
    cells = [
        "".join(cell["source"]).replace("n=10_000", "n=1_000")
        for cell in NOTEBOOK["cells"]
        if cell["cell_type"] == "code"
    ]
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in cells:
        exec(cell, names)
    assert "depends on the other images" in capsys.readouterr().out
    assert names["certificate"].predicted_class == 7
    assert names["table"].acr > 0.5
    assert all(not cell.get("outputs") for cell in NOTEBOOK["cells"])


def test_the_how_to_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, smooth, client, check = BLOCKS
    assert "client.submit" in client
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "grey").save("photo.png")
    # The page's figures take minutes on a slow machine; an engine is named, as measuring takes as long.
    quick = module.replace("n=10_000", "n=20").replace(
        "sigma=0.25,", 'sigma=0.25, engine="cpu:eager/channels-last/folded/1-threads:float32:8",'
    )
    for block in (quick, smooth, check):
        exec(block, {})
