"""HPS in a process of its own: it starts, takes turns, fails, is given up and ends as it should.

The process is the real one but for its model: a score is told by the length of a text, and nothing large is imported.
What the real package says: tests/flows/upkeep/test_hps_package.py.
"""

import signal
import subprocess
import sys
import threading
import time

import pytest
import tiny_clip
import torch

from g2rpo.rewards import hps_isolated, hps_process
from g2rpo.rewards.hps_isolated import load_hps_isolated
from g2rpo.rewards.protocol import Reward, RewardError

TEXTS = ["the red cat", "", "an old clock"]
OWN_WORKER = hps_process.__file__
LIGHT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hps_process", {worker!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)

class Lengths:
    def __init__(self, *, weights, model_config, device):
        if weights.read_text() != "lengths":
            raise ValueError("Missing key(s) in state_dict")

    def score(self, texts, files):
        for file in files:
            if file[1:4] != b"PNG":
                raise ValueError("UnidentifiedImageError")
        return [len(text) / 100 for text in texts]

worker.Scorer, worker.make_importable = Lengths, lambda folder: None
worker.main()
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a reward is loaded from: a folder that looks like that of the package, a checkpoint, an architecture."""
    folder = tmp_path_factory.mktemp("hps_isolated")
    (folder / "package/hpsv2").mkdir(parents=True)
    (folder / "hps.pt").write_text("lengths")
    (folder / "small.json").write_text("{}")
    (folder / "light.py").write_text(LIGHT.format(worker=OWN_WORKER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hps_process, "__file__", str(folder / "light.py"))
        yield {
            "weights": folder / "hps.pt",
            "folder": folder / "package",
            "model_config": folder / "small.json",
            "device": "cpu",
        }


@pytest.fixture(scope="module")
def reward(files):
    reward = load_hps_isolated("hps", **files)
    yield reward
    reward.close()


def test_it_is_a_reward_without_a_network_here_and_a_score_is_the_answer_of_its_text(reward):
    scores = reward.score(tiny_clip.pictures(32, 32, count=3).requires_grad_(), TEXTS)
    assert isinstance(reward, Reward)
    assert (reward.name, reward.module) == ("hps", None)
    assert (scores.dtype, scores.requires_grad) == (torch.float32, False)
    assert scores.tolist() == pytest.approx([0.11, 0, 0.12])


def test_what_the_process_refuses_is_an_error_with_its_last_lines_and_it_goes_on(reward):
    with pytest.raises(hps_isolated.ScorerProcessError, match=r"UnidentifiedImageError(.|\n)*\n    "):
        reward._process.score(["a cat"], [b"no picture"])
    assert reward._process.score(["a cat"], [hps_isolated._png(hps_isolated.to_pil(tiny_clip.pictures(9, 9))[0])])


def test_threads_take_turns(reward, monkeypatch):
    inside, most = [], []

    def score(*_):
        inside.append(1)
        time.sleep(0.02)
        most.append(len(inside))
        inside.pop()
        return [0.1]

    monkeypatch.setattr(hps_isolated.ScorerProcess, "score", score)
    images = tiny_clip.pictures(32, 32)
    threads = [threading.Thread(target=reward.score, args=(images, TEXTS[:1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_too_few_texts_are_refused(reward):
    with pytest.raises(ValueError, match="got 2 pictures and 1 texts"):
        reward.score(tiny_clip.pictures(32, 32, count=2), TEXTS[:1])


def test_an_error_in_the_process_is_told_and_the_next_call_works(reward):
    images = tiny_clip.pictures(32, 32)
    before = reward.score(images, TEXTS[:1])
    reward._process.process.send_signal(signal.SIGKILL)
    with pytest.raises(RewardError, match="hps failed in its process: it ended with exit code -9"):
        reward.score(images, TEXTS[:1])
    assert torch.equal(reward.score(images, TEXTS[:1]), before)


def test_an_interrupted_answer_is_not_taken_for_the_next_one(reward, monkeypatch):
    images = tiny_clip.pictures(32, 32, count=2)
    expected = reward.score(images[1:], TEXTS[1:2])
    with monkeypatch.context() as patch:
        patch.setattr(hps_isolated.hps_process, "receive", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            reward.score(images[:1], TEXTS[:1])
    assert torch.equal(reward.score(images[1:], TEXTS[1:2]), expected)


@pytest.mark.parametrize(
    ("answer", "message", "row"),
    [
        ([0.1, float("nan")], "finite number, got nan", 1),
        ([float("inf"), 0.1], "finite number, got inf", 0),
        ([0.1], "must give 2 numbers, got 1", None),
    ],
)
def test_an_answer_that_is_no_score_is_an_error(reward, monkeypatch, answer, message, row):
    monkeypatch.setattr(hps_isolated.ScorerProcess, "score", lambda *_: answer)
    with pytest.raises(RewardError, match=message) as caught:
        reward.score(tiny_clip.pictures(32, 32, count=2), TEXTS[:2])
    assert caught.value.row == row


def test_a_silent_process_is_given_up(reward, monkeypatch):
    monkeypatch.setattr(hps_isolated, "TIMEOUT", 0.2)
    reward._process.process.send_signal(signal.SIGSTOP)
    with pytest.raises(RewardError, match=r"no answer within 0.2 s"):
        reward.score(tiny_clip.pictures(32, 32), TEXTS[:1])


def test_the_process_ends_with_the_reward(files):
    reward = load_hps_isolated("hps", **files)
    process = reward._process.process
    del reward
    assert process.wait(timeout=30) == 0, "it was killed, though the end of its input tells it to end"


def test_a_model_that_cannot_be_built_is_refused_with_the_reason(files, tmp_path):
    (tmp_path / "other.pt").write_text("no lengths")
    with pytest.raises(
        ValueError, match=r"must build its model with .*other.pt(.|\n)*Missing key(.|\n)*rewards.hps.weights"
    ):
        load_hps_isolated("hps", **files | {"weights": tmp_path / "other.pt"})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("folder", "g2rpo setup hps --folder .*nothing_here"),
        ("weights", "weights of hps must be a file.*nothing_here"),
        ("model_config", "model_config of hps must be a file.*nothing_here"),
    ],
)
def test_what_is_missing_is_refused_with_a_remedy(files, tmp_path, setting, message):
    with pytest.raises(ValueError, match=message):
        load_hps_isolated("hps", **files | {setting: tmp_path / "nothing_here"})


def test_the_process_imports_nothing_of_ours():
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[1], run_name='__main__')\n"
        "except SystemExit: print({name.split('.')[0] for name in sys.modules} & {'g2rpo', 'stages', 'flows', 'torch'})"
    )
    words = [sys.executable, "-P", "-c", code, OWN_WORKER, "--help"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.endswith("set()\n")
