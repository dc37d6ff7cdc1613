"""FLUX.1: the kit of every family, and what only this one knows."""

import shutil
from dataclasses import replace

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from policy_kit import FP32, Family, PolicyKit

from g2rpo.policies.flux1 import Flux1
from g2rpo.random_models import write_flux1
from g2rpo.velocity import VelocityField

SETTINGS = {"height": 64, "width": 32, "guidance": 3.5, "max_sequence_length": 77}


class TestFlux1Dev(PolicyKit):
    family = Family(
        "flux1",
        lambda folder: write_flux1(folder, seed=0, guidance=True),
        SETTINGS,
        {"height": 64, "width": 32, "guidance_scale": 3.5, "max_sequence_length": 77},
        tolerance=1e-5,
    )

    def test_the_guidance_scale_is_told(self, folder, policy, condition, noise):
        weaker = Flux1(folder, **{**SETTINGS, "guidance": 1.0}, lora=None).load_policy(FP32, seed=0)
        assert not self.close(self.velocity(weaker, noise, condition), self.velocity(policy, noise, condition))

    def test_sigmas_that_bfloat16_cannot_tell_apart_give_other_velocities(self, base, condition, noise):
        policy = base.load_policy(replace(FP32, dtype=torch.bfloat16), seed=0)
        near, same = torch.tensor([0.7015, 0.7045]), torch.tensor([0.7015, 0.7045]).bfloat16()
        assert same[0] == same[1]
        field = VelocityField(policy, 8, torch.bfloat16)
        twice, rows = noise[:1].repeat(2, 1, 1), torch.tensor([0, 0])
        first, second = field(twice, near, condition, rows)
        assert not torch.equal(first, second)

    @pytest.mark.parametrize(
        ("side", "tokens", "shift"), [(1024, 4096, 3.1582), (720, 2025, 2.2243), (256, 256, 1.6487)]
    )
    def test_the_published_shift_is_exp_of_mu_which_grows_with_the_tokens(self, folder, side, tokens, shift):
        # mu = 0.5 at 256 tokens and 1.15 at 4096: at 720 x 720, 0.5 + 0.65 (2025 - 256) / 3840 = 0.79944
        base = Flux1(folder, **{**SETTINGS, "height": side, "width": side}, lora=None)
        assert base.num_tokens == tokens
        assert base.shift == pytest.approx(shift, abs=1e-4)

    def test_a_dev_model_without_a_scale_is_refused(self, folder):
        with pytest.raises(ValueError, match=r"policy.guidance: a scale such as 3.5 is required"):
            Flux1(folder, **{**SETTINGS, "guidance": None}, lora=None)

    def test_attention_is_what_was_asked_for_and_native_again_afterwards(self, base, policy, condition, noise):
        other = base.load_policy(replace(FP32, attention="_native_math"), seed=0)
        used = {str(m.processor._attention_backend) for m in other.module.modules() if hasattr(m, "processor")}
        assert used == {str(AttentionBackendName._NATIVE_MATH)}
        assert self.close(self.velocity(other, noise, condition), self.velocity(policy, noise, condition))
        base.load_policy(FP32, seed=0)
        assert _AttentionBackendRegistry.get_active_backend()[0] is AttentionBackendName.NATIVE

    def test_a_backend_that_does_not_work_here_is_refused(self, base):
        with pytest.raises(ValueError, match=r"resources.attention: an attention backend .*got flash"):
            base.load_policy(replace(FP32, attention="flash"), seed=0)

    def test_lost_weights_are_told_with_the_component(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "base")
        for path in (tmp_path / "base" / "transformer").glob("*.safetensors"):
            path.unlink()
        with pytest.raises(ValueError, match="policy.path, transformer: Weights in safetensors are required"):
            self.of(tmp_path / "base").load_policy(FP32, seed=0)
        (tmp_path / "base" / "model_index.json").write_text("")
        with pytest.raises(ValueError, match=r"JSON is required in .*model_index.json"):
            self.of(tmp_path / "base")

    def test_a_lost_component_is_named(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "base", ignore=shutil.ignore_patterns("text_encoder_2"))
        with pytest.raises(ValueError, match="without text_encoder_2"):
            Flux1(tmp_path / "base", **SETTINGS, lora=None)


@pytest.mark.long
class TestFlux1Schnell(PolicyKit):
    family = Family(
        "flux1",
        lambda folder: write_flux1(folder, seed=1, guidance=False),
        {**SETTINGS, "guidance": None},
        {"height": 64, "width": 32, "max_sequence_length": 77},
        tolerance=1e-5,
    )

    def test_a_scale_for_a_model_that_knows_none_is_refused(self, folder):
        with pytest.raises(ValueError, match=r"policy.guidance: null is required"):
            Flux1(folder, **SETTINGS, lora=None)

    def test_more_tokens_than_schnell_reads_are_refused(self, folder):
        with pytest.raises(ValueError, match="policy.max_sequence_length: at most 256 tokens are required"):
            Flux1(folder, **{**SETTINGS, "guidance": None, "max_sequence_length": 512}, lora=None)

    def test_its_schedule_is_not_shifted(self, base):
        assert base.shift == 1.0
