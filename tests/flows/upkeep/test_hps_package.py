"""HPS by the real package hpsv2 in its own process: it agrees with the converted network, and ends with its parent."""

import gzip
import json
import os
import subprocess
import sys

import pytest
import tiny_clip
import torch
from hps_folder import shared_hps_folder
from waiting import wait_for

from g2rpo.rewards import hps_isolated
from g2rpo.rewards.hps import load_hps
from g2rpo.rewards.hps_isolated import load_hps_isolated
from g2rpo.rewards.protocol import Reward

TEXTS = [
    "the red cat",
    "Caf&eacute;  &amp;amp; crÃ¨me &lt;b&gt;",
    "Ünïcödé naïve façade, ¿qué? 你好 🦊",
    "a fox's den; we'll see 12,345 things...\n\t" + "very " * 90 + "long",
    "",
]
SIZES = [(32, 32), (64, 64), (40, 72), (96, 24), (32, 20), (13, 32), (7, 9)]
ARCHITECTURE = {
    "embed_dim": tiny_clip.DIM,
    "vision_cfg": {
        "image_size": tiny_clip.SIDE,
        "layers": tiny_clip.LAYERS,
        "width": tiny_clip.WIDTHS["vision"],
        "head_width": tiny_clip.WIDTHS["vision"] // tiny_clip.HEADS,
        "patch_size": tiny_clip.PATCH,
    },
    "text_cfg": {
        "context_length": tiny_clip.CONTEXT,
        "vocab_size": 49408,
        "width": tiny_clip.WIDTHS["text"],
        "heads": tiny_clip.HEADS,
        "layers": tiny_clip.LAYERS,
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A small checkpoint in open_clip's format with the real vocabulary, and its CLIP folder for the other backend."""
    package, folder = shared_hps_folder(tmp_path_factory), tmp_path_factory.mktemp("hps_isolated")
    vocabulary = (package / "hpsv2/src/open_clip/bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(vocabulary).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = tiny_clip.LETTERS
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_clip, "MERGES", merges)
        patch.setattr(tiny_clip, "VOCABULARY", [*words, tiny_clip.START, tiny_clip.END])
        torch.save({"state_dict": tiny_clip.open_clip_state(), "epoch": 1}, folder / "hps.pt")
        tiny_clip.tiny_config().save_pretrained(folder / "clip")
        tiny_clip.tiny_tokenizer().save_pretrained(folder / "clip")
    (folder / "small.json").write_text(json.dumps(ARCHITECTURE))
    return {"weights": folder / "hps.pt", "folder": package, "model_config": folder / "small.json", "device": "cpu"}


@pytest.fixture(scope="module")
def reward(files):
    reward = load_hps_isolated("hps", **files)
    yield reward
    reward.close()


@pytest.fixture(scope="module")
def converted(files):
    return load_hps("hps", weights=files["weights"], clip=files["weights"].parent / "clip", device="cpu")


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_both_backends_agree(reward, converted, size):
    images = tiny_clip.pictures(*size, count=len(TEXTS))
    isolated, in_process = reward.score(images, TEXTS), converted.score(images, TEXTS)
    assert isolated.tolist() == pytest.approx(in_process.tolist(), abs=1e-5)
    assert isolated.std() > 1e-3


def test_both_backends_tell_texts_and_pictures_apart(reward, converted):
    images = tiny_clip.pictures(48, 48, count=2)
    for backend in (reward, converted):
        table = [backend.score(images, [text, text]).tolist() for text in TEXTS]
        flat = [round(value, 4) for row in table for value in row]
        assert len(set(flat)) == len(flat)


def test_it_is_a_reward_without_a_network_here(reward):
    scores = reward.score(tiny_clip.pictures(32, 32).requires_grad_(), TEXTS[:1])
    assert isinstance(reward, Reward)
    assert (reward.name, reward.module) == ("hps", None)
    assert (scores.dtype, scores.requires_grad) == (torch.float32, False)


def test_a_row_is_scored_alike_alone_and_in_a_batch(reward):
    images = tiny_clip.pictures(50, 50, count=3)
    together = reward.score(images, TEXTS[:3])
    assert together[1].item() == pytest.approx(reward.score(images[1:2], TEXTS[1:2]).item(), abs=1e-6)


def test_what_the_process_cannot_read_is_an_error_with_its_last_lines(reward):
    with pytest.raises(hps_isolated.ScorerProcessError, match=r"UnidentifiedImageError(.|\n)*\n    "):
        reward._process.score(["a cat"], [b"no picture"])
    assert reward._process.score(["a cat"], [hps_isolated._png(hps_isolated.to_pil(tiny_clip.pictures(9, 9))[0])])


def test_a_checkpoint_that_does_not_fit_is_refused(files, tmp_path):
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(
        ValueError, match=r"must build its model with .*other.pt(.|\n)*Missing key(.|\n)*rewards.hps.weights"
    ):
        load_hps_isolated("hps", **files | {"weights": tmp_path / "other.pt"})


@pytest.mark.slow
def test_the_process_ends_when_its_parent_is_killed(files):
    code = (
        "import sys, time; from pathlib import Path; from g2rpo.rewards.hps_isolated import ScorerProcess\n"
        "worker = ScorerProcess(folder=Path(sys.argv[1]), weights=None, model_config=Path(sys.argv[2]), device='cpu')\n"
        "print(worker.process.pid, flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(files["folder"]), str(files["model_config"])]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
    wait_for(lambda: not _runs(child))


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split(")")[1].split()[0] != "Z"
    except OSError:
        return False
