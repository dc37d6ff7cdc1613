import ast
from pathlib import Path

import pytest
import yaml

from g2rpo.policies.families import FAMILIES

ROOT = Path(__file__).parents[1]
CODE = [
    path for folder in ("g2rpo", "stages", "flows", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
]


def test_no_file_is_longer_than_300_lines():
    assert len(CODE) > 50
    assert [str(path) for path in CODE if len(path.read_text().splitlines()) > 300] == []


def asks_for_text(call):
    """Whether a call reads or writes a file of text in an encoding that the locale chooses."""
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name == "open":
        mode = call.args[not method :][:1]
        return not mode or (isinstance(mode[0], ast.Constant) and "b" not in str(mode[0].value))
    return method and name in ("read_text", "write_text")


def test_text_is_utf_8_whatever_the_locale():
    """Rule PLW1514 of ruff, which is a preview and does not see most paths."""
    ours = [path for path in CODE if path.relative_to(ROOT).parts[0] in ("g2rpo", "stages", "flows")]
    texts = {path: path.read_text(encoding="utf-8") for path in ours}
    calls = [
        (path.relative_to(ROOT).as_posix(), node.lineno)
        for path, text in texts.items()
        if "read_text(" in text or "write_text(" in text or "open(" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and asks_for_text(node)
    ]
    assert calls == []


NAMES_A_FAMILY = {"stages/params/policy.py": {"shapes", "flux1", "sd3"}, "flows/cli/app.py": {"shapes"}}
"""The records of the section `policy`, by which one is chosen, and `g2rpo shapes build`."""


def test_no_family_is_named_outside_its_own_room():
    asking = [path for path in CODE if path.relative_to(ROOT).parts[0] in ("stages", "flows")]
    method = list((ROOT / "g2rpo").glob("*.py"))
    assert len(asking) > 100
    assert len(method) > 10
    for path in (*asking, *method):
        place = path.relative_to(ROOT).as_posix()
        texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert texts & set(FAMILIES) <= NAMES_A_FAMILY.get(place, set()), place


@pytest.mark.parametrize(
    "key", [f"{s}.{k}" for s, v in yaml.safe_load((ROOT / "params.yaml").read_text()).items() for k in v]
)
def test_every_parameter_is_explained_where_it_is_set(key):
    section, name = key.split(".")
    lines = (ROOT / "params.yaml").read_text().split(f"\n{section}:")[1].splitlines()
    (line,) = [line for line in lines if line.strip().startswith(f"{name}:")][:1]
    assert "#" in line, f"params.yaml says nothing of {key}"


def _opens_text_in_the_locales_encoding(call):
    """Whether a call opens, reads or writes text, or a pipe of text, without naming its encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    owner = getattr(getattr(call.func, "value", None), "id", "")
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    opens = name in ("open", "fdopen") and f"{owner}.{name}" not in ("Image.open", "os.open", "opener.open")
    binary = any("b" in mode for mode in modes)
    whole = name in ("read_text", "write_text") and isinstance(call.func, ast.Attribute)
    return "encoding" not in keywords and ((opens and not binary) or whole or keywords.get("text") == "True")


def test_every_text_file_and_pipe_names_its_encoding():
    code = [path for path in CODE if path.relative_to(ROOT).parts[0] in ("g2rpo", "stages", "flows")]
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in code
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _opens_text_in_the_locales_encoding(node)
    ]
    assert calls == []
