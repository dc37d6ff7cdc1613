import re
import shutil
from dataclasses import replace

import pytest
import yaml
from exports import BY_JPEG
from handmade import begun, finish, forge, judge, without
from markdown_it import MarkdownIt
from methods import METHODS
from PIL import Image
from random_bases import PRESETS, random_model
from tiny import tiny_params

from flows.export.model_card import Exported, Result, write_card
from stages.params.file import load_params
from stages.params.record import for_report
from stages.params.rewards import RemoteParams
from stages.store.run import Run, open_run

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


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("G2RPO_HOME", str(tmp_path_factory.mktemp("cards")))
        yield


@pytest.fixture(scope="module")
def flux():
    """A LoRA of a run of one round, which was never judged."""
    more = [*BY_JPEG, f"policy.path={random_model('flux1')}", "rollout.shift=3.0"]
    params = load_params(PRESETS["flux1"], more)
    run = open_run(params, device="cpu")
    run.begin_session({"git_commit": COMMIT, "git_dirty": "true", "torch": "2.99.0"})
    finish(run, {"reward/jpeg/mean": -1.5, "reward/jpeg/step_0/spread": 0.1, "reward/jpeg/step_1/spread": 0.2})
    return Exported(run, params, 1, as_lora=True)


@pytest.fixture(scope="module")
def shapes():
    """A run of two rounds that is better after the first; that policy and the base are judged on the test captions."""
    run, params = begun("run.rounds=2", "evaluate.choose_by=judge_a")
    finish(run)
    finish(run)
    for number, value in ((0, 0.5), (1, 0.75), (2, 0.625)):
        judge(run, params, number, judge_a=[value] * 4)
    judge(run, for_report(params), 0, "test", judge_a=[0.25, 0.75] * 2, judge_b=[0.5] * 4, rule_strict=[0, 0, 1, 1])
    judge(run, for_report(params), 1, "test", judge_a=[0.5, 1.0] * 2, judge_b=[0.25] * 4, rule_strict=[1, 1, 1, 0])
    return Exported(run, params, 1, as_lora=False)


def card(exported, folder, *, drawn=False):
    """The text of a card; its curves, which take a second, are drawn where they are looked at."""
    with pytest.MonkeyPatch.context() as replaced:
        if not drawn:
            replaced.setattr("flows.export.model_card.curves", lambda *_: None)
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
    assert "needs the strength 2." in text


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
    text = card(shapes, tmp_path, drawn=True)
    assert "| judge_a (trained on) | 0.5 | 0.75 | +0.25 |" in text
    assert "| judge_b | 0.5 | 0.25 | -0.25 |" in text
    assert "| rule_strict | 0.5 | 0.75 | +0.25 |" in text
    assert "Means over 4 prompts of the split test with 1 noise" in text
    assert "Neither training nor the choice of the round used these prompts" in text
    assert "| judge_b | shapes world | none: evaluated only | comes with g2rpo |" in text
    assert "| judge_a | shapes world | 1 | comes with g2rpo |" in text
    history = [(0, 0.5), (1, 0.75)]  # up to the exported round
    assert [(int(n), float(v)) for n, v in re.findall(r"^\| (\d) \| (\S+) \|", text, re.MULTILINE)] == history
    assert "By judge_a the exported round, 1, is the best of them." in text
    for name in ("curves.png", "before_after.png"):
        assert f"]({name})" in text
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 400


def test_a_round_that_is_not_the_best_is_not_called_so(shapes):
    assert shapes.best
    assert not Exported(shapes.run, shapes.params, 2, as_lora=False).best


def test_without_a_final_evaluation_the_table_is_that_of_the_training(shapes):
    result = Result.of(changed(shapes, report={"num_noises": 2}))
    assert result.by.evaluate.split == "tuning"
    assert "but the run was evaluated on them" in result.apartness
    assert Result.of(changed(shapes, report={"num_noises": 2}, evaluate={"num_prompts": 3})) is None


def test_prompts_that_were_trained_on_are_not_called_held_out(shapes):
    trained = changed(shapes, prompts={"split": "test"}).params
    assert "Training used these prompts" in Result(for_report(trained), None, None, final=True).apartness


def test_a_run_that_was_never_judged_has_a_card_without_a_table(tmp_path):
    run, params = begun("run.seed=3")
    finish(run)
    text = card(Exported(run, params, 1, as_lora=False), tmp_path)
    assert header(text)["license"] == "apache-2.0"
    assert "The base model comes with g2rpo, under apache-2.0." in text
    assert "# The shapes world aligned by G²RPO" in text
    assert "The base model that comes with g2rpo, with all weights of its transformer trained," in text
    assert "Base and aligned policy" not in text
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
        token_env="G2RPO_TOKEN_MINE",
    )
    by = flux.params.model_copy(update={"rewards": {"jpeg": remote}})
    text = card(Exported(flux.run, by, 1, as_lora=True), tmp_path)
    assert "| jpeg | remote | 1 | model unified-reward, revision v2 |" in text
    assert "10.0.0.7" not in text
    assert "TOKEN" not in text


def test_no_name_is_markup_on_a_card(flux, tmp_path):
    hostile = "o/<script>x</script> | [x](javascript:y) ``` `b` ![i](http://e/x) $_$ \x1b[2J\u202e"
    for as_lora in (True, False):
        by = changed(flux, policy={"path": hostile, "revision": COMMIT}, evaluate={"choose_by": hostile})
        text = card(Exported(by.run, by.params, by.rounds, as_lora=as_lora), tmp_path)
        html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text.split("---\n", 2)[2])
        assert "&lt;script&gt;" in html
        assert html.count("<a ") == 1  # the paper
        assert html.count("<img ") == 1  # the curves
        for markup in ("<script", "javascript:y)</a>", "\x1b", "\u202e"):
            assert markup not in html
        assert html.count("<pre>") == 1
        assert header(text)["base_model"] == hostile


def test_a_folder_whose_weights_were_all_trained_is_named_as_code(flux, tmp_path):
    whole = changed(flux, policy={"path": "/models/a`b", "lora": None})
    text = card(Exported(whole.run, whole.params, 1, as_lora=False), tmp_path)
    assert "\n`` /models/a`b ``, with all weights of its transformer trained,\n" in text


def test_a_card_of_a_forged_evaluation_is_refused(shapes, tmp_path):
    run = Run(shutil.copytree(shapes.run.path, tmp_path / shapes.run.path.name))
    forge(run.evaluation_folder(1, "test"), "evaluations", without("judge_b"))
    with pytest.raises(ValueError, match="0001-test must be an evaluation as it was written, .*, got no judge_b"):
        card(replace(shapes, run=run), tmp_path)
