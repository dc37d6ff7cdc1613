import shutil
from pathlib import Path

import pytest
from random_bases import random_model, tiny_latent_params
from tiny import tiny_params

from g2rpo.shapes.shipped import shipped_base
from stages.sources.base_model import base_folder, base_model, encoder_digest, policy_digest


def test_the_shapes_world_brings_a_base_and_takes_another():
    assert base_folder(tiny_params()) == shipped_base()
    assert base_folder(tiny_params("policy.path=outputs/other")) == Path("outputs/other")


def test_another_family_lies_where_params_say():
    assert base_folder(tiny_latent_params("flux1")) == random_model("flux1")
    with pytest.raises(ValueError, match=r"policy.path: a folder, or a hub id as owner/name, is required"):
        base_folder(tiny_latent_params("flux1", "policy.path=/nowhere"))


def test_a_base_has_the_settings_of_its_section():
    adapter = "policy.lora={rank: 3, alpha: 6, targets: [attn.to_q]}"
    base = base_model(tiny_latent_params("flux1", "policy.max_sequence_length=16", adapter))
    assert base.encoder_settings == {"max_sequence_length": 16}
    assert (base.lora.rank, base.lora.alpha, base.lora.targets) == (3, 6, ("attn.to_q",))
    assert base_model(tiny_latent_params("flux1", "policy.lora=null")).lora is None


def test_a_shapes_base_is_identified_by_its_weights(tmp_path):
    shutil.copytree(shipped_base(), tmp_path / "base")
    params = tiny_params(f"policy.path={tmp_path / 'base'}")
    assert policy_digest(params) == policy_digest(tiny_params())
    with (tmp_path / "base/words.safetensors").open("ab") as words:
        words.write(b"!")
    assert policy_digest(params) != policy_digest(tiny_params())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"policy.path: a folder with transformer/\*.safetensors, .* is required"):
        policy_digest(tiny_params(f"policy.path={tmp_path / 'empty'}"))


def test_encoders_differ_by_their_files_alone_where_a_cache_is_worth_it(tmp_path):
    assert encoder_digest(tiny_params()) is None
    shutil.copytree(random_model("flux1"), tmp_path / "base")
    here = encoder_digest(tiny_latent_params("flux1"))
    moved = tiny_latent_params("flux1", f"policy.path={tmp_path / 'base'}")
    for changed, same in (("scheduler/scheduler_config.json", True), ("text_encoder/config.json", False)):
        with (tmp_path / "base" / changed).open("a") as config:
            config.write("\n")
        assert (encoder_digest(moved) == here) is same


def test_the_policys_digest_covers_every_component_but_not_what_is_not_read(tmp_path):
    shutil.copytree(random_model("flux1"), tmp_path / "base")
    params = tiny_latent_params("flux1", f"policy.path={tmp_path / 'base'}")
    assert policy_digest(params) == policy_digest(tiny_latent_params("flux1"))
    (tmp_path / "base" / "README.md").write_text("words")
    assert policy_digest(params) == policy_digest(tiny_latent_params("flux1"))
    scheduler = tmp_path / "base" / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace("1.15", "1.16"))
    assert policy_digest(params) != policy_digest(tiny_latent_params("flux1"))


def test_a_base_of_another_family_is_refused():
    with pytest.raises(ValueError, match="a FluxPipeline is required, got a StableDiffusion3Pipeline"):
        base_model(tiny_latent_params("flux1", f"policy.path={random_model('sd3.5')}"))
