import os

from stages.integrity.set_aside import drop_aside, set_aside


def test_a_file_that_is_set_aside_is_not_found_by_its_name_and_another_name_keeps_its_bytes(tmp_path):
    path = tmp_path / "part-00000.parquet"
    path.write_text("damaged")
    os.link(path, tmp_path / "cached")
    set_aside(path)
    assert not path.exists()
    path.write_text("whole again")
    assert (tmp_path / "cached").read_text() == "damaged"
    set_aside(tmp_path / "gone")  # as nothing is there


def test_what_was_set_aside_is_removed_but_for_what_is_kept(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).write_text(name)
        set_aside(tmp_path / name)
    drop_aside(tmp_path, keep=[tmp_path / "one"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]
    drop_aside(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_named_as_if_set_aside_stays(tmp_path):
    (tmp_path / ".x.damaged").mkdir()
    drop_aside(tmp_path)
    assert (tmp_path / ".x.damaged").is_dir()
