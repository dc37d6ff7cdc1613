"""Frozen weights in 8 bits: the layer, whole models with an adapter, and what fits a GPU."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from policy_kit_base import FP32, TEXTS, switch_on, trained
from random_bases import random_model
from safetensors.torch import load_file
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode

from g2rpo.policies.adapter import Lora
from g2rpo.policies.loading import pretrained
from g2rpo.policies.memory_fit import held_bytes, refuse_too_large, transformer_bytes
from g2rpo.policies.quantise import Int8Linear, quantisable, quantise
from g2rpo.random_models import flux1_dev_config, sd35_medium_config
from g2rpo.velocity import VelocityField

pytestmark = pytest.mark.long

ADAPTED = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "ff.net.0.proj", "ff.net.2")
LORA = Lora(rank=2, alpha=6, targets=ADAPTED)
INT8 = replace(FP32, quantise="int8")
SIZE = {"height": 64, "width": 32, "max_sequence_length": 77}
SETTINGS = {
    "flux1": ("flux1", {**SIZE, "guidance": 3.5}),
    "sd3.5": ("sd3", {**SIZE, "guidance": 4.5, "negative_prompt": ""}),
}


def meant(layer):
    """The weights that an 8-bit layer stands for, in the dtype that they had."""
    return layer.weight.to(layer.scale.dtype) * layer.scale[:, None]


def a_layer(inputs=24, outputs=10, dtype=torch.float32, bias=True):
    torch.manual_seed(0)
    return torch.nn.Linear(inputs, outputs, bias=bias, dtype=dtype).requires_grad_(False)


def test_the_largest_of_a_row_is_127_and_the_rest_is_rounded():
    layer = a_layer(3, 2)
    layer.weight.data = torch.tensor([[2.54, -1.0, 0.013], [-0.5, 0.25, 0.0]])
    held = Int8Linear(layer)
    assert held.weight.tolist() == [[127, -50, 1], [-127, 64, 0]]  # 63.5 goes to the even 64
    assert torch.allclose(held.scale, torch.tensor([2.54 / 127, 0.5 / 127]))


def test_a_row_of_zeros_stays_one():
    layer = a_layer()
    layer.weight.data[3] = 0.0
    assert not meant(Int8Linear(layer))[3].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_weight_is_off_by_more_than_half_a_scale(dtype):
    layer = a_layer(200, 50, dtype)
    held = Int8Linear(layer)
    meant = held.weight.float() * held.scale.float()[:, None]
    off = (meant - layer.weight.float()).abs() / held.scale.float()[:, None]
    # in bfloat16 the rounding of the scale adds at most 127 / 256 of one to the largest of a row
    assert off.max() <= (0.5001 if dtype is torch.float32 else 1.0)
    assert 0.2 < off.mean() < 0.3  # even on [0, 1/2]


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_and_its_gradient_are_those_of_the_dequantised_weights(bias):
    layer = a_layer(dtype=torch.float64, bias=bias)
    held, x = Int8Linear(layer), torch.randn(2, 3, 24, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(held(x), linear(x, meant(held), layer.bias), atol=1e-12)
    assert torch.autograd.gradcheck(held, (x,))


def test_under_autocast_it_computes_in_what_a_plain_layer_would():
    layer, x = a_layer(dtype=torch.bfloat16), torch.randn(4, 24, requires_grad=True)
    held = Int8Linear(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, ours = layer(x), held(x)
    assert ours.dtype is plain.dtype is torch.bfloat16
    exact = linear(x.bfloat16().float(), held.weight.float() * held.scale.float()[:, None], layer.bias.float())
    assert torch.allclose(ours.float(), exact, atol=0.01, rtol=0.01)
    ours.float().sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is torch.float32
    meant = (held.weight.float() * held.scale.float()[:, None]).sum(0)
    assert torch.allclose(x.grad, meant.expand_as(x), atol=0.01)


def test_nothing_wider_than_8_bits_is_kept_for_the_backward_pass():
    kept = []
    held, x = Int8Linear(a_layer(256, 256, torch.bfloat16)), torch.randn(4, 256, requires_grad=True)
    noted = torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t)
    with noted, torch.autocast("cpu", dtype=torch.bfloat16):
        held(x)
    assert sum(kept) == 256 * 256 + 256 * 2


class Made(TorchDispatchMode):
    """Notes the dtypes in which operations make something of a shape."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.dtypes = shape, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.shape == self.shape:
            self.dtypes.add(made.dtype)
        return made


def test_the_weights_are_never_made_wider_than_what_is_computed_in():
    held, x = Int8Linear(a_layer(20, 30, torch.bfloat16)), torch.randn(4, 20, requires_grad=True)
    with Made((30, 20)) as made, torch.autocast("cpu", dtype=torch.bfloat16):
        held(x).sum().backward()
    assert made.dtypes == {torch.bfloat16}


def gradients(policy, noise, condition):
    for parameter in trained(policy).values():
        parameter.grad = None
    velocity = policy.velocity(noise, torch.tensor([0.6, 0.3]), condition)
    velocity.square().mean().backward()
    return velocity.detach(), {name: parameter.grad.clone() for name, parameter in trained(policy).items()}


def distance(one, other):
    """Of two sets of gradients, relative to their size."""
    square = sum((one[name] - other[name]).square().sum() for name in other)
    return float((square / sum(grad.square().sum() for grad in other.values())).sqrt())


def dequantised(policy):
    """The same policy with plain layers of the weights that are meant."""
    for name in quantisable(policy.module):
        held = policy.module.get_submodule(name)
        if isinstance(held, Int8Linear):
            plain = torch.nn.Linear(held.in_features, held.out_features, bias=held.bias is not None, device="meta")
            plain.weight = torch.nn.Parameter(meant(held), requires_grad=False)
            plain.bias = held.bias
            policy.module.set_submodule(name, plain)
    return policy


@pytest.fixture(scope="module", params=SETTINGS)
def load(request):
    """Makes the policy of a family, one for each way of computing; a fresh one may be changed."""
    family, settings = SETTINGS[request.param]
    base = pretrained(family, random_model(request.param), {**settings, "lora": LORA})

    def fresh(compute=INT8, *, moved=True):
        policy = base.load_policy(compute, seed=1)
        if moved:
            switch_on(policy)
        return policy

    kept = cache(fresh)
    kept.base, kept.fresh = base, fresh
    return kept


@pytest.fixture(scope="module")
def condition(load):
    encoder = load.base.load_encoder(FP32)
    condition = encoder.encode(TEXTS[:2])
    negative = load.base.negative_text
    return replace(condition, shared={} if negative is None else encoder.encode([negative]).tensors)


@pytest.fixture(scope="module")
def noise(load):
    return torch.randn(2, *load(moved=False).latent_shape, generator=torch.Generator().manual_seed(3))


class TestModels:
    def test_layers_of_the_blocks_are_held_in_8_bits_and_nothing_else(self, load):
        network = load().module
        held = {n.removesuffix(".base_layer") for n, m in network.named_modules() if isinstance(m, Int8Linear)}
        linears = {n for n, m in network.named_modules() if isinstance(m, torch.nn.Linear) and "lora_" not in n}
        plain = {n for n in linears if n.removesuffix(".base_layer") not in held}
        assert all(n.split(".")[0] in ("transformer_blocks", "single_transformer_blocks") for n in held)
        assert {n.split(".")[0] for n in plain} >= {"context_embedder", "time_text_embed", "proj_out"}
        assert all("norm" in n for n in plain if "transformer_blocks" in n)
        frozen = {n: p for n, p in network.named_parameters() if not p.requires_grad}
        assert {p.dtype for n, p in frozen.items() if p.dtype is not torch.int8} == {torch.float32}

    def test_velocity_and_gradient_are_those_of_the_dequantised_network(self, load, noise, condition):
        velocity, grads = gradients(load(), noise, condition)
        meant, expected = gradients(dequantised(load.fresh()), noise, condition)
        assert torch.allclose(velocity, meant, atol=1e-5)
        assert distance(grads, expected) < 1e-5

    def test_they_are_near_those_of_the_unquantised_network(self, load, noise, condition):
        velocity, grads = gradients(load(), noise, condition)
        exact, expected = gradients(load(FP32), noise, condition)
        assert 0 < (velocity - exact).norm() / exact.norm() < 0.01
        assert 0 < distance(grads, expected) < 0.03

    def test_checkpointing_changes_no_gradient(self, load, noise, condition):
        _, grads = gradients(load(), noise, condition)
        _, again = gradients(load(replace(INT8, gradient_checkpointing=True)), noise, condition)
        assert all(torch.equal(grads[n], again[n]) for n in grads)

    def test_with_the_adapter_off_it_is_the_quantised_base(self, load, noise, condition):
        policy, fresh = load(), load(moved=False)
        sigma = torch.tensor([0.6, 0.3])
        with torch.no_grad():
            base = fresh.velocity(noise, sigma, condition)
            assert not torch.allclose(policy.velocity(noise, sigma, condition), base, atol=1e-3)
            with policy.without_adapter():
                assert torch.equal(policy.velocity(noise, sigma, condition), base)

    def test_loaded_again_it_is_the_same_bit_for_bit(self, load):
        first, second = load().module.state_dict(), load.fresh().module.state_dict()
        assert first.keys() == second.keys()
        assert all(torch.equal(first[n], second[n]) for n in first)

    def test_in_bfloat16_it_is_as_near_as_without_quantising(self, load, noise, condition):
        sigma, rows = torch.tensor([0.6, 0.3]), torch.arange(2)
        exact = VelocityField(load(FP32), 2)(noise, sigma, condition, rows)
        gaps = []
        for how in (None, "int8"):
            policy = load(replace(FP32, dtype=torch.bfloat16, gradient_checkpointing=True, quantise=how))
            field = VelocityField(policy, 2, torch.bfloat16)
            gaps.append((field(noise, sigma, condition, rows) - exact).norm() / exact.norm())
            field.with_gradient(noise, sigma, condition).square().mean().backward()
            assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in trained(policy).values())
        assert gaps[1] < 2 * gaps[0] < 0.1

    def test_all_of_it_moves_with_the_network(self, load):
        network = torch.nn.Module.to(load.fresh().module, "meta")
        scales = [m.scale for m in network.modules() if isinstance(m, Int8Linear)]
        assert {t.device.type for t in (*network.parameters(), *network.buffers(), *scales)} == {"meta"}

    def test_what_is_saved_is_what_the_same_adapter_gives_unquantised(self, load, tmp_path):
        for name, compute in (("int8", INT8), ("plain", FP32)):
            policy = load.fresh(compute)
            policy.save(tmp_path / name)
            policy.save_adapter(tmp_path / name / "lora")
        for file in ("transformer/diffusion_pytorch_model.safetensors", "lora/pytorch_lora_weights.safetensors"):
            ours, plain = load_file(tmp_path / "int8" / file), load_file(tmp_path / "plain" / file)
            assert ours.keys() == plain.keys()
            assert all(torch.equal(ours[n], plain[n]) for n in plain)

    def test_the_bytes_are_known_before_loading(self, load):
        of = load.base.folder
        for compute in (FP32, INT8, replace(INT8, dtype=torch.bfloat16)):
            policy = load(compute, moved=False)
            adapter = sum(4 * p.numel() for p in trained(policy).values())
            counted = transformer_bytes(of, type(policy.module), compute, adapted=True)
            assert counted == held_bytes(policy.module) - adapter
        weights = sum(p.numel() for p in policy.module.parameters()) - adapter // 4
        assert transformer_bytes(of, type(policy.module), FP32, adapted=False) > 15.9 * weights


@pytest.mark.parametrize(
    ("kind", "config", "plain", "int8"),
    [
        ("FluxTransformer2DModel", flux1_dev_config(), 23.8e9, 15.2e9),
        pytest.param("SD3Transformer2DModel", sd35_medium_config(), 4.94e9, 3.48e9, marks=pytest.mark.slow),
    ],
)
def test_published_models_take_two_thirds(kind, config, plain, int8):
    import diffusers

    with torch.device("meta"):
        network = getattr(diffusers, kind).from_config(config).bfloat16()
    assert held_bytes(network) == pytest.approx(plain, rel=0.01)
    quantise(network)
    assert held_bytes(network) == pytest.approx(int8, rel=0.01)


@pytest.mark.parametrize(
    ("needed", "adapted", "quantised", "message"),
    [
        (190.4e9, False, False, r"at least 190.4 GB is required.*16 bytes per weight.*got one of 25.4 GB. Train an ad"),
        (25.5e9, True, False, r"at least 25.5 GB is required.*Set resources.quantise to int8, or"),
        (25.5e9, True, True, r"held in 8 bits, take that .* Take a larger GPU"),
    ],
)
def test_a_transformer_larger_than_the_gpu_is_refused_with_a_remedy(needed, adapted, quantised, message):
    with pytest.raises(ValueError, match=message):
        refuse_too_large(int(needed), int(25.4e9), adapted=adapted, quantised=quantised)


def test_one_that_fits_is_not_refused():
    refuse_too_large(int(15.2e9), int(25.4e9), adapted=True, quantised=True)
