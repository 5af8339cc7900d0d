"""The service in a thread and a browser window on its page."""

import threading
import time
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PATIENCE = 10_000  # milliseconds


class Server(uvicorn.Server):
    """The service on a port of its own, in a thread."""

    def __enter__(self) -> "Server":
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        while not self.started:
            assert self.thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.should_exit = True
        self.thread.join()


class Visit:
    """One browser window on the page. What it loads from elsewhere, and what goes wrong in it, is noted."""

    def __init__(self, browser: "Browser", site: str, **options: object) -> None:
        self.page = browser.new_context(base_url=site, **options).new_page()
        self.page.set_default_timeout(PATIENCE)
        self.strangers: list[str] = []
        self.page.on(
            "request",
            lambda r: None if r.url.startswith((site, "blob:", "data:")) else self.strangers.append(r.url),
        )
        self.page.on("pageerror", lambda error: self.strangers.append(str(error)))
        self.page.goto(site)
        self.page.wait_for_selector(".model")

    def certify(self) -> str:
        """Clicks the button; the new job's id."""
        before = self.page.evaluate("location.hash")
        self.page.get_by_role("button", name="Certify").click()
        self.page.wait_for_function("before => location.hash && location.hash !== before", arg=before)
        return self.page.evaluate("location.hash.slice(1)")

    def until(self, status: str) -> None:
        self.page.wait_for_selector(f'#answer[data-status="{status}"]')

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def says(self, selector: str, text: str) -> None:
        from playwright.sync_api import expect

        expect(self.page.locator(selector)).to_contain_text(text, timeout=PATIENCE)

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
