"""The 729 captions, their fixed split in three, and the words they are made of."""

import hashlib
from collections.abc import Sequence
from functools import cache

from g2rpo.messages import shown
from g2rpo.shapes.scenes import COLOURS, KINDS, SHAPES, Scene, all_scenes

SPLITS = ("train", "tuning", "test")
NUM_WORDS = 8  # of the longest caption, and of every row of tokens
PAD = ""
VOCABULARY = (
    PAD,
    "a",
    "two",
    "three",
    "and",
    "left",
    "of",
    "above",
    *COLOURS,
    *SHAPES,
    *(f"{s}s" for s in SHAPES),
)


@cache
def _scenes() -> dict[str, Scene]:
    return {scene.caption: scene for scene in all_scenes()}


@cache
def captions(split: str = "all") -> tuple[str, ...]:
    """Return the captions of a split, in the order of the enumeration.

    Each of the three kinds of caption is divided 60 / 20 / 20 by the order of the SHA-256 of its texts, so
    the split depends on no random generator: "train" 437 captions, "tuning" 146, "test" 146, "all" 729.

    Raises:
        ValueError: If there is no such split.
    """
    everything = tuple(_scenes())
    if split == "all":
        return everything
    if split not in SPLITS:
        raise ValueError(f"A split is one of {', '.join((*SPLITS, 'all'))}, got {split!r}. Name one of these.")
    selected: set[str] = set()
    for kind in KINDS:
        texts = [text for text in everything if _scenes()[text].kind == kind]
        texts.sort(key=lambda text: hashlib.sha256(text.encode()).hexdigest())
        first, second = round(0.6 * len(texts)), round(0.8 * len(texts))
        parts = {"train": texts[:first], "tuning": texts[first:second], "test": texts[second:]}
        selected.update(parts[split])
    return tuple(text for text in everything if text in selected)


def scene_of(text: str) -> Scene:
    """Return the scene that a caption describes.

    Raises:
        ValueError: If the text is none of the 729 captions.
    """
    scene = _scenes().get(text)
    if scene is None:
        raise ValueError(
            f"The shapes world knows 729 captions like 'a red circle left of a blue square', got {shown(text)}. "
            "Take the text from g2rpo.shapes.captions.captions()."
        )
    return scene


def tokens(texts: Sequence[str]) -> list[list[int]]:
    """Return one row of eight word numbers for each text, padded with 0.

    Any sequence of known words is read, also one that is none of the 729 captions.

    Raises:
        ValueError: If a text has more than eight words, no word, or an unknown word.
    """
    number = {word: index for index, word in enumerate(VOCABULARY)}
    rows: list[list[int]] = []
    for text in texts:
        words = text.split()
        if not 1 <= len(words) <= NUM_WORDS:
            raise ValueError(
                f"A caption of the shapes world has 1 to {NUM_WORDS} words, got {len(words)} in {shown(text)}. "
                "Shorten the text, or use a model that reads free text."
            )
        for word in words:
            if word not in number:
                raise ValueError(
                    f"A caption of the shapes world uses the words {', '.join(VOCABULARY[1:])}, got {shown(word)} "
                    f"in {shown(text)}. Reword the text, or use a model that reads free text."
                )
        rows.append([number[word] for word in words] + [0] * (NUM_WORDS - len(words)))
    return rows
