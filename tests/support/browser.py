"""The Chromium of the system, without a head."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright
from tiny import ROOT

SCREENSHOTS = ROOT / "build" / "screenshots"
"""Left to be looked at."""

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Browser:
    """Opens pages, and leaves a screenshot of each."""

    def __init__(self, context):
        self._context = context

    @contextmanager
    def page(self, url, name):
        page = self._context.new_page()
        page.set_default_timeout(300_000)
        page.goto(url)
        try:
            yield page
        finally:
            SCREENSHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SCREENSHOTS / f"{name}.png")
            page.close()


@contextmanager
def chromium():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "The browser tests need Chromium, none is there. apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield Browser(browser.new_context(viewport={"width": 1920, "height": 1200}))
        browser.close()
