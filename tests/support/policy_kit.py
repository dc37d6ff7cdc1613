"""What every model family must pass: subclass `PolicyKit` in a test file of the family and give it a `Family`.

The judge is the pipeline of diffusers itself, on a small random model in the real classes and files.
"""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from policy_kit_base import ATTENTION, FP32, TEXTS, Family, KitBase, trained

from g2rpo.policies.adapter import Lora
from g2rpo.policies.protocol import Policy, Pretrained, TextEncoder
from g2rpo.schedule import shifted_sigmas
from g2rpo.velocity import VelocityField

__all__ = ["FP32", "TEXTS", "Family", "PolicyKit"]


class PolicyKit(KitBase):
    def test_it_has_all_that_the_protocols_ask_for(self, base, policy, encoder):
        assert isinstance(base, Pretrained)
        assert isinstance(policy, Policy)
        assert isinstance(encoder, TextEncoder)

    @pytest.mark.parametrize("sigma", [1.0, 0.6, 0.03])
    def test_velocity_is_that_of_the_pipelines_own_step(self, policy, pipeline, condition, noise, sigma):
        stepped = self.painted(pipeline, noise, torch.tensor([sigma, 0.0]), "latent")
        assert self.close(self.velocity(policy, noise, condition, sigma) * sigma, noise - stepped)

    def test_ode_sampling_ends_at_the_pipelines_latents_and_picture(self, policy, pipeline, condition, noise):
        sigmas = shifted_sigmas(4, 3.0)
        latents = self.sampled(policy, condition, noise, sigmas)
        assert latents.std() > 0.1
        assert self.close(latents, self.painted(pipeline, noise, sigmas, "latent"))
        assert self.close(policy.decode(latents), self.painted(pipeline, noise, sigmas, "pt"))

    def test_a_row_does_not_depend_on_the_rows_beside_it(self, policy, condition, noise):
        together = self.velocity(policy, noise, condition)
        for row in range(len(noise)):
            only = torch.tensor([row])
            assert self.close(together[only], self.velocity(policy, noise[only], condition.take(only)))

    def test_micro_batches_change_nothing_but_the_number_of_calls(self, policy, condition, noise):
        sigma, rows = torch.tensor([1.0, 0.5, 0.1]), torch.tensor([2, 0, 1])
        whole, split = VelocityField(policy, 3), VelocityField(policy, 1)
        assert self.close(whole(noise, sigma, condition, rows), split(noise, sigma, condition, rows))
        assert whole.evaluations == split.evaluations == 3 * policy.num_forwards

    def test_each_row_has_its_own_sigma(self, policy, condition, noise):
        with torch.no_grad():
            mixed = policy.velocity(noise, torch.tensor([0.9, 0.5, 0.1]), condition)
        for row, sigma in enumerate((0.9, 0.5, 0.1)):
            assert self.close(mixed[row], self.velocity(policy, noise, condition, sigma)[row])
        assert not self.close(mixed[0], self.velocity(policy, noise, condition, 0.5)[0])

    def test_the_prompt_is_heard(self, policy, condition, noise):
        same = noise[:1].expand_as(noise).contiguous()
        heard = self.velocity(policy, same, condition)
        assert not self.close(heard[0], heard[1])

    def test_a_text_is_encoded_alike_alone_and_among_others(self, encoder, condition):
        alone = encoder.encode(TEXTS[1:2]).tensors
        assert alone.keys() == condition.tensors.keys()
        assert all(self.close(alone[name][0], condition.tensors[name][1]) for name in alone)

    def test_pictures_lie_in_0_to_1_and_chunks_change_nothing(self, base, policy, noise):
        one = base.load_policy(replace(FP32, decode_batch=1), seed=0)
        pictures = policy.decode(noise)
        assert pictures.shape[:2] == (len(noise), 3)
        assert 0 <= pictures.min() < pictures.max() <= 1
        assert self.close(pictures, one.decode(noise))

    def test_a_saved_model_is_a_base_bit_for_bit(self, policy, condition, noise, folder, tmp_path):
        policy.save(tmp_path / "saved")
        again = self.of(tmp_path / "saved").load_policy(FP32, seed=0)
        assert torch.equal(self.velocity(policy, noise, condition), self.velocity(again, noise, condition))
        saved = self.of(tmp_path / "saved").load_encoder(FP32).encode(TEXTS).tensors
        assert all(torch.equal(saved[name], condition.tensors[name]) for name in saved)

    def test_gradient_reaches_every_trained_weight_and_checkpointing_does_not_change_it(self, base, condition, noise):
        grads = []
        for checkpointing in (False, True):
            policy = base.load_policy(replace(FP32, gradient_checkpointing=checkpointing), seed=0)
            policy.velocity(noise, torch.full((len(noise),), 0.6), condition).square().mean().backward()
            grads.append({name: parameter.grad for name, parameter in trained(policy).items()})
        without = [name for name, grad in grads[0].items() if grad is None or not grad.any()]
        assert len(without) <= 0.1 * len(grads[0]), without
        assert all(grad is None or self.close(grad, grads[1][name]) for name, grad in grads[0].items())

    def test_a_fresh_adapter_changes_nothing_and_only_it_is_trained(self, folder, policy, condition, noise):
        fresh = self.of(folder, lora=Lora(rank=2, alpha=6, targets=ATTENTION)).load_policy(FP32, seed=1)
        assert fresh.adapted
        assert torch.equal(self.velocity(fresh, noise, condition), self.velocity(policy, noise, condition))
        assert trained(fresh)
        assert all("lora_" in name for name in trained(fresh))

    def test_the_seed_decides_the_first_weights_of_an_adapter(self, folder):
        lora = Lora(rank=2, alpha=6, targets=ATTENTION)
        first, same, other = (trained(self.of(folder, lora=lora).load_policy(FP32, seed=n)) for n in (1, 1, 2))
        assert all(torch.equal(first[name], same[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_with_the_adapter_switched_off_it_is_the_base(self, policy, adapted, condition, noise):
        base = self.velocity(policy, noise, condition)
        assert not self.close(self.velocity(adapted, noise, condition), base)
        with adapted.without_adapter():
            assert torch.equal(self.velocity(adapted, noise, condition), base)
        assert not self.close(self.velocity(adapted, noise, condition), base)

    def test_a_saved_adapter_gives_the_plain_pipeline_our_pictures(self, folder, adapted, condition, noise, tmp_path):
        sigmas = shifted_sigmas(3, 3.0)
        adapted.save_adapter(tmp_path)
        pipeline = self.plain(folder)
        before = self.painted(pipeline, noise, sigmas, "pt")
        pipeline.load_lora_weights(tmp_path)
        ours = adapted.decode(self.sampled(adapted, condition, noise, sigmas))
        assert self.close(ours, self.painted(pipeline, noise, sigmas, "pt"))
        assert (ours - before).abs().max() > 0.01

    def test_a_merged_adapter_is_in_the_saved_model(self, folder, adapted, condition, noise, tmp_path):
        adapted.save(tmp_path / "merged")
        merged = self.of(tmp_path / "merged").load_policy(FP32, seed=0)
        assert self.close(self.velocity(merged, noise, condition), self.velocity(adapted, noise, condition))

    def test_without_an_adapter_there_is_none_to_save(self, policy, tmp_path):
        with pytest.raises(ValueError, match="Export the pipeline"):
            policy.save_adapter(tmp_path)
        assert not policy.adapted

    def test_a_target_that_no_layer_has_is_refused_beside_good_ones(self, folder):
        with pytest.raises(ValueError, match="policy.lora.targets.*got attn.too_k, which no layer"):
            self.of(folder, lora=Lora(rank=2, alpha=2, targets=("attn.to_q", "attn.too_k")))

    def test_the_first_weights_of_an_adapter_spread_by_one_over_its_rank(self, folder):
        fresh = self.of(folder, lora=Lora(rank=4, alpha=4, targets=ATTENTION)).load_policy(FP32, seed=1)
        first = torch.cat([p.detach().flatten() for name, p in trained(fresh).items() if "lora_A" in name])
        assert first.std() == pytest.approx(1 / 4, rel=0.1)
        assert not any(p.any() for name, p in trained(fresh).items() if "lora_B" in name)

    def test_in_bfloat16_weights_that_are_all_trained_are_fp32(self, base):
        policy = base.load_policy(replace(FP32, dtype=torch.bfloat16), seed=0)
        assert {parameter.dtype for parameter in policy.module.parameters()} == {torch.float32}
        assert {parameter.dtype for parameter in policy.decoder.parameters()} == {torch.bfloat16}

    def test_checkpointing_and_compilation_are_switched_on_where_they_are_asked_for(self, base, policy, monkeypatch):
        compiled = []
        kind = type(policy.module)
        monkeypatch.setattr(kind, "compile_repeated_blocks", lambda module, **how: compiled.append(how))
        asked = base.load_policy(replace(FP32, gradient_checkpointing=True, compile=True), seed=0)
        assert asked.module.gradient_checkpointing
        assert len(compiled) == 1
        base.load_policy(FP32, seed=0)
        assert not policy.module.gradient_checkpointing
        assert len(compiled) == 1

    def test_the_autoencoder_is_called_in_chunks(self, base, noise, monkeypatch):
        policy = base.load_policy(replace(FP32, decode_batch=2), seed=0)
        sizes, decode = [], policy.decoder.decode
        monkeypatch.setattr(
            policy.decoder, "decode", lambda part, **how: sizes.append(len(part)) or decode(part, **how)
        )
        policy.decode(noise)
        assert sizes == [2, 1]

    def test_a_policy_is_freed_as_soon_as_nobody_holds_it(self, base):
        gc.disable()
        try:
            policy = base.load_policy(FP32, seed=0)
            network = weakref.ref(policy.module)
            del policy
            assert network() is None
        finally:
            gc.enable()

    def test_in_bfloat16_what_is_trained_stays_in_fp32(self, folder, policy, condition, noise):
        lora = Lora(rank=2, alpha=6, targets=ATTENTION)
        lowered = replace(FP32, dtype=torch.bfloat16)
        coarse = self.of(folder, lora=lora).load_policy(lowered, seed=1)
        assert {parameter.dtype for parameter in trained(coarse).values()} == {torch.float32}
        frozen = [p for p in coarse.module.parameters() if not p.requires_grad]
        assert {parameter.dtype for parameter in frozen} == {torch.bfloat16}
        field, rows = VelocityField(coarse, 8, torch.bfloat16), torch.arange(len(noise))
        gap = field(noise, torch.full((len(noise),), 0.6), condition, rows) - self.velocity(policy, noise, condition)
        assert 0 < gap.abs().mean() < 0.05 * self.velocity(policy, noise, condition).std()

    def test_a_folder_of_another_model_is_refused(self, folder, tmp_path):
        with pytest.raises(ValueError, match="model_index.json is required"):
            self.of(tmp_path)
        index = (folder / "model_index.json").read_text().replace("Pipeline", "OtherPipeline")
        (tmp_path / "model_index.json").write_text(index)
        with pytest.raises(ValueError, match="is required, got a .*OtherPipeline"):
            self.of(tmp_path)
