import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from flops import flux1_flops
from memory import Footprint, bytes_of, fitting, footprint, peak, without_contents
from policy import Turn, main, utilisation
from policy_sides import Measured
from published_loop import Plan, published_loop
from random_policy import MODELS, Model, make_condition, make_policy, make_scorer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from g2rpo.policies.compute import Compute
from g2rpo.policies.protocol import Policy
from g2rpo.random_models.flux1 import flux1_tiny_config
from g2rpo.random_models.sd3 import sd3_tiny_config
from g2rpo.velocity import VelocityField

CPU = torch.device("cpu")
PAPER = Plan(num_steps=16, steps=tuple(range(8)), group_size=12, granularities=(1, 2, 3))
FAMILIES = ("flux1", "sd3")


def made(model: Model, dtype: torch.dtype, *, lora_rank: int) -> Policy:
    compute = Compute(
        CPU, dtype, decode_batch=1, gradient_checkpointing=True, attention="native", compile=False, quantise=None
    )
    return make_policy(model, compute, height=64, width=32, lora_rank=lora_rank)


@pytest.mark.parametrize(
    ("granularities", "published", "least"), [((1,), 1216, 1120), ((1, 2), 1792, 1552), ((1, 2, 3), 2188, 1828)]
)
def test_an_iteration_costs_both_sides_what_the_table_of_the_method_says(granularities, published, least):
    plan = replace(PAPER, granularities=granularities)
    assert plan.published == published
    assert plan.ours == least - 8, "the engine's anchor ends with the last of 8 branching steps, not after 16"
    assert plan.pictures == 96 * len(granularities)


def test_the_published_loop_makes_that_many_calls_of_one_row_and_every_picture_is_clean():
    target, seen = torch.tensor([[3.0, -1.0]]), []

    def towards_target(latents, sigma):
        seen.append((latents.shape[0], float(sigma)))
        return (latents - target) / sigma

    made = list(published_loop(towards_target, torch.ones(1, 2), PAPER, dtype=torch.bfloat16))
    assert len(made) == len(seen) == 2188
    assert {rows for rows, _ in seen} == {1}
    assert min(sigma for _, sigma in seen) > 0
    assert {latents.dtype for latents in made} == {torch.bfloat16}
    clean = [latents for latents in made if torch.allclose(latents.float(), target, atol=0.02)]
    assert len(clean) == PAPER.pictures + 1, "whatever the stride, and the anchor's own"


@pytest.mark.parametrize(
    "model",
    [
        MODELS["flux1", "tiny"],
        replace(MODELS["flux1", "tiny"], config=flux1_tiny_config(guidance=True) | {"num_layers": 1}),
        MODELS["sd3", "tiny"],
        replace(MODELS["sd3", "tiny"], config=sd3_tiny_config(dual_attention=False)),
    ],
    ids=["flux1", "flux1 of one double block", "sd3.5", "sd3"],
)
def test_the_operations_of_a_row_are_those_that_torch_counts(model):
    policy, rows = made(model, torch.float32, lora_rank=0), 3
    condition = make_condition(model, rows, device=CPU, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        policy.velocity(torch.randn(rows, *policy.latent_shape), torch.rand(rows), condition)
    assert counter.get_total_flops() == rows * policy.num_forwards * model.flops(64, 32)


def test_the_operations_of_the_real_models():
    """By hand for FLUX: 19 (24 squares of 3072 a token + 24 once + attention) + 38 (24 + 6 once + attention) + ends."""
    tokens, square = 2025 + 512, 3072**2
    blocks = 57 * (24 * square * tokens + 4 * tokens**2 * 3072) + (19 * 24 + 38 * 6) * square
    ends = 2 * 3072 * (2 * 2025 * 64 + 512 * 4096)
    once = 2 * (2 * 256 * 3072 + 2 * square) + 2 * 768 * 3072 + 2 * square + 4 * square
    assert MODELS["flux1", "12b"].flops(720, 720) == blocks + ends + once
    assert MODELS["flux1", "12b"].flops(720, 720) == pytest.approx(37.3e12, rel=2e-3)
    assert MODELS["sd3", "2.5b"].flops(1024, 1024) == pytest.approx(11.25e12, rel=2e-3)
    told = MODELS["flux1", "12b"].config | {"guidance_embeds": False}
    without = flux1_flops(told, image_tokens=2025, text_tokens=512)
    assert blocks + ends + once - without == 2 * 256 * 3072 + 2 * square


@pytest.mark.parametrize(("family", "lora_rank"), [("flux1", 4), pytest.param("sd3", 0, marks=pytest.mark.slow)])
def test_the_memory_model_counts_what_the_networks_hold_and_what_their_calls_allocate(family, lora_rank):
    model = MODELS[family, "tiny"]
    found = footprint(model, height=64, width=32, dtype=torch.bfloat16, lora_rank=lora_rank)
    policy = made(model, torch.bfloat16, lora_rank=lora_rank)
    trained, whole = bytes_of(policy.module, trained=True), bytes_of(policy.module)
    assert found.transformer + found.adapter == whole
    assert (found.adapter, found.base) == ((trained, 0) if lora_rank else (0, whole))
    assert (found.gradient, found.moments) == (trained, 2 * trained)
    assert found.decoder == bytes_of(policy.decoder)
    assert found.scorer == bytes_of(make_scorer(model, device=CPU).module)

    field, rows = VelocityField(policy, 2, torch.bfloat16), 2
    condition = make_condition(model, rows, device=CPU, dtype=torch.bfloat16)
    inputs = torch.randn(rows, *policy.latent_shape), torch.rand(rows), condition
    field(*inputs, torch.arange(rows))
    given = sum(t.numel() * t.element_size() for t in (*inputs[:2], *condition.tensors.values(), torch.arange(rows)))
    real = peak(lambda: field(*inputs, torch.arange(rows))) + given
    assert found.call[0] + rows * found.call[1] == pytest.approx(real, rel=0.02)
    field.with_gradient(*inputs).square().mean().backward()
    real = peak(lambda: field.with_gradient(*inputs).square().mean().backward()) + given
    assert found.site[0] + rows * found.site[1] == pytest.approx(real, rel=0.02)


def test_a_double_block_of_flux_weighs_what_its_layers_do():
    """Two streams, each: modulation 6, q, k, v, out 4, feed-forward 8 squares of the width; 15 biases; two norms."""
    model, meta = MODELS["flux1", "12b"], torch.device("meta")
    one, two = (
        bytes_of(without_contents(model.transformer, config, seed=0, device=meta, dtype=torch.bfloat16))
        for config in (model.config | {"num_layers": layers, "num_single_layers": 1} for layers in (1, 2))
    )
    assert two - one == 2 * 2 * (18 * 3072**2 + 15 * 3072 + 2 * 128)


def test_a_card_holds_what_has_room_beside_what_is_reserved():
    billion = 10**9
    found = Footprint(
        transformer=20 * billion,
        adapter=0,
        gradient=0,
        moments=billion,
        base=0,
        decoder=0,
        scorer=4 * billion,
        call=(0, billion // 10),
        site=(billion // 2, 2 * billion),
        picture=billion,
        scored=0,
    )
    assert fitting(found, 24) == {
        "keep": {"rollout and completion": 0, "decode and score": 0, "update": 0},
        "offload": {"rollout and completion": 4, "decode and score": 16, "update": 0},
    }
    assert fitting(found, 48)["keep"] == {"rollout and completion": 64, "decode and score": 16, "update": 8}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_the_benchmark_runs_tiny_and_its_last_line_counts_both_sides(family, capsys):
    plan = ["--num-steps", "6", "--steps", "0..2", "--group-size", "3", "--granularities", "1,2", "--prompts", "2"]
    quick = ["--turns", "1", "--seconds", "0.1", "--matmul-seconds", "0.01", "--pictures", "4", "--micro-batch", "8,32"]
    result = main(["--policy", family, "--size", "tiny", "--random", "--device", "cpu", *plan, *quick])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last == json.loads(json.dumps(result))
    rows = 2 if family == "sd3" else 1
    # T = 6, from k+1 = 1, 2, 3: stride 2 by our rule adds nodes {4}, {5}, {} to those of stride 1; theirs has 3, 2, 2
    assert last["evaluations_engine"] == rows * (3 + 3 * ((5 + 1) + (4 + 1) + 3))
    assert last["evaluations_published"] == rows * (6 + 3 * (3 + (5 + 3) + (4 + 2) + (3 + 2)))
    assert list(last["phases"]) == ["rollout", "completion", "decode", "score", "update"]
    assert last["published"]["calls_timed"] >= 16
    assert last["published"]["extrapolated"] == (last["published"]["calls_timed"] < last["published"]["calls_a_prompt"])
    assert min(last["ratio_evaluations"], last["ratio_iteration"], last["matmul_tflops"]) > 0


@pytest.mark.parametrize(("adapted", "work"), [(True, 28), (False, 40)])
def test_an_adapter_is_not_charged_with_the_gradient_of_what_is_frozen(adapted, work):
    """2 prompts at 3 steps, two rows a velocity: 3 a site are counted and the base at 2 of the 6, 2 a site are done."""
    sides = SimpleNamespace(
        policy=SimpleNamespace(adapted=adapted, num_forwards=2),
        plan=SimpleNamespace(steps=(0, 1, 2)),
        args=SimpleNamespace(prompts=2, height=8, width=8),
        model=SimpleNamespace(flops=lambda height, width: 10),
    )
    measured = Measured(seconds=2.0, peak=0, evaluations=2 * (3 * 6 + 2))
    found = Turn(5.0, {"update": measured, "rollout": measured}, {}, {}, calls=0, published_peak=0)
    assert utilisation(sides, found, "update") == work * 10 / 2 / 5
    assert utilisation(sides, found, "rollout") == 40 * 10 / 2 / 5


def test_a_size_that_a_family_has_not_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--policy", "sd3", "--size", "12b", "--random"])
    assert "--size: one of 2.5b, tiny is required, got 12b" in capsys.readouterr().err
