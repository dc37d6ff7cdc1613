"""Stable Diffusion 3 and 3.5: the kit of every family, and what only this one knows."""

from dataclasses import replace

import pytest
import torch
from policy_kit import FP32, TEXTS, Family, PolicyKit

from g2rpo.policies.protocol import Condition
from g2rpo.policies.sd3 import StableDiffusion3
from g2rpo.random_models import write_sd3

SETTINGS = {"height": 64, "width": 32, "guidance": 4.5, "negative_prompt": "", "max_sequence_length": 77}
CALL = {"height": 64, "width": 32, "guidance_scale": 4.5, "max_sequence_length": 77}


class TestStableDiffusion35(PolicyKit):
    family = Family(
        "sd3", lambda folder: write_sd3(folder, seed=0, dual_attention=True), SETTINGS, CALL, tolerance=3e-5
    )

    def test_guidance_leads_away_from_the_negative_prompt_by_the_published_law(self, folder, encoder, noise):
        """v = v_negative + g (v_prompt - v_negative), each of them alone in an unguided call."""
        alone = StableDiffusion3(folder, **{**SETTINGS, "guidance": 1.0}, lora=None).load_policy(FP32, seed=0)
        guided = StableDiffusion3(folder, **SETTINGS, lora=None).load_policy(FP32, seed=0)
        prompt, nothing = encoder.encode(TEXTS).tensors, encoder.encode([""]).tensors
        negative = {name: tensor.expand_as(prompt[name]) for name, tensor in nothing.items()}
        v_prompt = self.velocity(alone, noise, Condition(prompt))
        v_negative = self.velocity(alone, noise, Condition(negative))
        both = self.velocity(guided, noise, Condition(prompt, nothing))
        assert self.close(both, v_negative + 4.5 * (v_prompt - v_negative))
        assert not self.close(both, v_prompt)

    def test_guidance_costs_two_rows_and_none_costs_one(self, folder):
        costs = []
        for guidance in (4.5, 1.0):
            base = StableDiffusion3(folder, **{**SETTINGS, "guidance": guidance}, lora=None)
            costs.append((base.load_policy(FP32, seed=0).num_forwards, base.negative_text))
        assert costs == [(2, ""), (1, None)]

    def test_an_attention_backend_that_its_attention_does_not_know_is_refused(self, base):
        with pytest.raises(ValueError, match="resources.attention: native is required for SD3Transformer2DModel"):
            base.load_policy(replace(FP32, attention="_native_math"), seed=0)

    def test_its_published_shift_is_three(self, base):
        assert base.shift == 3.0

    def test_a_picture_beyond_the_position_table_is_refused(self, folder):
        with pytest.raises(ValueError, match="policy.height and policy.width: at most"):
            StableDiffusion3(folder, **{**SETTINGS, "height": 16 * 4096}, lora=None)


@pytest.mark.long
class TestStableDiffusion3WithoutGuidance(PolicyKit):
    family = Family(
        "sd3",
        lambda folder: write_sd3(folder, seed=1, dual_attention=False),
        {**SETTINGS, "guidance": 1.0},
        {**CALL, "guidance_scale": 1.0},
        tolerance=3e-5,
    )

    def test_no_negative_prompt_is_needed(self, policy, condition, noise):
        assert condition.shared == {}
        assert torch.isfinite(self.velocity(policy, noise, condition)).all()
