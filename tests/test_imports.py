"""The rules of imports that pyproject.toml declares: each turns red when it is broken, and nothing goes around them."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("g2rpo", "stages", "flows")
FILES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
OPENS = {"open", "torch.save", "torch.load", "np.save", "np.load"}
BY_STRING = {"import_module", "__import__", "exec", "eval"}
BROKEN = {
    "Imports point one way: flows, then stages, then g2rpo": ("stages/score.py", "import flows.common.rows"),
    "No files and no folders import in a circle": ("g2rpo/shapes/scenes.py", "import g2rpo.shapes.captions"),
    "The floors of flows": ("flows/common/rows.py", "import flows.guards.finding"),
    "The floors of stages": ("stages/score.py", "import stages.rollout"),
    "The floors of g2rpo": ("g2rpo/types.py", "import g2rpo.sde"),
    "The method knows no files and no network": ("g2rpo/sde.py", "import pathlib"),
    "g2rpo knows no tables, no orchestration and no tracking": ("g2rpo/rewards/jpeg.py", "import pyarrow"),
    "prefect is known in its rooms alone": ("flows/training/loop.py", "import prefect"),
    "mlflow is known in its rooms alone": ("stages/score.py", "import mlflow"),
    "ray is known in its rooms alone": ("flows/training/loop.py", "import ray"),
    "typer is known in its rooms alone": ("flows/common/endings.py", "import typer"),
}
"""Of each contract a file and an import that breaks it."""


def lint_imports(folder):
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copy(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return tmp_path


@pytest.mark.parametrize("contract", BROKEN)
def test_a_contract_turns_red_when_a_lazy_import_breaks_it(copy, contract):
    file, line = BROKEN[contract]
    with (copy / file).open("a") as source:
        source.write(f"\n\ndef _lazily():\n    {line}\n")
    done = lint_imports(copy)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


@pytest.mark.parametrize("package", ["flows", "stages", "g2rpo"])
def test_a_file_on_no_floor_is_refused(copy, package):
    (copy / package / "elsewhere.py").write_text("import json\n")
    done = lint_imports(copy)
    assert done.returncode == 1
    assert f"The floors of {package} BROKEN" in done.stdout


def test_every_contract_is_broken_once():
    names = [
        line.split('"')[1]
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line[:6] == "name =" and "contracts" not in line
    ]
    assert set(names) - {"g2rpo"} == BROKEN.keys()


def test_no_folder_of_files_escapes_the_contracts():
    """The linter sees packages alone: a folder without `__init__.py` is none."""
    folders = {path.parent for path in FILES}
    assert len(folders) > 20
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_method_is_every_file_on_the_floor_of_g2rpo_but_the_quiet_one():
    contract = (ROOT / "pyproject.toml").read_text().split('name = "The method knows no files and no network"')[1]
    listed = re.findall(r'"g2rpo\.(\w+)"', contract.split("forbidden_modules")[0])
    method = {path.stem for path in (ROOT / "g2rpo").glob("*.py")} - {"__init__", "quiet"}
    assert sorted(listed) == sorted(method)
    for name in method:
        tree = ast.parse((ROOT / f"g2rpo/{name}.py").read_text())
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not called & OPENS, name


def test_a_name_with_an_underscore_stays_in_its_file():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in PACKAGES:
                assert [one.name for one in node.names if one.name.startswith("_")] == [], path


def test_declared_stages_alone_import_by_string():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _called(node.func) in BY_STRING
    }
    assert found == {"stages/contract/declared_stages.py"}


def test_a_stage_exports_run_alone():
    stages = sorted(path for path in (ROOT / "stages").glob("*.py") if path.name != "__init__.py")
    assert len(stages) == 7
    for path in stages:
        public = [node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")]
        assert [name for name in public if not name.startswith("_")] == ["run"], path.name


def _called(function):
    """The name of a function; of methods `import_module` alone is a danger."""
    if isinstance(function, ast.Attribute):
        return function.attr if function.attr == "import_module" else None
    return getattr(function, "id", None)
