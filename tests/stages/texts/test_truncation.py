"""Long prompts, by the tokenizers of random models: how many are cut, and which are then the same."""

import pytest
from prompt_files import written
from random_bases import tiny_latent_params
from tiny import tiny_params

from g2rpo.shapes.captions import captions
from stages.sources.base_model import base_model
from stages.texts.lists import check_disjoint, with_prompts
from stages.texts.truncation import cut_prompts

LONG = " ".join(["cat"] * 100)
"""More than CLIP's 77 tokens, fewer than T5's 512 where each letter of a word is one."""
TOO_LONG = " ".join(["cat"] * 600)


@pytest.fixture
def cut(tmp_path):
    """Returns what is said of lists of a family's prompts."""

    def lines(family, **texts):
        for split in ("train", "tuning", "test"):
            written(tmp_path, f"{split}.txt", "\n".join(texts.get(split, [f"a {split}"])))
        params = with_prompts(tiny_latent_params(family, "policy.max_sequence_length=512"), tmp_path)
        check_disjoint(params)  # no two texts are equal
        return cut_prompts(params, base_model(params).encoder_views)

    return lines


def test_prompts_that_are_cut_are_counted_by_split_and_encoder(cut):
    assert cut("flux1") == []
    assert cut("flux1", train=["a cat", LONG, TOO_LONG]) == [
        "train: 2 of 3 prompts have more than the 77 tokens that tokenizer reads",
        "train: 1 of 3 prompts have more than the 512 tokens that tokenizer_2 reads",
    ]
    assert len(cut("sd3.5", train=["a cat", TOO_LONG])) == 3


@pytest.mark.parametrize("family", ["flux1", "sd3.5"])
def test_held_out_texts_that_are_new_only_where_no_encoder_reads_are_refused(cut, family):
    message = r"prompts.path: lists without a common text are required, got 1 that the text encoders read alike in test"
    with pytest.raises(ValueError, match=rf"{message} and train, as 'cat cat .* dog' and 'cat .* bird'") as caught:
        cut(family, train=[f"{TOO_LONG} bird", "a cat"], test=["a dog", f"{TOO_LONG} dog"])
    assert len(str(caught.value)) < 1000


def test_texts_that_one_encoder_reads_apart_are_others(cut):
    assert len(cut("flux1", train=[f"{LONG} bird"], test=[f"{LONG} dog"])) == 2


def test_the_shapes_world_cuts_no_text(tmp_path):
    for split in ("train", "tuning", "test"):
        written(tmp_path, f"{split}.txt", "\n".join(captions(split)))
    params = with_prompts(tiny_params(), tmp_path)
    assert cut_prompts(params, base_model(params).encoder_views) == []
