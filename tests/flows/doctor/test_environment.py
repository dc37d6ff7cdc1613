import os
from pathlib import Path

import pytest

from flows.common.environment import own_home
from flows.doctor.check import Check
from flows.doctor.environment import environment


@pytest.fixture(autouse=True)
def plain(tmp_path, monkeypatch):
    """An account with a home and a name, a locale of UTF-8, and no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("locale.getencoding", lambda: "UTF-8")
    monkeypatch.setattr("pwd.getpwuid", lambda number: number)


def test_an_environment_in_order_needs_no_word():
    assert list(environment()) == []


def test_a_stand_in_for_a_home_is_told(monkeypatch, store):
    monkeypatch.setenv("HOME", str(own_home()))
    (found,) = environment()
    assert (found.name, found.state) == ("home", "warn")
    assert found.message == f"this account has no home folder: {store / 'home'} stands in for it"
    assert found.remedy.startswith("Set HOME to a folder that you own")


def test_a_home_that_cannot_be_written_to_is_told(monkeypatch):
    monkeypatch.setenv("HOME", "/proc/self")
    monkeypatch.setattr("os.access", lambda path, mode: path != Path("/proc/self"))
    (found,) = environment()
    assert (found.name, found.state) == ("home", "warn")
    assert found.message == "/proc/self cannot be written to: libraries keep no caches there"


def test_a_user_without_an_entry_is_told_with_the_name_that_is_shown(monkeypatch):
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setenv("USER", "uid-7")
    (found,) = environment()
    assert (found.name, found.state) == ("user", "warn")
    assert found.message == f"user {os.getuid()} has no entry in passwd: MLflow and Prefect show 'uid-7'"


def test_a_locale_of_another_encoding_is_told(monkeypatch):
    monkeypatch.setattr("locale.getencoding", lambda: "ISO-8859-1")
    (found,) = environment()
    assert (found.name, found.state) == ("locale", "warn")
    assert found.message.startswith("the locale's encoding is ISO-8859-1")
    assert "LC_ALL" in found.remedy


def test_proxies_are_told_without_their_passwords(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:secret@gate:3128")
    told = "https_proxy is http://***@gate:3128; the loopback is asked directly"
    assert list(environment()) == [Check("proxy", "ok", told)]


@pytest.mark.parametrize(("proxy", "state"), [("socks5://gate:1080", "ok"), ("socks://gate:1080", "fault")])
def test_a_proxy_that_prefect_cannot_use_is_a_fault(monkeypatch, proxy, state):
    monkeypatch.setenv("ALL_PROXY", proxy)
    (found,) = environment()
    assert (found.name, found.state) == ("proxy", state)
    assert found.message.startswith(f"ALL_PROXY is {proxy}")
