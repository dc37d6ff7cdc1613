"""What an encoder sees of a text: its tokens up to a length."""

import logging

from policy_kit_base import FP32
from random_bases import random_model, tiny_latent_params

from g2rpo.policies.encoder_views import encoder_views
from stages.sources.base_model import base_model


def test_a_text_is_seen_whole_or_to_the_length_without_its_end():
    (view,) = encoder_views(
        random_model("flux1"), {"tokenizer": 6}, ["a cat", "a cat in a big city", "a cat in a tree"]
    )
    assert (view.encoder, view.max_tokens, view.num_cut) == ("tokenizer", 6, 2)
    whole, city, tree = view.tokens
    assert (len(whole), len(city)) == (5, 5)
    assert city == tree == (*whole[:4], city[4])
    assert whole[-1] not in city


def test_without_a_length_it_is_the_tokenizers_own_and_without_texts_nothing_is_seen():
    (view,) = encoder_views(random_model("flux1"), {"tokenizer": None}, [])
    assert (view.max_tokens, view.tokens, view.num_cut) == (77, (), 0)


def test_a_long_text_is_encoded_without_a_warning(caplog, capfd):
    params = tiny_latent_params("flux1")
    with caplog.at_level(logging.WARNING):
        base_model(params).load_encoder(FP32).encode(["cat " * 600])
    assert "truncated" not in caplog.text + capfd.readouterr().err
