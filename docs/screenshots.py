"""Takes the pictures in docs/ of a running service's page: `python docs/screenshots.py http://127.0.0.1:8000`."""

import io
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, ViewportSize, sync_playwright

HERE = Path(__file__).parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]
COLOURS = 96  # a palette, for a third of the size
TIMEOUT = 120_000  # milliseconds until a job has ended

Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Picture:
    """What docs/NAME.png shows: a certified sample, in a window of this width, light or dark."""

    name: str
    sample: str
    width: int = 1280
    scheme: Scheme = "light"


PICTURES = (
    Picture("page-certificate", "digit-7"),
    Picture("page-noise", "noise"),
    Picture("page-phone", "hard-5", 360, "dark"),
)


def take(browser: Browser, url: str, picture: Picture) -> None:
    """Certifies the sample and keeps the whole page."""
    window: ViewportSize = {"width": picture.width, "height": 800}
    page = browser.new_context(viewport=window, color_scheme=picture.scheme).new_page()
    page.goto(url)
    page.wait_for_selector(".model")
    page.check(f'input[value="{picture.sample}"]', force=True)
    page.get_by_role("button", name="Certify").click()
    page.wait_for_selector('#answer[data-status="succeeded"]', timeout=TIMEOUT)
    page.wait_for_selector("#pictures figure:nth-child(2)")
    page.evaluate("window.scrollTo(0, 0)")
    shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shown.quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / f"{picture.name}.png", optimize=True)


def main() -> None:
    """Takes all of them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for picture in PICTURES:
            take(browser, sys.argv[1], picture)
        browser.close()


if __name__ == "__main__":
    main()
