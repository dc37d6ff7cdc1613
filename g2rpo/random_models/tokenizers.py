"""Tokenizers that read any English text: an alphabet, a few whole words, and the special tokens of CLIP and T5."""

import json
from pathlib import Path
from typing import Any

CLIP_LENGTH = 77
T5_LENGTH = 512

_WORDS = (
    "a an and at big black blue brown castle cat circle city colour cube dog face flower forest four girl green hand "
    "in is it large left light man mountain night of on one orange over painting photo picture purple red right river "
    "road sea sky small square street sun that the three tree triangle two under water white with woman yellow"
)
_START, _END = "<|startoftext|>", "<|endoftext|>"
_PUNCTUATION = "‘’“”–—…"


def clip_merges() -> list[tuple[str, str]]:
    """Return the merges that put the known words together, letter by letter from the left, as byte-pair encoding does.

    Example: "red" gives ("r", "e") and ("re", "d</w>").
    """
    pairs: dict[tuple[str, str], None] = {}
    for word in _WORDS.split():
        letters = [*word[:-1], word[-1] + "</w>"]
        for end in range(1, len(letters)):
            pairs["".join(letters[:end]), letters[end]] = None
    return list(pairs)


def clip_vocabulary() -> dict[str, int]:
    """Return CLIP's vocabulary in CLIP's order: 256 bytes, 256 bytes that end a word, merges, start, end.

    As in the real one "!" is 0, and the end of text, which also pads, is the highest.
    """
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    merged = dict.fromkeys("".join(pair) for pair in clip_merges())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *merged, _START, _END]
    return {token: number for number, token in enumerate(tokens)}


def clip_ids() -> dict[str, Any]:
    """Return the vocabulary fields of a CLIP text model's configuration: size, and ids of start, end and padding."""
    ids = clip_vocabulary()
    return {
        "vocab_size": len(ids),
        "bos_token_id": ids[_START],
        "eos_token_id": ids[_END],
        "pad_token_id": ids[_END],
    }


def clip_tokenizer(*, pad: str = _END) -> Any:
    """Return a `transformers.CLIPTokenizer` of 77 tokens; the second one of SD3 pads with "!"."""
    from transformers import CLIPTokenizer

    merges: Any = clip_merges()  # its annotation says list[str]; it hands them on to BPE, which takes pairs
    return CLIPTokenizer(vocab=clip_vocabulary(), merges=merges, pad_token=pad, model_max_length=CLIP_LENGTH)


def write_clip_vocabulary(folder: Path) -> None:
    """Write vocab.json and merges.txt, the files in which the tokenizers of published CLIP models come."""
    lines = ["#version: 0.2", *(" ".join(pair) for pair in clip_merges())]
    (folder / "vocab.json").write_text(json.dumps(clip_vocabulary(), ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def t5_pieces() -> list[tuple[str, float]]:
    """Return T5's pieces and their log-probabilities: three special ones, letters, words; words are preferred."""
    letters = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x100))] + list(_PUNCTUATION)
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return [
        *special,
        ("▁", -4.0),
        *((letter, -6.0) for letter in letters),
        *(("▁" + word, -5.0) for word in _WORDS.split()),
    ]


def t5_tokenizer() -> Any:
    """Return a `transformers.T5Tokenizer` of 512 tokens."""
    from transformers import T5Tokenizer

    return T5Tokenizer(vocab=t5_pieces(), extra_ids=0, model_max_length=T5_LENGTH)
