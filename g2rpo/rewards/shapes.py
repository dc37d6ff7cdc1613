"""The rewards of the shapes world: two learned judges, a rule that verifies, and a measure of artefacts."""

import hashlib
from collections.abc import Sequence

import torch

from g2rpo.rewards.pictures import check_counts
from g2rpo.rewards.protocol import Reward
from g2rpo.shapes.captions import scene_of
from g2rpo.shapes.judges import Judge, load_judge
from g2rpo.shapes.parser import Found, parse
from g2rpo.shapes.renderer import BACKGROUND, PALETTE, SIDE
from g2rpo.shapes.rule import verify
from g2rpo.shapes.shipped import CLEAN, JUDGES, REWARDS, RULES
from g2rpo.types import Images, Rewards


class JudgeReward:
    """The cosine of picture and caption as a judge sees them, in [-1, 1]; about .9 for a true picture."""

    def __init__(self, name: str, judge: Judge) -> None:
        self.name = name
        self.module = self._judge = judge

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one cosine per picture.

        Raises:
            ValueError: If there are not as many texts as pictures, or a text has an unknown word.
        """
        return self._judge.score(images, texts)


class RuleReward:
    """The verdict of the rule: `rule_soft` in [0, 1], or `rule_strict`, which is 0 or 1."""

    module = None

    def __init__(self, name: str) -> None:
        self.name = name

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return one verdict per picture; the two rules share the parse of the last pictures.

        Raises:
            ValueError: If there are not as many texts as pictures, the pictures are not 16x16 with three
                channels, or a text is none of the 729 captions.
        """
        check_counts(self.name, images, texts)
        scenes = [scene_of(text) for text in texts]
        verdicts = [verify(things, scene) for things, scene in zip(_LAST.parse(images), scenes, strict=True)]
        values = [verdict.soft if self.name == "rule_soft" else verdict.strict for verdict in verdicts]
        return torch.tensor(values, dtype=torch.float32, device=images.device)


class CleanPixelsReward:
    """How clean the colours are, whatever the text says: a measure of artefacts, at most 0.

        r = -mean over pixels of min over colours c of |pixel - c|,

    Euclidean, in units of a channel's range, c one of background and palette. About -.034 for a true picture (its edges
    are mixtures), -.06 for the base model's, -.33 for uniform noise, and 0 for a picture of background alone: by itself
    it is easy to game.
    """

    module = None
    name = CLEAN

    def score(self, images: Images, texts: Sequence[str]) -> Rewards:
        """Return minus the mean distance of each picture's pixels to the world's colours.

        Raises:
            ValueError: If there are not as many texts as pictures.
        """
        check_counts(self.name, images, texts)
        colours = torch.tensor([BACKGROUND, *PALETTE.values()], device=images.device) / 255
        offsets = images.detach().float()[:, None] - colours[None, :, :, None, None]
        return -offsets.square().sum(dim=2).sqrt().amin(dim=1).flatten(1).mean(dim=1)


class _LastParse:
    """The parse of the last pictures, kept because both rules read the same pictures."""

    def __init__(self) -> None:
        self._digest = b""
        self._things: list[tuple[Found, ...]] = []

    def parse(self, images: Images) -> list[tuple[Found, ...]]:
        if tuple(images.shape[1:]) != (3, SIDE, SIDE):
            raise ValueError(
                f"The rule reads pictures of shape (n, 3, {SIDE}, {SIDE}), got {tuple(images.shape)}. "
                "Use it with the shapes world, or choose a reward that fits the model."
            )
        pictures = images.detach().float().cpu().contiguous().numpy()
        digest = hashlib.sha256(pictures.tobytes()).digest()
        if digest != self._digest:
            self._digest, self._things = digest, parse(pictures)
        return self._things


_LAST = _LastParse()


def load_reward(name: str, device: str | torch.device = "cpu") -> Reward:
    """Return a reward of the shapes world by its name: judge_a, judge_b, rule_soft, rule_strict or clean_pixels.

    Raises:
        ValueError: If the shapes world has no such reward.
    """
    if name in RULES:
        return RuleReward(name)
    if name == CLEAN:
        return CleanPixelsReward()
    if name in JUDGES:
        return JudgeReward(name, load_judge(name).to(device))
    raise ValueError(f"The shapes world has the rewards {', '.join(REWARDS)}, got {name!r}. Name one of these.")
