import platform

import pytest

from flows.doctor.check import Check
from flows.doctor.packages import packages


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Puts a package, with what it requires, before the ones of the same name that are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, version, *requirements):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
        (folder / "METADATA").write_text("\n".join(lines) + "\n")

    return install


def test_packages_that_are_known_not_to_work_are_named_with_what_becomes_of_them(installed):
    installed("sqlalchemy", "2.1.9")
    installed("fastapi", "0.165.0")
    found = {check.name: check for check in packages()}
    sqlalchemy, fastapi = found["sqlalchemy"], found["fastapi"]
    assert (sqlalchemy.state, fastapi.state) == ("fault", "fault")
    assert sqlalchemy.message.startswith("sqlalchemy<2.1 is required, got 2.1.9: under 2.1 Prefect's scheduler fails")
    assert "fastapi<0.151 is required, got 0.165.0" in fastapi.message
    assert "every Prefect flow and server dies" in fastapi.message
    assert sqlalchemy.remedy.startswith("pip install 'sqlalchemy<2.1', or `make demo`")
    assert "packages" not in found


def test_what_is_not_installed_is_told_and_what_an_extra_or_another_python_asks_for_is_not(installed):
    extra, other = "not-there-either; extra == 'ray'", "nor-this-one; python_version < '3'"
    installed("g2rpo", "9.0", "a-package-that-is-not-there>=2", extra, other, "pytest")
    python, lacking = packages()
    assert python == Check("python", "ok", platform.python_version())
    assert (lacking.name, lacking.state) == ("a-package-that-is-not-there", "fault")
    assert lacking.message == "a-package-that-is-not-there>=2 is required, got none"


def test_where_all_is_as_required_one_line_says_so(installed):
    installed("g2rpo", "9.0", "pytest>=2")
    assert list(packages())[1:] == [Check("packages", "ok", "all as pyproject.toml requires")]


def test_a_python_that_is_too_old_is_a_fault(monkeypatch):
    monkeypatch.setattr("sys.version_info", (3, 10, 14))
    assert next(packages()).remedy == "Use Python 3.11 or later."
