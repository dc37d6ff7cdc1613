"""Sources of weights: folders by their contents, hub ids by their commit, with the hub's real client."""

import pytest
from huggingface_hub import constants
from model_hub import COMMIT, Hub, serving

from stages.disk.files import value_digest, write_sealed
from stages.params.section import FileSource, Source
from stages.sources import hub
from stages.sources.hub import files_digest, local_file, local_folder, weights_digest

FILES = {
    "model_index.json": b"{}",
    "unet/weights.safetensors": b"w" * 1000,
    "unet/weights.fp16.safetensors": b"w" * 500,
    "huge.ckpt": b"h",
}
MODEL = Source(path="someone/model", revision=COMMIT)
NEEDED = ["*.json", "unet/*.safetensors", "unet/*.json"]


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Turns the hub's client to a hub, with a cache of the test's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)

    def turn(url, *, offline=False):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        hub._snapshot.cache_clear()

    yield turn
    hub._snapshot.cache_clear()


def test_only_the_files_that_are_needed_are_downloaded_once_and_found_again_without_the_hub(client):
    with serving(Hub("someone/model", FILES)) as server:
        client(server.url)
        folder = local_folder(MODEL, NEEDED, key="policy")
        assert sorted({*server.asked}) == ["model_index.json", "unet/weights.safetensors"]
        assert (folder / "unet/weights.safetensors").read_bytes() == b"w" * 1000
        assert local_folder(MODEL, NEEDED, key="policy") == folder
        assert len(server.asked) == 2
    assert COMMIT in str(folder)
    client(server.url, offline=True)
    assert local_folder(MODEL, NEEDED, key="policy") == folder


def test_one_file_of_a_hubs_model_is_downloaded_without_the_others(client):
    with serving(Hub("someone/model", FILES)) as server:
        client(server.url)
        source = FileSource(path="someone/model", revision=COMMIT, file="huge.ckpt")
        assert local_file(source, key="rewards.hps.weights").read_bytes() == b"h"
        assert server.asked == ["huge.ckpt"]


def test_a_gated_model_says_that_its_licence_must_be_accepted(client):
    with serving(Hub("someone/model", FILES, gated=True)) as server:
        client(server.url)
        with pytest.raises(ValueError, match=r"you accept its licence. Accept it .* or HF_TOKEN"):
            local_folder(MODEL, NEEDED, key="policy")


def test_without_hub_and_copy_it_says_how_to_bring_one_by_folders(client):
    client("http://127.0.0.1:1", offline=True)
    with pytest.raises(ValueError, match=r"got no answer from the hub and no copy in its cache") as refused:
        local_folder(MODEL, NEEDED, key="policy")
    command = f"hf download someone/model --revision {COMMIT} --include '*.json' --include 'unet/*' --local-dir DIR`"
    assert command in str(refused.value)


def test_an_unknown_repository_is_reported_with_its_key(client):
    with serving(Hub("someone/model", FILES)) as server:
        client(server.url)
        with pytest.raises(ValueError, match=r"policy: the files of someone/typo at .* got an error of the hub"):
            local_folder(Source(path="someone/typo", revision=COMMIT), NEEDED, key="policy")


def test_a_folder_and_a_file_of_it_are_taken_where_they_lie(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"a")
    assert local_folder(Source(path=str(tmp_path), revision=None), ["*"], key="policy") == tmp_path
    assert local_file(FileSource(path=str(tmp_path), revision=None, file="a.pt"), key="k") == tmp_path / "a.pt"


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert weights_digest(tmp_path / "abc") == digest
    assert files_digest(tmp_path, ["*"], key="k") == value_digest({"abc": digest})


def test_a_folder_without_any_of_the_files_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"policy.path: a folder with \*.json, \*.bin is required, got .* without any"):
        files_digest(tmp_path, ["*.json", "*.bin"], key="policy.path")


@pytest.mark.parametrize(
    ("path", "revision", "message"),
    [
        ("someone/model", None, "policy.revision: the commit of a hub id is required"),
        ("/nowhere/at/all", None, "policy.path: a folder, or a hub id as owner/name, is required"),
        ("outputs", None, "policy.path: a folder, or a hub id as owner/name, is required"),
    ],
)
def test_what_is_neither_folder_nor_pinned_is_refused(path, revision, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        local_folder(Source(path=path, revision=revision), ["*"], key="policy")


def test_a_folder_with_a_revision_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"policy.revision: null is required for a folder"):
        local_folder(Source(path=str(tmp_path), revision=COMMIT), ["*"], key="policy")


def test_a_branch_is_no_revision():
    with pytest.raises(ValueError, match="revision"):
        Source(path="someone/model", revision="main")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"rewards.hps.weights.file: a file of .* is required, got lost.pt"):
        local_file(FileSource(path=str(tmp_path), revision=None, file="lost.pt"), key="rewards.hps.weights")


def test_the_digest_is_of_contents_and_not_of_the_place(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "a.json").write_text("1")
    first, second = (files_digest(tmp_path / place, ["*.json"], key="k") for place in ("one", "two"))
    assert first == second
    (tmp_path / "two" / "a.json").write_text("23")
    assert files_digest(tmp_path / "two", ["*.json"], key="k") != first


def test_a_large_file_is_read_once_for_each_state_of_it(tmp_path, monkeypatch, store):
    monkeypatch.setattr("stages.sources.hub._LARGE", 10)
    read = []
    monkeypatch.setattr("stages.sources.hub.file_digest", lambda path: read.append(path) or "d" * 64)
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(b"x" * 20)
    for _ in range(2):
        files_digest(tmp_path, ["*.bin"], key="k")
    assert len(read) == 2
    assert len(list((store / "digests").iterdir())) == 2
    (tmp_path / "a.bin").write_bytes(b"y" * 21)
    files_digest(tmp_path, ["*.bin"], key="k")
    assert len(read) == 3


def other(path):
    """Put the digest that was kept of another file there."""
    write_sealed(path, {"file": "0" * 64, "digest": "0" * 64})


@pytest.mark.parametrize("damage", [lambda path: path.write_text("f" * 64), lambda path: path.write_text(""), other])
def test_a_kept_digest_that_is_not_of_this_file_is_not_believed(tmp_path, monkeypatch, store, damage):
    monkeypatch.setattr("stages.sources.hub._LARGE", 1)
    (tmp_path / "a.bin").write_bytes(b"abc")
    first = weights_digest(tmp_path / "a.bin")
    hub._digest.cache_clear()
    (kept,) = (store / "digests").iterdir()
    damage(kept)
    assert weights_digest(tmp_path / "a.bin") == first
    hub._digest.cache_clear()


@pytest.mark.parametrize("file", ["../id_rsa", "/etc/passwd", "a/../../id_rsa"])
def test_a_file_outside_the_folder_is_refused(tmp_path, file):
    with pytest.raises(ValueError, match=r"rewards.hps.weights.file: the name of a file within .* is required, got"):
        local_file(FileSource(path=str(tmp_path), revision=None, file=file), key="rewards.hps.weights")


def test_a_link_out_of_a_folder_is_refused_with_its_key(tmp_path):
    (tmp_path / "id_rsa").write_text("PRIVATE KEY")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.pt").symlink_to(tmp_path / "id_rsa")
    source = FileSource(path=str(tmp_path / "model"), revision=None, file="a.pt")
    with pytest.raises(ValueError, match=r"k: Files of a model must lie in its own folder .* which links to .*id_rsa"):
        local_file(source, key="k")
    with pytest.raises(ValueError, match="must lie in its own folder"):
        files_digest(tmp_path / "model", ["*.pt"], key="k")
