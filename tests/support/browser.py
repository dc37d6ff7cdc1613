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

    def log_in_at_prefect(self, up):
        """Paste the login of the servers into Prefect's page, as a person does once."""
        with self.page(up.api.removesuffix("/api"), "prefect-login") as page:
            page.wait_for_url("**/login**")
            page.locator("input[type=password]").fill(":".join(up.http.auth))
            page.locator("button[type=submit]").click()
            page.wait_for_url(lambda url: "/login" not in url)


@contextmanager
def chromium(up):
    """A browser that knows the login of the servers of `g2rpo up`; at MLflow it answers the browser's own dialog."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "The browser tests need Chromium, none is there. apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        name, password = up.http.auth
        asked = {"username": name, "password": password, "origin": up.mlflow}
        opened = Browser(browser.new_context(viewport={"width": 1920, "height": 1200}, http_credentials=asked))
        opened.log_in_at_prefect(up)
        yield opened
        browser.close()
