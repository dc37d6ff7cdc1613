import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import requests
from reward_servers import reply, scripted
from tiny import ROOT

from flows.common.environment import (
    keep_loopback_direct,
    own_home,
    proxies,
    require_usable_proxies,
    settle_environment,
)

DEAD = "http://127.0.0.1:9"
NAMES = [each for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for each in (name, name.upper())]


@pytest.fixture
def network(monkeypatch):
    """Sets the variables of a network, and no others."""

    def set_to(**variables):
        for name in NAMES:
            monkeypatch.setenv(name, "")  # so that the end of the test takes away what it sets
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    set_to()
    return set_to


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_no_client_asks_the_loopback_through_a_proxy(network, name):
    network(**{name: DEAD})
    keep_loopback_direct()
    with scripted(reply(b"direct")) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            assert httpx.get(url).text == "direct"
            assert requests.get(url, timeout=60).text == "direct"
        child = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read())"
        done = subprocess.run([sys.executable, "-c", child, server.url], capture_output=True, text=True, check=True)
        assert done.stdout == "b'direct'\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "corp, localhost"}, "corp,localhost,127.0.0.1,::1"),
        ({"no_proxy": "corp", "NO_PROXY": ""}, "corp,127.0.0.1,localhost,::1"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_what_the_user_has_excepted_stays_so(network, before, after):
    network(https_proxy=DEAD, **before)
    keep_loopback_direct()
    keep_loopback_direct()
    assert os.environ["no_proxy"] == after
    assert os.environ.get("NO_PROXY", "*") == after


def test_without_a_proxy_nothing_is_excepted(network):
    network(http_proxy="")
    keep_loopback_direct()
    assert "no_proxy" not in os.environ
    assert proxies() == {}


def test_each_proxy_is_found_by_its_variable(network):
    network(http_proxy=DEAD, ALL_PROXY="socks5://gate", no_proxy="corp")
    assert proxies() == {"http_proxy": DEAD, "ALL_PROXY": "socks5://gate"}


@pytest.mark.parametrize("proxy", ["gate:80", "HTTP://gate", "https://gate:1", "socks5://gate:1080", "socks5h://gate"])
def test_a_proxy_that_httpx_knows_is_accepted(network, proxy):
    network(ALL_PROXY=proxy)
    require_usable_proxies()
    httpx.Client().close()


@pytest.mark.parametrize("proxy", ["socks://me:hush@gate:1080", "socks4://me:hush@gate", "http://me:hush@gate:port"])
def test_a_proxy_that_httpx_does_not_know_is_refused(network, proxy):
    network(all_proxy=proxy)
    with pytest.raises(ValueError, match="^all_proxy: a proxy of http, https, socks5 or socks5h is req") as refusal:
        require_usable_proxies()
    assert "hush" not in str(refusal.value)
    with pytest.raises((ValueError, httpx.InvalidURL)):
        httpx.Client()


def test_an_account_without_home_gets_one_in_the_store(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    settle_environment()
    assert Path.home() == own_home() == tmp_path / "home"
    monkeypatch.setenv("HOME", str(tmp_path))
    settle_environment()
    assert Path.home() == tmp_path


TELLS = """
import locale, sys
from flows.common.environment import settle_environment
settle_environment()
print(sys.argv[1:], sys.flags.utf8_mode, "\\u6c34", "\\udcff", open(__file__).encoding)
"""


@pytest.mark.parametrize(("name", "mode"), [("C.UTF-8", 0), ("en_US.ISO-8859-1", 1)])
def test_under_a_locale_of_another_encoding_a_process_starts_again_in_utf8(tmp_path, name, mode):
    script = tmp_path / "tells.py"
    script.write_text(TELLS)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"LC_ALL": name, "PYTHONPATH": str(ROOT)}
    if mode:  # few machines have such a locale; made here, it needs no rights
        making = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(tmp_path / name)]
        subprocess.run(making, check=True, capture_output=True)
        environment["LOCPATH"] = str(tmp_path)
    command = [sys.executable, str(script), "a b", "é"]
    done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.lower() == f"['a b', 'é'] {mode} 水 \\udcff utf-8\n"


def test_an_account_without_a_name_is_called_by_its_number(monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    settle_environment()
    assert os.environ["USER"] == f"uid-{os.getuid()}"
