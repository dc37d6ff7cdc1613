"""The environment of every command: UTF-8, a loopback without proxies, a home and a user name."""

import codecs
import getpass
import io
import locale
import os
import sys
from pathlib import Path

from stages.disk.root import store_root
from stages.params.addresses import without_login

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The names of this machine, at which a proxy of the network knows another one."""

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
"""Variables that name a proxy; upper case counts too."""

PROXY_REQUIRED = "a proxy of http, https, socks5 or socks5h is required"
"""What is required of each."""


def settle_environment() -> None:
    """Prepare this process and its children for the accounts, locales and networks of other people's machines."""
    _use_utf8()
    keep_loopback_direct()
    _have_home_and_name()


def keep_loopback_direct() -> None:
    """Except the loopback from the proxies that the environment names, beside what the user has excepted.

    httpx, requests and urllib obey the variables in this process, and children inherit them.
    """
    if not proxies():
        return
    for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
        excepted = [entry.strip() for entry in (os.environ.get(name) or os.environ.get(other) or "").split(",")]
        if "*" not in excepted:
            os.environ[name] = ",".join(dict.fromkeys([*filter(None, excepted), *LOOPBACK]))


def proxies() -> dict[str, str]:
    """Return the proxies that the environment names, by variable."""
    names = (each for name in PROXIES for each in (name, name.upper()))
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def require_usable_proxies() -> None:
    """Refuse a proxy that httpx, by which Prefect's client asks, cannot use: it then asks no server, not even here.

    Raises:
        ValueError: If the environment names one.
    """
    for name, url in proxies().items():
        if not usable_proxy(url):
            raise ValueError(f"{name}: {PROXY_REQUIRED}, got {without_login(url)}. Correct it, or unset it.")


def usable_proxy(url: str) -> bool:
    """Return whether httpx can use a proxy."""
    import httpx

    try:
        httpx.Proxy(url if "://" in url else f"http://{url}")
    except (ValueError, httpx.InvalidURL):
        return False
    return True


def own_home() -> Path:
    """Return the folder in the store that stands in for the home of an account without one."""
    return store_root() / "home"


def _use_utf8() -> None:
    """Under a locale of another encoding, start again in Python's UTF-8 mode, the default from Python 3.15 on.

    File names, pipes and the files that libraries open are then UTF-8 too. What cannot be encoded, such as a file name
    in another encoding, is printed with escapes.
    """
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _have_home_and_name() -> None:
    """Give an account without home or name, as in containers and on clusters, those that libraries require."""
    home = os.path.expanduser("~")  # "~" itself if there is none; pathlib would raise
    os.environ["HOME"] = home if os.path.isdir(home) else str(own_home())
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"
