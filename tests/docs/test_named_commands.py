"""What README and pages tell a reader to type is there, and the README stays short."""

import re

import pytest
import typer
import yaml
from tiny import ROOT

from flows.cli.app import app

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"(?<![\w/-])g2rpo ([a-z][^`\n#|;)]*)")
AUTOMATIONS = {one["name"] for one in yaml.safe_load((ROOT / "automations.yaml").read_text())["automations"]}
"""Their names begin as commands do."""


def asked_for(text):
    """The command that a reader types, and the options it is given."""
    command, words = typer.main.get_command(app), text.split()
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    return command, [word.split("=")[0] for word in words if word.startswith("--")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_exists(page):
    for text in COMMAND.findall(page.read_text().replace("\\\n", " ")):
        if any(f"g2rpo {text}".startswith(name) for name in AUTOMATIONS):
            continue
        command, options = asked_for(text)
        assert not hasattr(command, "commands"), f"{page.name}: g2rpo {text}"
        known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
        assert set(options) <= known, f"{page.name}: g2rpo {text}"


def test_the_readme_is_read_in_minutes():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1400
    assert max(map(len, text.splitlines())) <= 120
