from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CODE = [
    path for folder in ("g2rpo", "stages", "flows", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
]


def test_no_file_is_longer_than_300_lines():
    assert len(CODE) > 50
    assert [str(path) for path in CODE if len(path.read_text().splitlines()) > 300] == []


@pytest.mark.parametrize(
    "key", [f"{s}.{k}" for s, v in yaml.safe_load((ROOT / "params.yaml").read_text()).items() for k in v]
)
def test_every_parameter_is_explained_where_it_is_set(key):
    section, name = key.split(".")
    lines = (ROOT / "params.yaml").read_text().split(f"\n{section}:")[1].splitlines()
    (line,) = [line for line in lines if line.strip().startswith(f"{name}:")][:1]
    assert "#" in line, f"params.yaml says nothing of {key}"
