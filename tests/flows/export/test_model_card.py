import re

import pytest
import yaml
from damage import bring_to_the_end
from exports import train_tiny
from methods import METHODS
from PIL import Image
from rounds import new_run, run_round
from tiny import tiny_params

from flows.export.model_card import Exported, Result, write_card
from stages.params.record import for_report
from stages.params.rewards import RemoteParams
from stages.readings.metrics import evaluation_metrics, round_metrics
from stages.store.run import find_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = "https://huggingface.co"
LICENCES = {
    "black-forest-labs/FLUX.1-dev": {
        "license": "other",
        "license_name": "flux-1-dev-non-commercial-license",
        "license_link": f"{HUB}/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
    },
    "black-forest-labs/FLUX.1-schnell": {"license": "apache-2.0"},
    "somebody/flux-finetune": {},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("cards")
        environment.setenv("G2RPO_HOME", str(folder / "store"))
        yield folder


@pytest.fixture(scope="module")
def flux(home):
    run, params, _ = train_tiny("presets/tiny-flux.yaml", "flux1", home / "flux1", "rollout.shift=3.0")
    run.begin_session({"git_commit": COMMIT, "git_dirty": "true", "torch": "2.99.0"})
    return Exported(run, params, 1, as_lora=True)


@pytest.fixture(scope="module")
def shapes(home):
    """A run of two rounds, of which only the base and the first policy have been judged on the test captions."""
    run, params, resources = new_run(tiny_params("run.rounds=1"))
    bring_to_the_end(run, params, resources)
    return Exported(run, params, 1, as_lora=False)


def card(exported, folder):
    write_card(folder, exported)
    return (folder / "README.md").read_text()


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


def changed(exported, **sections):
    """The same run with other values in the sections of its parameters."""
    by = exported.params
    new = {name: getattr(by, name).model_copy(update=values) for name, values in sections.items()}
    return Exported(exported.run, by.model_copy(update=new), exported.rounds, exported.as_lora)


@pytest.mark.parametrize("hub_id", LICENCES)
def test_the_header_of_a_lora_names_its_base_and_the_licence_that_is_known_of_it(flux, hub_id, tmp_path):
    text = card(changed(flux, policy={"path": hub_id, "revision": COMMIT}), tmp_path)
    assert header(text) == {
        "base_model": hub_id,
        "base_model_relation": "adapter",
        **LICENCES[hub_id],
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "flux", "lora", "g2rpo"],
    }
    assert f'from_pretrained("{hub_id}", revision="{COMMIT}", dtype=torch.float32)' in text
    known = LICENCES[hub_id].get("license_name", LICENCES[hub_id].get("license"))
    assert (f"is published under {known}" if known else "The licence of the base model applies") in text
    assert "no legal advice" in text


def test_stable_diffusion_is_known_by_the_beginning_of_its_name(flux):
    for name in ("stable-diffusion-3-medium-diffusers", "stable-diffusion-3.5-large"):
        by = changed(flux, policy={"family": "sd3", "path": f"stabilityai/{name}", "revision": COMMIT})
        assert by.header["license_name"] == "stabilityai-ai-community"
        assert by.header["tags"][1] == "stable-diffusion-3"


def test_a_folder_is_no_name_on_the_hub_and_its_licence_is_asked_for(flux, tmp_path):
    text = card(flux, tmp_path)
    assert not {"base_model", "license"} & set(header(text))
    assert "look it up where the base model came from" in text


def test_a_card_says_where_the_policy_comes_from(flux, tmp_path):
    text, values = card(flux, tmp_path), flux.run.fingerprint.values
    told = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE))
    assert told["run"] == flux.run.key
    assert told["g2rpo's commit"] == f"{COMMIT} with uncommitted changes"
    assert told["torch in training"] == "2.99.0"
    assert told["SHA-256 of the base's files"] == values["origins.policy"]
    assert told["SHA-256 of the prompts"] == values["origins.prompts/train"]
    assert told["prompts"].endswith("presets/prompts`, split train: 24 texts")
    assert told["rollout.shift"] == "`3.0`"
    assert "(rank 4, alpha 8: the file says both)" in text
    assert "must be told a strength of 2." in text


@pytest.mark.parametrize(
    ("method", "called", "tells"),
    [
        ("g2rpo", ("G²RPO", "2510.01982"), {"rollout.steps_a_round": "`null`", "rollout.sde": '`"flow"`'}),
        ("mix_grpo", ("MixGRPO", "2507.21802"), {"rollout.window_size": "`2`", "rollout.initial_noise": '`"shared"`'}),
        ("flow_grpo", ("Flow-GRPO", "2505.05470"), {"rollout.initial_noise": '`"own"`'}),
        ("dance_grpo", ("DanceGRPO", "2505.07818"), {"rollout.sde": '`"dance"`', "update.train_frac": "`0.6`"}),
    ],
)
def test_a_card_names_the_method_and_its_own_parameters(flux, tmp_path, method, called, tells):
    name, arxiv = called
    chosen = tiny_params(*METHODS[method])
    by = flux.params.model_copy(update={"rollout": chosen.rollout, "update": chosen.update})
    text = card(Exported(flux.run, by, 1, as_lora=True), tmp_path)
    assert f"# flux1 aligned by {name}\n" in text
    assert f"by 1 round of {name}\n([arXiv:{arxiv}](https://arxiv.org/abs/{arxiv}))." in text
    told = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE))
    assert tells.items() <= told.items()
    assert "rollout.micro_batch" not in told
    assert ("rollout.window_size" in told) == (method == "mix_grpo")


def test_the_table_is_the_final_evaluation_and_tells_trained_rewards_from_the_others(shapes, tmp_path):
    text = card(shapes, tmp_path)
    base, aligned = (evaluation_metrics(shapes.run.evaluation_folder(number, "test")) for number in (0, 1))
    for name, mark in (("judge_a", " (trained on)"), ("judge_b", ""), ("rule_strict", "")):
        change = aligned[name] - base[name]
        assert f"| {name}{mark} | {base[name]:.4g} | {aligned[name]:.4g} | {change:+.3g} |" in text
    assert "Means over 4 prompts of the split test with 1 noise" in text
    assert "neither trained on nor looked at" in text
    assert "| judge_b | shapes world | none: judged only |" in text
    tuning = [evaluation_metrics(shapes.run.evaluation_folder(number, "tuning"))["judge_a"] for number in (0, 1)]
    assert [float(value) for value in re.findall(r"^\| [01] \| (\S+) \|", text, re.MULTILINE)] == pytest.approx(
        tuning, rel=1e-3
    )
    for name in ("curves.png", "before_after.png"):
        assert f"]({name})" in text
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 400


def test_without_a_final_evaluation_the_table_is_that_of_the_training(shapes):
    result = Result.of(changed(shapes, report={"num_noises": 2}))
    assert result.by.evaluate.split == "tuning"
    assert "looked at during the training" in result.apartness
    assert Result.of(changed(shapes, report={"num_noises": 2}, evaluate={"num_prompts": 3})) is None


def test_prompts_that_were_trained_on_are_not_called_held_out(shapes):
    trained = changed(shapes, prompts={"split": "test"}).params
    assert "among those that it was trained on" in Result(for_report(trained), None, None, final=True).apartness


def test_a_run_that_was_never_judged_has_a_card_without_a_table(home, tmp_path):
    run, params, resources = new_run(tiny_params("run.seed=3"))
    run_round(run, params, resources)
    run.write_metrics(0, round_metrics(run, 0))
    run.finish_round(0)
    text = card(Exported(find_run(run.key), params, 1, as_lora=False), tmp_path)
    assert "Base against aligned" not in text
    assert "](curves.png)" in text
    assert not (tmp_path / "before_after.png").exists()


def test_where_a_reward_is_served_stays_private(flux, tmp_path):
    remote = RemoteParams(
        kind="remote",
        url="http://10.0.0.7:8000",
        model="unified-reward",
        revision="v2",
        batch=4,
        retries=1,
        timeout=9.0,
        token_env="TOKEN",
    )
    by = flux.params.model_copy(update={"rewards": {"jpeg": remote}})
    text = card(Exported(flux.run, by, 1, as_lora=True), tmp_path)
    assert "| jpeg | remote | 1 | model unified-reward, revision v2 |" in text
    assert "10.0.0.7" not in text
    assert "TOKEN" not in text
