"""Writes the reference of the site from what the program itself reads: parameters, commands, tables, docstrings.

Run by mkdocs (gen-files); nothing of it lies in the repository.
"""

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import click
import mkdocs_gen_files
import typer
from pydantic import BaseModel

from flows.cli.app import app
from stages.disk import tables
from stages.params.record import Params
from stages.params.yaml import dumped_line, read_mapping

ROOT = Path(__file__).parent.parent

MODULES = {
    "The method": (
        *("schedule", "strides", "windows", "sde", "tree", "sampler", "velocity", "advantages", "losses", "optimise"),
        *("trainer", "learning_rate", "seeding"),
    ),
    "What can be added": ("policies.protocol", "rewards.protocol"),
}


def write(name: str, text: str) -> None:
    """Write a page of the reference."""
    with mkdocs_gen_files.open(f"reference/{name}.md", "w") as page:
        page.write(text)


def said_of(model: type[BaseModel]) -> dict[str, str]:
    """Return what stands under each field of a record, its own and those it inherits."""
    found = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one.__module__.startswith("stages"):
            body = ast.parse(dedent(inspect.getsource(one))).body[0].body
            for field, after in pairwise(body):
                if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                    found[field.target.id] = inspect.cleandoc(ast.literal_eval(after.value))
    return found


def records_of(annotation: Any) -> list[type[BaseModel]]:
    """Return the records that a field may hold: several where a key of it says which."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [record for part in get_args(annotation) for record in records_of(part)]


def parameters() -> str:
    """Return the page of every parameter, with what params.yaml has for it."""
    values = read_mapping(ROOT / "params.yaml", "The shipped file", "the file")
    lines = ["# Parameters", ""]
    lines += ["Every key of `params.yaml`, and those of other methods and families. `--set section.key=value`"]
    lines += ["overrides one; what is unknown, of the wrong type or out of range starts nothing.", ""]
    for section, field in Params.model_fields.items():
        lines += [f"## {section}", ""]
        for record in records_of(field.annotation):
            lines += [inspect.cleandoc(record.__doc__ or ""), ""]
            lines += ["| key | `params.yaml` | |", "|---|---|---|"]
            lines += rows_of(record, values.get(section) or {}, "")
            lines += [""]
    return "\n".join(lines)


def rows_of(record: type[BaseModel], values: Any, before: str) -> Iterator[str]:
    """Yield a row for each key of a record, and of the records within it."""
    said = said_of(record)
    for name, field in record.model_fields.items():
        value = values.get(name, "") if isinstance(values, dict) else ""
        inner = records_of(field.annotation)
        shown = "" if value == "" or (inner and isinstance(value, dict)) else f"`{yaml_of(value)}`"
        text = said.get(name) or (inspect.getdoc(inner[0]) if len(inner) == 1 else "") or ""
        yield f"| `{before}{name}` | {shown} | {' '.join(text.split()).replace('|', chr(92) + '|')} |"
        for one in inner:
            yield from rows_of(one, value, f"{before}{name}.")


def yaml_of(value: Any) -> str:
    """Return a value as it stands in YAML, on one line."""
    return dumped_line(value)


def commands() -> str:
    """Return the page of every command."""
    lines = ["# Commands", "", "`g2rpo COMMAND --help` says the same.", ""]
    for words, command in walk(typer.main.get_command(app), ()):
        lines += [f"## g2rpo {' '.join(words)}", "", inspect.cleandoc(command.help or ""), ""]
        options = [one for one in command.params if one.name != "help"]
        if options:
            lines += ["| | default | |", "|---|---|---|", *map(row_of, options), ""]
    return "\n".join(lines)


def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command with the words that call it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
    for name, one in (inner or {}).items():
        yield from walk(one, (*words, name))


def row_of(option: click.Parameter) -> str:
    """Return the row of an option or an argument."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    default = "required" if option.required else ("" if option.default in (None, ()) else f"`{option.default}`")
    said = " ".join((getattr(option, "help", None) or "").split())
    return f"| {names} | {default} | {said} |".replace("{", "&#123;")


def stored_tables() -> str:
    """Return the page of every table of a run."""
    said = said_under(tables)
    lines = [
        "# Tables",
        "",
        "Each is a folder of Parquet shards `part-00000.parquet` with one manifest for its stage.",
        "",
    ]
    lines += ["Tensors are fixed-shape lists: flat arrays in pandas, with their shape in pyarrow.", ""]
    for name, table in vars(tables).items():
        if isinstance(table, tables.Table):
            lines += [f"## {table.name}", "", said.get(name, ""), "", "| column | type | |", "|---|---|---|"]
            for column, kind in table.columns.items():
                lines += [f"| `{column}` | {kind} | {'key' if column in table.key else ''} |"]
            parents = [f"`{parent}` by {', '.join(columns)}" for parent, columns in table.parents.items()]
            lines += ["", f"Found in {'; '.join(parents)}." if parents else "", ""]
    return "\n".join(lines)


def said_under(module: Any) -> dict[str, str]:
    """Return what stands under each constant of a module."""
    body = ast.parse(inspect.getsource(module)).body
    return {
        one.targets[0].id: inspect.cleandoc(ast.literal_eval(after.value))
        for one, after in pairwise(body)
        if isinstance(one, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
    }


def python() -> str:
    """Return the page of the modules, filled in from their docstrings."""
    lines = [
        "# Python",
        "",
        "The method as a library: tensors in, named records out. Shapes stand in the annotations.",
        "",
    ]
    for title, names in MODULES.items():
        lines += [f"## {title}", "", *(f"::: g2rpo.{name}\n" for name in names)]
    return "\n".join(lines)


for page, make in {"parameters": parameters, "commands": commands, "tables": stored_tables, "python": python}.items():
    write(page, make())
