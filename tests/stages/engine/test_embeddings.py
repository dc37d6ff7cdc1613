"""Prompt embeddings: encoded once, kept by what they depend on, the encoders freed."""

import gc
import weakref

import pytest
import torch
from damage import flip, halve
from random_bases import tiny_latent_params

from g2rpo.policies.loading import pretrained
from stages.contract.declared_stages import STAGES
from stages.disk.tables import EMBEDDINGS, arrow, read_shard, shard_stamp, write_shard
from stages.engine.execute import run_stage
from stages.engine.loaded_models import LoadedModels
from stages.sources.base_model import base_model
from stages.store.run import open_run
from stages.texts.draws import drawn_texts

TEXTS = ["a red fox", "an old clock", "a red fox"]


class CountedBase:
    """A base model that notes which texts its encoders are given, and whether they still live."""

    def __init__(self, base):
        self._base, self.encoded, self.encoders = base, [], []

    def __getattr__(self, name):
        return getattr(self._base, name)

    def load_encoder(self, compute):
        encoder = self._base.load_encoder(compute)
        encode = encoder.encode

        def noted(texts):
            self.encoded.extend(texts)
            return encode(texts)

        encoder.encode = noted
        self.encoders.append(weakref.ref(encoder))
        return encoder


@pytest.fixture
def counted(monkeypatch):
    """LoadedModels on a counted base, a new process's each time."""

    def make(family="flux1", *more):
        params = tiny_latent_params(family, *more)
        base = CountedBase(base_model(params))
        monkeypatch.setattr("stages.engine.loaded_models.base_model", lambda params: base)
        return LoadedModels(params), base

    return make


def files(store):
    return sorted(path for path in (store / "embeddings").rglob("*") if path.is_file())


@pytest.mark.long
def test_each_text_is_encoded_once_and_never_again(counted, store):
    resources, base = counted()
    first = resources.condition(TEXTS)
    assert base.encoded == ["a red fox", "an old clock"]
    again, other = counted()
    assert all(torch.equal(again.condition(TEXTS).tensors[n], first.tensors[n]) for n in first.tensors)
    assert other.encoded == []
    assert len(files(store)) == 2


def test_what_is_kept_is_what_the_encoders_say(counted):
    resources, base = counted()
    kept = resources.condition(TEXTS).tensors
    fresh = base.load_encoder(resources._compute)
    for row, text in enumerate(TEXTS):
        encoded = fresh.encode([text]).tensors
        assert all(torch.equal(kept[name][row], encoded[name][0]) for name in encoded)


def test_bfloat16_is_kept_bit_for_bit(counted):
    resources, base = counted("flux1", "resources.dtype=bfloat16")
    kept = resources.condition(TEXTS[:1]).tensors
    encoded = base.load_encoder(resources._compute).encode(TEXTS[:1]).tensors
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}
    assert all(torch.equal(kept[name], encoded[name]) for name in encoded)


def test_the_encoders_are_freed(counted):
    resources, base = counted()
    resources.condition(TEXTS)
    gc.collect()
    assert [encoder() for encoder in base.encoders] == [None]


def test_with_guidance_all_rows_share_the_negative_prompt_which_is_encoded_once(counted):
    resources, base = counted("sd3.5")
    condition = resources.condition(TEXTS)
    assert base.encoded == ["a red fox", "an old clock", ""]
    assert {tensor.shape[0] for tensor in condition.shared.values()} == {1}
    assert condition.shared.keys() == condition.tensors.keys()


@pytest.mark.parametrize("damage", [flip, halve])
def test_a_damaged_embedding_is_made_again(counted, store, damage):
    resources, _ = counted()
    first = resources.condition(TEXTS[:1])
    damage(files(store)[0])
    again, base = counted()
    assert all(torch.equal(again.condition(TEXTS[:1]).tensors[n], first.tensors[n]) for n in first.tensors)
    assert base.encoded == ["a red fox"]


def without_stamp(path):
    write_shard(path.parent, 0, EMBEDDINGS, read_shard(path.parent, 0), stamp="")


def changed(**columns):
    def change(path):
        rows = read_shard(path.parent, 0)
        kept = {name: rows[name].to_pylist() for name in rows.column_names}
        kept |= {name: [value] * rows.num_rows for name, value in columns.items()}
        write_shard(path.parent, 0, EMBEDDINGS, arrow(EMBEDDINGS, kept), stamp=shard_stamp(path.parent, 0))

    return change


@pytest.mark.parametrize(
    "damage",
    [without_stamp, changed(text="another"), changed(dtype="Tensor"), changed(shape=[1, 2]), changed(values=b"1")],
    ids=["no stamp", "of another text", "no dtype", "another shape", "too few bytes"],
)
def test_an_embedding_that_is_not_that_of_its_text_is_made_again(counted, store, damage):
    resources, _ = counted()
    first = resources.condition(TEXTS[:1])
    damage(files(store)[0])
    again, base = counted()
    assert all(torch.equal(again.condition(TEXTS[:1]).tensors[n], first.tensors[n]) for n in first.tensors)
    assert base.encoded == ["a red fox"]


@pytest.mark.parametrize("change", ["resources.dtype=bfloat16", "policy.max_sequence_length=32"])
def test_what_changes_an_embedding_keeps_it_apart(counted, change):
    counted()[0].condition(TEXTS[:1])
    resources, base = counted("flux1", change)
    resources.condition(TEXTS[:1])
    assert base.encoded == ["a red fox"]


def test_other_encoders_keep_theirs_apart(counted, tmp_path, store):
    resources, base = counted()
    resources.condition(TEXTS[:1])
    other = tmp_path / "other"
    settings = {"height": 64, "width": 64, "guidance": 3.5, "max_sequence_length": 77, "lora": None}
    pretrained("flux1", base.folder, settings).load_policy(resources._compute, seed=0).save(other)
    same, counter = counted("flux1", f"policy.path={other}")
    same.condition(TEXTS[:1])
    assert counter.encoded == []  # another folder with the same encoders
    config = other / "text_encoder" / "config.json"
    config.write_text(config.read_text() + "\n")
    changed, counter = counted("flux1", f"policy.path={other}")
    changed.condition(TEXTS[:1])
    assert counter.encoded == ["a red fox"]


@pytest.mark.parametrize("stages", [("prompts", "rollout", "complete"), ("evaluate",)])
def test_a_stage_loads_the_encoders_once_for_all_its_shards(counted, stages):
    resources, base = counted()
    params = tiny_latent_params("flux1", "evaluate.micro_batch=1")
    run = open_run(params, device="cpu")
    for name in stages:
        run_stage(run, STAGES[name], 0, params, resources)
    assert len(base.encoders) == 1
    assert len(base.encoded) == len(set(base.encoded)) > 1


def test_only_what_the_rounds_draw_is_encoded():
    params = tiny_latent_params("flux1")
    drawn = drawn_texts(params, range(3))
    assert len(drawn) == 6  # 3 rounds of 2 prompts, out of 24
    assert drawn_texts(params, range(1, 3)) == drawn[2:]
    assert len(drawn_texts(params, range(30))) == 24
