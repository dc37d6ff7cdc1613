"""The documentation builds without a warning, and its reference is the program's own."""

import functools
import html
import os
import re
import subprocess
import sys

import pytest
import typer
import yaml
from tiny import ROOT

from flows.cli.app import app
from stages.disk import tables


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))


def keys(tree, before=""):
    for key, value in tree.items():
        yield f"{before}{key}"
        if isinstance(value, dict) and key != "reward_weights":
            yield from keys(value, f"{before}{key}.")


def value_of(tree, key):
    return functools.reduce(dict.__getitem__, key.split("."), tree)


def test_every_page_of_the_menu_is_there(site):
    def pages(nav):
        for entry in nav:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else pages(value)

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    assert [page for page in pages(nav) if not (site / page).with_suffix(".html").is_file()] == []


def test_every_key_of_params_yaml_is_in_the_reference_with_a_word_on_it(site):
    said = (site / "reference/parameters.html").read_text()
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in tree.items():
        assert f'id="{section}"' in said
        for key in keys(values) if section != "rewards" else ():
            row = re.search(rf"<td><code>{re.escape(key)}</code></td>\s*<td>.*?</td>\s*<td>(.*?)</td>", said)
            assert row, f"{section}.{key}"
            assert row[1] or (section != "guards" and isinstance(value_of(values, key), dict)), f"{section}.{key}"


def test_every_command_and_every_table_is_in_the_reference(site):
    commands = text_of(site / "reference/commands.html")
    for name in typer.main.get_command(app).commands:
        assert f"g2rpo {name}" in commands
    stored = text_of(site / "reference/tables.html")
    for table in vars(tables).values():
        if isinstance(table, tables.Table):
            assert table.name in stored
            assert all(column in stored for column in table.columns)


def test_the_laws_of_the_method_are_in_the_reference(site):
    python = text_of(site / "reference/python.html")
    for name in ("g2rpo.sde", "g2rpo.advantages", "arXiv:2505.05470", "Raises"):
        assert name in python


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*src="(https?://[^"]+)"', page.read_text())
        fetched += re.findall(
            r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(https?://[^"]+)"', page.read_text()
        )
        assert fetched == [], page
