"""The account, the locale and the proxies of this process, as the environment sets them."""

import codecs
import locale
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from flows.common.environment import PROXY_REQUIRED, own_home, proxies, usable_proxy
from flows.doctor.check import Check
from stages.params.addresses import without_login


def environment() -> Iterator[Check]:
    """Check what `settle_environment` has had to make up for."""
    yield from _home()
    yield from _locale()
    yield from _proxies()


def _home() -> Iterator[Check]:
    home = Path.home()
    if home == own_home():
        remedy = "Set HOME to a folder that you own, so that other programs find caches, logins and settings too."
        yield Check("home", "warn", f"this account has no home folder: {home} stands in for it", remedy)
    elif not os.access(home, os.W_OK | os.X_OK):
        remedy = "Set HOME to a folder that you own."
        yield Check("home", "warn", f"{home} cannot be written to: libraries keep no caches there", remedy)
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        message = f"user {os.getuid()} has no entry in passwd: MLflow and Prefect show {os.environ.get('USER')!r}"
        yield Check("user", "warn", message, "Set USER to a name, or add an entry.")


def _locale() -> Iterator[Check]:
    encoding = locale.getencoding()
    if codecs.lookup(encoding).name != "utf-8":
        message = f"the locale's encoding is {encoding}: g2rpo uses UTF-8, which the terminal may show otherwise"
        yield Check("locale", "warn", message, "Set LC_ALL to a UTF-8 locale, such as C.UTF-8.")


def _proxies() -> Iterator[Check]:
    for name, url in proxies().items():
        shown = f"{name} is {without_login(url)}"
        if usable_proxy(url):
            yield Check("proxy", "ok", f"{shown}; the loopback is asked directly")
        else:
            yield Check("proxy", "fault", f"{shown}: {PROXY_REQUIRED}", "Correct it, or unset it.")
