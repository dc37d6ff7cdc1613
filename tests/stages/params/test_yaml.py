"""Files that are read as mappings, and along the files that they extend."""

import pytest

from stages.params.yaml import read_extending, read_mapping, with_floats


def read(path):
    return read_mapping(path, "A plan", "--plan FILE")


def test_a_mapping_is_read_as_yaml_has_it(tmp_path):
    (tmp_path / "p.yaml").write_text("a: {b: [1, null, yes]}  # a comment\nc: 1e-4\nd: 1.0e-4\n")
    assert read(tmp_path / "p.yaml") == {"a": {"b": [1, None, True]}, "c": "1e-4", "d": 1e-4}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", r"p\.yaml must hold keys and values, got list. Start from a shipped file"),
        ("", r"p\.yaml must hold keys and values, got NoneType"),
        ("run: [", r"p\.yaml must be YAML; it could not be read: .*line"),
        ("run: !!python/object:os.system {}", r"p\.yaml must be YAML; it could not be read: could not determine a"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path, content, message):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        read(tmp_path / "p.yaml")


def test_a_missing_file_is_refused_by_what_names_it(tmp_path):
    with pytest.raises(ValueError, match=r"A plan is required, got .*, which is a folder. Correct --plan"):
        read_mapping(tmp_path, "A plan", "--plan FILE")
    with pytest.raises(ValueError, match=r"A plan is required, got .*p\.yaml, which does not exist. Correct --plan"):
        read(tmp_path / "p.yaml")


def test_files_are_read_along_what_they_extend_the_lowest_last(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "low.yaml").write_text("run: {seed: 1}")
    (tmp_path / "inner/middle.yaml").write_text("extends: ../low.yaml\nrun: {seed: 2}")
    (tmp_path / "high.yaml").write_text("extends: inner/middle.yaml\nrun: {seed: 3}")
    files = read_extending(tmp_path / "high.yaml", "A file", "--params FILE")
    assert [tree for _, tree in files] == [{"run": {"seed": seed}} for seed in (3, 2, 1)]
    assert [path.name for path, _ in files] == ["high.yaml", "middle.yaml", "low.yaml"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: p.yaml", r"extends in .*p\.yaml: files that form no circle are required, got one at .*p\.yaml"),
        ("extends: 3", r"extends: a file name is required, got 3 in .*p\.yaml. Name one, as ../params.yaml"),
        ("extends: lost.yaml", r"got .*lost\.yaml, which does not exist. Correct extends in .*p\.yaml"),
    ],
)
def test_files_that_extend_nothing_readable_are_refused(tmp_path, content, message):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_extending(tmp_path / "p.yaml", "A file", "--params FILE")


def test_scientific_numbers_without_a_point_are_floats_and_other_text_stays():
    tree = {"a": ["2e-6", "-3E+2", "1.5e3"], "b": "e5", "c": "v1e4", "d": 7}
    assert with_floats(tree) == {"a": [2e-6, -300.0, 1500.0], "b": "e5", "c": "v1e4", "d": 7}
