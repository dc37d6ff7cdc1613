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
