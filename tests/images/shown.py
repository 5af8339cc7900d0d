"""What Chromium shows of picture files, pixel by pixel. As a command it renews tests/data/shown.npz."""

import base64
import shutil
from pathlib import Path

import numpy as np

from tests.images.corpus import corpus

KEPT = Path(__file__).parents[1] / "data" / "shown.npz"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRAW = """async (files) => {
  const shown = {};
  for (const [name, text] of Object.entries(files)) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
    try { await image.decode(); } catch { continue; }
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    const { data, width, height } = context.getImageData(0, 0, canvas.width, canvas.height);
    shown[name] = [height, width, btoa(Array.from(data, (c) => String.fromCharCode(c)).join(""))];
  }
  return shown;
}"""


def shown(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    """RGB on white, uint8 of shape (H, W, 3); what it doesn't show is missing."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        drawn = page.evaluate(DRAW, {name: base64.b64encode(data).decode() for name, data in files.items()})
        browser.close()
    return {
        name: np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[:, :, :3]
        for name, (height, width, text) in drawn.items()
    }


if __name__ == "__main__":
    np.savez_compressed(KEPT, **shown(corpus()))
