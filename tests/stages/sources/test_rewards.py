"""The rewards that params.yaml names: refusals, digests of settings and contents, loading."""

import shutil

import pytest
import torch
from random_bases import random_model, tiny_latent_params
from reward_servers import described, scripted
from tiny import tiny_params

from g2rpo.policies.families import FAMILIES
from stages.sources.rewards import check_names, check_rewards, load_reward, reward_digest

REMOTE = "kind: remote, url: '{url}', batch: 4, retries: 0, timeout: 5.0, model: a-judge, revision: r1"

OF_WORLD = tuple(FAMILIES["shapes"].world.rewards)


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


def test_a_reward_that_scores_otherwise_has_another_digest():
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


def test_a_tokenizer_is_loaded_without_the_weights_beside_it(tmp_path):
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
    with pytest.raises(ValueError, match="names other than those of the shapes world"):
        check_rewards(named, ["jpeg"])


def remote(url, **changes):
    settings = {"token_env": "null"} | changes
    more = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return tiny_params(f"rewards.vlm={{{REMOTE.format(url=url)}, {more}}}")


def test_the_shapes_worlds_rewards_score_its_pictures_alone():
    check_names(tiny_params(), OF_WORLD)
    with pytest.raises(ValueError, match=r"one of judge_a, judge_b, rule_soft, rule_strict, clean_pixels, got beauty"):
        check_names(tiny_params(), ["hps", "judge_a", "beauty"])


def test_a_remote_reward_must_answer_as_the_model_that_params_name():
    with scripted(described(), described(revision="r2")) as server:
        check_rewards(remote(server.url), ["vlm", "judge_a"])
        assert [request.path for request in server.asked] == ["/v1/reward"]
        with pytest.raises(Exception, match="r2"):
            check_rewards(remote(server.url), ["vlm"])


def test_a_folder_of_hpsv2_must_be_made_first(tmp_path):
    weights = f"weights: {{path: {random_model('clip-hps')}, revision: null, file: HPS_v2.1_compressed.pt}}"
    params = tiny_params(f"rewards.hps={{kind: hps, backend: hpsv2, {weights}, clip: null, folder: {tmp_path}}}")
    with pytest.raises(ValueError, match=r"rewards.hps.folder: .* Run `g2rpo setup hps --folder .*` first"):
        check_rewards(params, ["hps"])
    (tmp_path / "hpsv2").mkdir()
    check_rewards(params, ["hps"])


def test_the_shapes_worlds_rewards_differ_by_name_and_weights():
    assert len({reward_digest(tiny_params(), name) for name in OF_WORLD}) == len(OF_WORLD)
    assert reward_digest(tiny_params("run.seed=9"), "judge_a") == reward_digest(tiny_params(), "judge_a")


def test_a_reward_is_loaded_by_its_name_in_params():
    white = torch.ones(2, 3, 16, 16)
    judge = load_reward(tiny_params(), "judge_a", None)
    assert judge.score(white, ["a red circle", "a blue square"]).shape == (2,)
    params = tiny_params("rewards.small={kind: jpeg, quality: 95}")
    small = load_reward(params, "small", None)
    assert small.name == "small"
    noise = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert (small.score(noise, ["", ""]) < small.score(white, ["", ""])).all()


def test_a_reward_is_loaded_from_the_files_that_params_name():
    hps = load_reward(tiny_latent_params("flux1"), "hps", torch.device("cpu"))
    assert hps.name == "hps"
    assert hps.score(torch.ones(1, 3, 32, 32), ["the cat"]).shape == (1,)


def test_a_remote_reward_sends_the_token_that_the_environment_holds(monkeypatch):
    monkeypatch.setenv("G2RPO_TOKEN_VLM", "abc")
    with scripted(described()) as server:
        params = remote(server.url, token_env="G2RPO_TOKEN_VLM")
        check_rewards(params, ["vlm"])
        check_rewards(remote(server.url), ["vlm"])
        headers_of = [{key.lower(): value for key, value in request.headers.items()} for request in server.asked]
        assert [headers.get("authorization") for headers in headers_of] == ["Bearer abc", None]
        monkeypatch.setenv("G2RPO_TOKEN_VLM", "")
        with pytest.raises(
            ValueError, match=r"rewards.vlm.token_env: the environment variable G2RPO_TOKEN_VLM must hold"
        ):
            load_reward(params, "vlm", None)
