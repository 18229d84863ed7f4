"""A real browser for the page's test: Chromium as the system has it, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

expect.set_options(timeout=60_000)  # a busy machine is slow
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str | None:
    """Where a Chromium is; None when there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """The browser, without windows. Root has to do without its sandbox."""
    with sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield launched
        launched.close()


class Visit:
    """One reader's tab, and what went wrong in it: scripts that ran, errors that the console shows."""

    def __init__(self, browser: Browser, url: str, *, width: int = 1280, height: int = 800) -> None:
        self.url = url
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height}, timezone_id="Asia/Kolkata", accept_downloads=True
        )
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def _console(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.wrong.append(f"{said.text} ({said.location['url']})")

    def _dialog(self, dialog: object) -> None:
        self.wrong.append(f"a dialog: {dialog}")
        dialog.dismiss()  # type: ignore[attr-defined]

    def _request(self, request: object) -> None:
        address = str(request.url)  # type: ignore[attr-defined]
        if not address.startswith((self.url, "blob:")):
            self.wrong.append(f"asked {address}")

    def log_in(self, key: str, place: str = "") -> Page:
        """Open a place of the page with that key."""
        self.page.goto(f"{self.url}/{place}")
        self.page.fill("#key", key)
        self.page.click("#enter")
        self.page.locator("header.top").wait_for()
        return self.page

    def go(self, place: str) -> None:
        """Go to another place; the tab's key stays."""
        self.page.evaluate("place => { location.hash = place }", place)
        self.page.locator(".loading").wait_for(state="detached")

    def small(self) -> list[str]:
        """What a finger has to hit and is less than 40 pixels high."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll('button, select, input, a.button')]
                .filter((one) => one.checkVisibility() && getComputedStyle(one).pointerEvents !== 'none')
                .map((one) => [one.getBoundingClientRect().height, one])
                .filter(([height]) => height > 0 && height < 40)
                .map(([height, one]) => `${one.outerHTML.slice(0, 80)}: ${height}`)"""
        )
        return found

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        return int(self.page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth"))
