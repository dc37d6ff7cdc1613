"""The policy of the shapes world: its protocol, its ends, and how good the shipped model is."""

from pathlib import Path

import pytest
import torch
from diffusers import FluxTransformer2DModel

from g2rpo.policies.protocol import Policy
from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.rewards.shapes import load_reward
from g2rpo.shapes.base import patchify, to_images, to_latents, unpatchify
from g2rpo.shapes.captions import captions
from g2rpo.shapes.shipped import shipped_weights
from g2rpo.shapes_build.figures import render_images, sample_images

TEXTS = (
    "a red circle",
    "two green squares",
    "a blue triangle left of a white circle",
    "a red square and a blue circle",
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return ShapesPolicy.load()


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(len(TEXTS), 16, 48, generator=torch.Generator().manual_seed(0))


def test_the_shipped_transformer_is_a_plain_diffusers_folder():
    folder = shipped_weights() / "base" / "transformer"
    transformer = FluxTransformer2DModel.from_pretrained(folder, dtype=torch.float16)
    assert {parameter.dtype for parameter in transformer.parameters()} == {torch.float16}
    assert 1.0e6 < sum(parameter.numel() for parameter in transformer.parameters()) < 1.1e6


def test_the_weights_are_small():
    assert sum(path.stat().st_size for path in shipped_weights().rglob("*") if path.is_file()) < 5_000_000


def test_a_saved_policy_is_loaded_bit_for_bit(policy: ShapesPolicy, noise: torch.Tensor, tmp_path: Path):
    policy.save(tmp_path)
    again = ShapesPolicy.load(tmp_path)
    condition, sigma = policy.encode(TEXTS), torch.full((len(TEXTS),), 0.5)
    assert all(torch.equal(x, y) for x, y in zip(policy.module.parameters(), again.module.parameters(), strict=True))
    with torch.no_grad():
        before = policy.velocity(noise, sigma, condition)
        after = again.velocity(noise, sigma, again.encode(TEXTS))
    assert torch.equal(before, after)


def test_a_folder_without_a_model_is_refused_with_a_remedy(tmp_path: Path):
    with pytest.raises(ValueError, match="g2rpo shapes build"):
        ShapesPolicy.load(tmp_path)


@torch.no_grad()
def test_velocity_does_not_depend_on_the_other_rows_of_the_batch(policy: ShapesPolicy, noise: torch.Tensor):
    condition, sigma = policy.encode(TEXTS), torch.tensor([1.0, 0.7, 0.3, 0.05])
    together = policy.velocity(noise, sigma, condition)
    for row in range(len(TEXTS)):
        alone = policy.velocity(noise[row : row + 1], sigma[row : row + 1], condition.take(torch.tensor([row])))
        assert torch.allclose(alone, together[row : row + 1], atol=1e-5)


@torch.no_grad()
def test_each_row_has_its_own_sigma(policy: ShapesPolicy, noise: torch.Tensor):
    condition, sigma = policy.encode(TEXTS), torch.full((len(TEXTS),), 0.5)
    even = policy.velocity(noise, sigma, condition)
    sigma[2] = 0.9
    uneven = policy.velocity(noise, sigma, condition)
    changed = (even - uneven).abs().amax(dim=(1, 2)) > 1e-3
    assert changed.tolist() == [False, False, True, False]


@torch.no_grad()
def test_the_transformer_is_given_the_exact_sigma(policy: ShapesPolicy, noise: torch.Tensor):
    condition = policy.encode(TEXTS)
    seen: list[torch.Tensor] = []
    hook = policy.module.time_text_embed.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    policy.velocity(noise, torch.tensor([1.0, 0.12345, 0.5, 0.0]), condition)
    hook.remove()
    assert seen[0].tolist() == pytest.approx([1000.0, 123.45, 500.0, 0.0], abs=1e-4)


@torch.no_grad()
def test_velocity_points_from_data_to_noise(policy: ShapesPolicy):
    texts = captions()[::8]
    data = to_latents(render_images(texts, seed=0))
    noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(1))
    for level in (0.3, 0.6, 0.9):
        sigma = torch.full((len(texts),), level)
        velocity = policy.velocity((1 - level) * data + level * noise, sigma, policy.encode(texts))
        error = (velocity - (noise - data)).square().mean()
        assert error < 0.15 * (noise - data).square().mean()


def test_only_the_transformer_is_trained(policy: ShapesPolicy, noise: torch.Tensor):
    condition = policy.encode(TEXTS)
    assert not any(tensor.requires_grad for tensor in condition.tensors.values())
    assert all(parameter.requires_grad for parameter in policy.module.parameters())
    velocity = policy.velocity(noise, torch.full((len(TEXTS),), 0.5), condition)
    assert velocity.requires_grad


def test_the_condition_is_eight_words_and_their_mean(policy: ShapesPolicy):
    tensors = policy.encode(TEXTS).tensors
    assert tensors["prompt_embeds"].shape == (4, 8, 48)
    assert torch.equal(tensors["pooled_prompt_embeds"], tensors["prompt_embeds"].mean(dim=1))


def test_the_order_of_the_words_is_told(policy: ShapesPolicy):
    texts = ("a red circle above a blue square", "a blue circle above a red square")
    tensors = policy.encode(texts).tensors
    assert not torch.allclose(tensors["prompt_embeds"][0, 1], tensors["prompt_embeds"][1, 5])
    assert not torch.allclose(tensors["prompt_embeds"][0], tensors["prompt_embeds"][1])


@pytest.mark.parametrize("text", ["a red dragon", "a red circle left of a blue square or so"])
def test_texts_that_it_cannot_read_are_refused(policy: ShapesPolicy, text: str):
    with pytest.raises(ValueError, match="shapes world"):
        policy.encode(["a red circle", text])


def test_patches_are_the_picture_cut_row_by_row():
    picture = torch.arange(3 * 16 * 16.0).reshape(1, 3, 16, 16)
    tokens = patchify(picture)
    assert torch.equal(unpatchify(tokens), picture)
    assert tokens[0, 6, 16 * 2 + 4 * 3 + 1] == picture[0, 2, 4 + 3, 8 + 1]


def test_decoding_inverts_the_latents_of_a_picture_and_clamps(policy: ShapesPolicy):
    picture = render_images(TEXTS, seed=0)
    assert torch.allclose(policy.decode(to_latents(picture)), picture, atol=1e-6)
    assert to_images(torch.full((1, 16, 48), 1.5)).max() == 1.0
    assert to_images(torch.full((1, 16, 48), -1.5)).min() == 0.0


@pytest.mark.long
def test_the_base_model_leaves_room_for_alignment(policy: ShapesPolicy):
    texts = captions("tuning") * 4
    images = sample_images(policy, texts, num_steps=8, shift=2.0, seed=11)
    strict = load_reward("rule_strict").score(images, texts).mean().item()
    soft = load_reward("rule_soft").score(images, texts).mean().item()
    assert 0.35 <= strict <= 0.45
    assert strict + 0.1 < soft < 0.85


def test_a_sample_does_not_depend_on_how_many_are_drawn(policy: ShapesPolicy):
    texts = captions("tuning")[:100]
    many = sample_images(policy, texts, num_steps=2, shift=2.0, seed=11)
    few = sample_images(policy, texts[:3], num_steps=2, shift=2.0, seed=11)
    assert torch.allclose(many[:3], few, atol=1e-5)
