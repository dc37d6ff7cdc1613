"""The reference server as a user starts it, and the one that the documentation shows."""

import os
import re
import signal
import subprocess
import sys
import types

import httpx
import pytest
import torch
import uvicorn
from reward_servers import running
from tiny import ROOT, tiny_params

from g2rpo.rewards.pictures import to_uint8
from g2rpo.rewards.protocol import RewardError
from g2rpo.rewards.remote import load_remote
from g2rpo.rewards.shapes import load_reward
from g2rpo.shapes.captions import captions
from g2rpo.shapes_build.figures import render_images
from stages.sources.rewards import reward_digest

TOKEN = "the-token"
TEXTS = list(captions()[::61])


@pytest.fixture(scope="module")
def command():
    """`g2rpo serve-reward` for each name, started when first asked for; all end with the module."""
    started = {}

    def address(name):
        if name not in started:
            words = ["serve-reward", name, "--token-env", "JUDGE_TOKEN", "--set", "score.micro_batch=8"]
            process = subprocess.Popen(
                [sys.executable, "-m", "flows", *words, "--set", "resources.device=cpu"],
                cwd=ROOT,
                env=os.environ | {"JUDGE_TOKEN": TOKEN},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started[name] = process, process.stdout.readline().strip()
        return started[name][1]

    yield address
    for process, _ in started.values():
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=40)
        assert (process.returncode, out, err) == (128 + signal.SIGTERM, "", "")


def revision_of(name):
    return reward_digest(tiny_params(), name)


def client(name, url, **changes):
    settings = {"model": name, "batch": 5, "retries": 0, "timeout": 30.0, "token": TOKEN}
    pin = {} if "revision" in changes else {"revision": revision_of(name)}
    return load_remote(name, url=url, **(settings | pin | changes))


@pytest.mark.parametrize("name", ["judge_a", "rule_soft"])
def test_the_remote_judge_gives_what_the_judge_gives_for_pictures_rounded_to_8_bits(command, name):
    images = render_images(TEXTS, seed=0) * 0.9 + 0.03
    rounded = to_uint8(images).permute(0, 3, 1, 2).float() / 255
    reward = client(name, command(name))
    reward.check()
    assert torch.allclose(reward.score(images, TEXTS), load_reward(name).score(rounded, TEXTS), atol=1e-6, rtol=0)


def test_the_server_says_what_it_judges_by(command):
    said = httpx.get(f"{command('rule_soft')}/v1/reward", headers={"Authorization": f"Bearer {TOKEN}"}).json()
    revision = revision_of("rule_soft")
    assert said == {"name": "rule_soft", "model": "rule_soft", "revision": revision, "max_batch": 8}


@pytest.mark.parametrize("token", [None, "another", TOKEN[:-1], f"{TOKEN}x"])
def test_only_those_with_the_token_are_answered(command, token):
    reward = client("rule_soft", command("rule_soft"), token=token)
    with pytest.raises(RewardError, match=r"got 401: .*Put the server's token into .* rewards\.rule_soft\.token_env"):
        reward.check()
    with pytest.raises(RewardError, match="got 401"):
        reward.score(render_images(TEXTS, seed=0), TEXTS)


def test_a_token_of_strange_letters_is_another_token(command):
    headers = {"Authorization": "Bearer sm\u00f8rrebr\u00f8d".encode("latin-1")}
    assert httpx.get(f"{command('rule_soft')}/v1/reward", headers=headers).status_code == 401


@pytest.mark.parametrize("pin", [{"model": "judge_a"}, {"revision": "0" * 64}])
def test_another_model_or_revision_is_refused_by_both_sides(command, pin):
    reward = client("rule_soft", command("rule_soft"), **pin)
    with pytest.raises(RewardError, match="is required, got"):
        reward.check()
    with pytest.raises(RewardError, match="got 409: .*This server has model .* got a request for"):
        reward.score(render_images(TEXTS, seed=0), TEXTS)


def test_a_batch_too_large_for_the_server_is_refused_by_the_check(command):
    with pytest.raises(
        RewardError, match="`max_batch` = 8 pictures per request are taken, got rewards.rule_soft.batch = 9"
    ):
        client("rule_soft", command("rule_soft"), batch=9).check()


def test_a_text_that_cannot_be_judged_is_told_with_its_row(command):
    texts = [*TEXTS[:7], "a red dragon", *TEXTS[8:]]
    with pytest.raises(RewardError, match=r"picture 7 of the batch: .*got 'a red dragon'.*1 of 5 pictures") as caught:
        client("rule_soft", command("rule_soft")).score(render_images(TEXTS, seed=0), texts)
    assert caught.value.row == 7


def test_a_picture_that_the_server_does_not_score_is_told_with_its_row(command):
    with pytest.raises(RewardError, match=r"picture 0 of the batch: .*ratio of at most 8 .*got 17x2.*2 of 2") as caught:
        client("rule_soft", command("rule_soft")).score(torch.zeros(2, 3, 2, 17), TEXTS[:2])
    assert caught.value.row == 0


def test_the_server_of_the_documentation_does_what_the_documentation_says(monkeypatch):
    def ask(text, picture):
        return f"Looks so. Final Score: {len(text)}.5" if picture.size == (16, 16) and len(text) < 6 else "Looks so."

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "remote-reward.md").read_text(), flags=re.DOTALL)
    monkeypatch.setitem(sys.modules, "my_judge", types.SimpleNamespace(ask=ask))
    names = {}
    exec(code, names)
    judge = {"batch": 16, "token": None} | names["PIN"]
    images = render_images(TEXTS[:2], seed=0)
    with running(uvicorn.Server(uvicorn.Config(names["app"], log_config=None, access_log=False))) as url:
        reward = client("vlm", url, **judge)
        reward.check()
        assert reward.score(images, ["a", "abc"]).tolist() == [1.5, 3.5]
        with pytest.raises(RewardError, match=r"picture 1 .*no final score: Looks so\.' \(1 of 2"):
            reward.score(images, ["a", "abcdef"])
        with pytest.raises(RewardError, match="got 409: .*judged here by"):
            client("vlm", url, **judge | {"revision": "r2"}).score(images, ["a", "b"])
