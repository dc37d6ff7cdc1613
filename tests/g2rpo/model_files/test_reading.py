"""Links, JSON and configurations of a model's folder that somebody else made."""

import json
import os

import pytest

from g2rpo.model_files.reading import known_files, read_bytes, read_config, read_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "id_rsa"
    path.write_text("PRIVATE KEY")
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"width": 8}')
    return path


def test_the_files_that_match_are_returned_in_order_without_folders(folder):
    (folder / "a.json").mkdir()
    (folder / "0.json").write_text("{}")
    assert [path.name for path in known_files(folder, ["*.json", "0*"])] == ["0.json", "config.json"]


def test_a_link_out_of_the_folder_is_refused(folder, secret):
    (folder / "vocab.json").symlink_to(secret)
    with pytest.raises(ValueError, match=r"must lie in its own folder .*vocab.json, which links to .*id_rsa. Copy"):
        known_files(folder, ["*.json"])


def test_a_linked_folder_of_a_component_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    (folder / "vae").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="must lie in its own folder"):
        known_files(folder, ["vae/*.json"])


def test_a_link_within_the_folder_and_a_link_to_the_folder_are_followed(folder, tmp_path):
    (folder / "same.json").symlink_to("config.json")
    (tmp_path / "named").symlink_to(folder)
    assert read_json(tmp_path / "named" / "same.json", tmp_path / "named") == {"width": 8}


def test_a_link_to_itself_and_a_broken_link_are_refused(folder):
    (folder / "loop.json").symlink_to("loop.json")
    with pytest.raises(ValueError, match="must"):
        known_files(folder, ["*.json"])
    (folder / "loop.json").unlink()
    (folder / "lost.json").symlink_to("nothing.json")
    with pytest.raises(ValueError, match="must be regular files, got .*lost.json"):
        known_files(folder, ["*.json"])


def test_links_of_the_hubs_cache_lead_to_the_blobs_of_their_own_repository(tmp_path, secret):
    for owner in ("models--one--model", "models--other--model"):
        (tmp_path / owner / "blobs").mkdir(parents=True)
        (tmp_path / owner / "snapshots" / COMMIT).mkdir(parents=True)
        (tmp_path / owner / "blobs" / "ab12").write_text("{}")
    snapshot = tmp_path / "models--one--model" / "snapshots" / COMMIT
    (snapshot / "config.json").symlink_to("../../blobs/ab12")
    assert [path.name for path in known_files(snapshot, ["*.json"])] == ["config.json"]
    for elsewhere in ("../../../models--other--model/blobs/ab12", secret):
        (snapshot / "config.json").unlink()
        (snapshot / "config.json").symlink_to(elsewhere)
        with pytest.raises(ValueError, match="must lie in its own folder"):
            known_files(snapshot, ["*.json"])


def test_a_folder_named_blobs_is_no_way_out(tmp_path, secret):
    home = tmp_path / "models--one--model"
    (home / "snapshots" / COMMIT).mkdir(parents=True)
    (home / "blobs").symlink_to(tmp_path)
    (home / "snapshots" / COMMIT / "config.json").symlink_to("../../blobs/id_rsa")
    with pytest.raises(ValueError, match="must lie in its own folder"):
        known_files(home / "snapshots" / COMMIT, ["*.json"])


def test_a_pipe_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "tokenizer.json")
    with pytest.raises(ValueError, match="must be regular files, got .*tokenizer.json"):
        read_json(folder / "tokenizer.json", folder)


def test_a_file_that_is_too_large_is_refused_unread(folder):
    with (folder / "tokenizer.json").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no space
    with pytest.raises(ValueError, match=r"At most 67108864 bytes are required of .*, got 1099511627776"):
        read_bytes(folder / "tokenizer.json", folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "JSON is required in .*x.json"),
        (b"", "JSON is required in .*x.json"),
        (b"\xff\xfe\x00", "JSON is required in .*x.json"),
        (b'{"a": NaN}', "NaN, which is no number of JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "JSON is required in .*x.json"),
        (b"[1]", "A JSON object is required in .*x.json, got list"),
        (b'"text"', "A JSON object is required in .*x.json, got str"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "at most 50 levels is required"),
        (b"[" * 200_000, "at most 50 levels is required"),
    ],
)
def test_what_is_no_flat_object_of_json_is_refused(folder, content, message):
    (folder / "x.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(folder / "x.json", folder)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"num_layers": 1000000000}', "num_layers: 0 to 1000"),
        ('{"text_config": {"num_hidden_layers": -1}}', "num_hidden_layers: 0 to 1000"),
        (json.dumps({"down_block_types": ["DownEncoderBlock2D"] * 1001}), "down_block_types: 0 to 1000"),
        ('{"num_labels": 100000000}', "num_labels: 0 to 30000"),
        ('{"vision_config": {"num_labels": 30001}}', "num_labels: 0 to 30000"),
    ],
)
def test_a_network_of_too_many_layers_or_labels_is_refused_before_it_is_built(folder, text, told):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=f"{told} is required in .*config.json"):
        read_config(folder / "config.json", folder)


def test_a_configuration_is_returned_as_it_is(folder):
    (folder / "config.json").write_text('{"num_layers": 57, "model_max_length": 1000000000000000019884624838656}')
    assert read_config(folder / "config.json", folder)["num_layers"] == 57
