"""Sources of weights: folders told apart by their contents, hub ids by their commit, by the hub's real client."""

import os
import shutil
import subprocess
import sys

import pytest
from model_hub import COMMIT, Hub, serving
from random_bases import random_model, tiny_latent_params

from stages.params.section import FileSource, Source
from stages.sources.base_model import base_model, policy_digest
from stages.sources.hub import files_digest, local_file, local_folder
from stages.sources.rewards import check_rewards, reward_digest

ASK = """
import sys
from stages.sources.hub import local_folder
from stages.params.section import Source
try:
    print(local_folder(Source(path=sys.argv[1], revision=sys.argv[2]), ["*.json", "unet/*"], key="policy"))
except ValueError as error:
    sys.exit(str(error))
"""
FILES = {
    "model_index.json": b"{}",
    "unet/weights.safetensors": b"w" * 1000,
    "unet/weights.fp16.safetensors": b"w" * 500,
    "huge.ckpt": b"h",
}


def asked(repository, tmp_path, url, revision=COMMIT, **environment):
    """What a process of its own finds, with a hub and a cache of its own."""
    own = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    words = [sys.executable, "-c", ASK, repository, revision]
    return subprocess.run(words, env=os.environ | own | environment, capture_output=True, text=True, check=False)


def test_only_the_files_that_are_needed_are_downloaded_once_and_found_again_without_the_hub(tmp_path):
    with serving(Hub("someone/model", FILES)) as hub:
        first = asked("someone/model", tmp_path, hub.url)
        assert first.returncode == 0, first.stderr
        assert sorted({*hub.asked}) == ["model_index.json", "unet/weights.safetensors"]
        assert not {"huge.ckpt", "unet/weights.fp16.safetensors"} & {*hub.asked}
    folder = first.stdout.strip()
    assert COMMIT in folder
    away = asked("someone/model", tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert away.stdout.strip() == folder, away.stderr


def test_a_gated_model_says_that_its_licence_must_be_accepted(tmp_path):
    with serving(Hub("someone/model", FILES, gated=True)) as hub:
        done = asked("someone/model", tmp_path, hub.url)
    assert done.returncode == 1
    assert "its licence be accepted" in done.stderr
    assert "HF_TOKEN" in done.stderr


def test_without_hub_and_copy_it_says_how_to_bring_one(tmp_path):
    done = asked("someone/model", tmp_path, "http://127.0.0.1:1", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert f"hf download someone/model --revision {COMMIT}" in done.stderr


def test_an_unknown_repository_is_told_with_its_key(tmp_path):
    with serving(Hub("someone/model", FILES)) as hub:
        done = asked("someone/typo", tmp_path, hub.url)
    assert done.returncode == 1
    assert "policy: the files of someone/typo" in done.stderr


@pytest.mark.parametrize(
    ("path", "revision", "said"),
    [
        ("someone/model", None, "policy.revision: the commit of a hub id is required"),
        ("/nowhere/at/all", None, "policy.path: a folder, or a hub id as owner/name, is required"),
        ("outputs", None, "policy.path: a folder, or a hub id as owner/name, is required"),
    ],
)
def test_what_is_neither_folder_nor_pinned_is_refused(path, revision, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said):
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


def test_the_policys_digest_covers_every_component_but_not_what_is_not_read(tmp_path):
    shutil.copytree(random_model("flux1"), tmp_path / "base")
    params = tiny_latent_params("flux1", f"policy.path={tmp_path / 'base'}")
    assert policy_digest(params) == policy_digest(tiny_latent_params("flux1"))
    (tmp_path / "base" / "README.md").write_text("words")
    assert policy_digest(params) == policy_digest(tiny_latent_params("flux1"))
    scheduler = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("1.15", "1.16"))
    assert policy_digest(params) != policy_digest(tiny_latent_params("flux1"))


def test_a_rewards_digest_is_of_its_files_and_settings_and_not_of_the_place(tmp_path):
    shutil.copytree(random_model("clip-hps"), tmp_path / "clip")
    weights = f"{{path: {tmp_path / 'clip'}, revision: null, file: HPS_v2.1_compressed.pt}}"
    source = f"{{path: {tmp_path / 'clip'}, revision: null}}"
    settings = f"kind: hps, backend: clip, weights: {weights}, clip: {source}, folder: null"
    moved = tiny_latent_params("flux1", f"rewards.hps={{{settings}}}")
    here = tiny_latent_params("flux1")
    assert reward_digest(moved, "hps") == reward_digest(here, "hps")
    coarser = tiny_latent_params("flux1", "rewards.jpeg={kind: jpeg, quality: 50}")
    assert reward_digest(coarser, "jpeg") != reward_digest(here, "jpeg")
    config = tmp_path / "clip" / "config.json"
    config.write_text(config.read_text() + "\n")
    assert reward_digest(moved, "hps") != reward_digest(here, "hps")


def test_what_judges_otherwise_has_another_digest():
    clip = random_model("clip-hps")
    weights = f"weights: {{path: {clip}, revision: null, file: HPS_v2.1_compressed.pt}}"
    package = tiny_latent_params(
        "flux1", f"rewards.hps={{kind: hps, backend: hpsv2, {weights}, clip: null, folder: {clip}}}"
    )
    remote = "kind: remote, url: 'http://127.0.0.1:1', batch: 1, retries: 0, timeout: 1.0, token_env: null"
    judges = [
        tiny_latent_params("flux1", f"rewards.hps={{{remote}, model: {model}, revision: {revision}}}")
        for model, revision in (("a", "r1"), ("b", "r1"), ("a", "r2"))
    ]
    digests = [reward_digest(params, "hps") for params in (tiny_latent_params("flux1"), package, *judges)]
    assert len(set(digests)) == len(digests)


def test_a_tokenizer_is_asked_for_without_the_weights_beside_it(tmp_path):
    shutil.copytree(random_model("clip-hps"), tmp_path / "clip")
    weights = f"weights: {{path: {random_model('clip-hps')}, revision: null, file: HPS_v2.1_compressed.pt}}"
    clip = f"clip: {{path: {tmp_path / 'clip'}, revision: null}}"
    params = tiny_latent_params("flux1", f"rewards.hps={{kind: hps, backend: clip, {weights}, {clip}, folder: null}}")
    (tmp_path / "clip" / "model.safetensors").unlink()
    assert reward_digest(params, "hps") == reward_digest(tiny_latent_params("flux1"), "hps")


@pytest.mark.parametrize(
    "half", ["backend: hpsv2, clip: null, folder: null", "backend: clip, clip: null, folder: null"]
)
def test_half_a_backend_is_refused_with_the_parameters(half):
    with pytest.raises(ValueError, match="hps with the backend clip requires clip and no folder"):
        tiny_latent_params("flux1", f"rewards.r={{kind: hps, weights: {{path: x, revision: null, file: y}}, {half}}}")


def test_rewards_that_cannot_be_had_are_refused_before_anything_is_computed():
    params = tiny_latent_params("flux1")
    with pytest.raises(ValueError, match=r"of the family flux1 is one of hps, jpeg, got beauty"):
        check_rewards(params, ["beauty"])
    with pytest.raises(ValueError, match=r"one of hps, jpeg, got judge_a"):
        check_rewards(params, ["hps", "judge_a"])
    lost = tiny_latent_params("flux1", "rewards.clip={kind: clip_score, weights: {path: /nowhere, revision: null}}")
    with pytest.raises(ValueError, match=r"rewards.clip.weights.path: a folder, or a hub id"):
        check_rewards(lost, ["clip"])
    named = tiny_latent_params("flux1", "rewards.judge_a={kind: jpeg, quality: 5}")
    with pytest.raises(ValueError, match="names other than the shapes world's"):
        check_rewards(named, ["jpeg"])


def test_a_base_of_another_family_is_refused():
    with pytest.raises(ValueError, match="a FluxPipeline is required, got a StableDiffusion3Pipeline"):
        base_model(tiny_latent_params("flux1", f"policy.path={random_model('sd3.5')}"))
