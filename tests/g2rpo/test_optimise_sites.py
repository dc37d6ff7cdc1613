"""The update where sites differ in how many steps left them, and where a pass is several optimizer steps."""

import dataclasses

import pytest
import torch
import update_rules
from linear_policy import LinearPolicy
from update_rules import SIGMAS

from g2rpo.optimise import Sites, old_log_probs, optimise
from g2rpo.sampler import branch, branch_transition
from g2rpo.sde import Transition, log_prob
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField

STEP = (0, 1, 1, 2, 3, 3)
LEFT_BY = (4, 1, 1, 3, 1, 2)
"""Stochastic steps that left each of the six sites: shared ones have a group, others a branch each."""
PROMPT = (0, 0, 1, 1, 1, 1)


def rule(**changes):
    return update_rules.rule(**{"sde": "dance", "eta": 0.5} | changes)


def a_round(policy):
    generator = torch.Generator().manual_seed(0)
    step, site = torch.tensor(STEP), torch.arange(6).repeat_interleave(torch.tensor(LEFT_BY))
    latents, condition, rows = torch.randn(6, 3, generator=generator), policy.encode(["0", "1"]), torch.tensor(PROMPT)
    velocity = VelocityField(policy, 100)(latents, SIGMAS.float()[step], condition, rows)
    eps = torch.randn(len(site), 3, generator=generator)
    went = branch(latents[site], velocity[site], eps, step=step[site], sigmas=SIGMAS, sde="dance", eta=0.5)
    advantage = torch.randn(len(site), generator=generator)
    sites = Sites(
        latents=latents,
        step=step,
        rows=rows,
        condition=condition,
        site=site,
        next_latents=went.next_latents,
        advantage=advantage,
    )
    return sites, went.log_prob


@dataclasses.dataclass
class Learned:
    reports: list
    fixed: torch.Tensor
    field: VelocityField
    base: VelocityField
    gradients: list


def learn(how, *, weight=0.5, learning_rate=1e-12, base_weight=0.4):
    policy = LinearPolicy(weight)
    sites, rolled_out = a_round(policy)
    trainer, gradients = Trainer(policy.module, OptimizerSettings(learning_rate, (0.9, 0.999), 0.0, 1e9, None)), []
    trainer._optimizer.register_step_pre_hook(lambda *_: gradients.append(float(policy.module.weight.grad)))
    field, base = VelocityField(policy, 100), VelocityField(LinearPolicy(base_weight), 100)
    fixed = old_log_probs(field, sites, how)
    reports = list(optimise(field, base, trainer, sites=sites, log_prob_old=fixed, rule=how))
    return Learned(reports, fixed, field, base, gradients), sites, rolled_out


def gradient_by_definition(sites, chosen):
    """Of the surrogate at ratio 1, -mean A log p over the stochastic steps that left the chosen sites."""
    policy, terms = LinearPolicy(), []
    for m in range(len(sites.site)):
        n = int(sites.site[m])
        if n in chosen:
            step = sites.step[n : n + 1]
            x, prompt = sites.latents[n : n + 1], sites.condition.take(sites.rows[n : n + 1])
            v = policy.velocity(x, SIGMAS.float()[step], prompt)
            law = branch_transition(x, v, step=step, sigmas=SIGMAS, sde="dance", eta=0.5)
            terms.append(
                -sites.advantage[m] * log_prob(sites.next_latents[m : m + 1], Transition(law.mean, law.std))[0]
            )
    torch.stack(terms).mean().backward()
    return float(policy.module.weight.grad)


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 100])
def test_every_stochastic_step_weighs_the_same_however_many_share_its_site(micro_batch):
    learned, sites, _ = learn(rule(micro_batch=micro_batch))
    assert learned.gradients == pytest.approx([gradient_by_definition(sites, range(6))], rel=1e-4)
    assert learned.reports[0].loss == pytest.approx(-float(sites.advantage.mean()), abs=1e-6)


def test_minibatches_hold_whole_prompts_in_their_order():
    learned, sites, _ = learn(rule(num_minibatches=2, micro_batch=1))
    shares = [tuple(n for n in range(6) if PROMPT[n] == prompt) for prompt in (0, 1)]
    assert learned.gradients == pytest.approx([gradient_by_definition(sites, share) for share in shares], rel=1e-4)
    means = [-float(sites.advantage[torch.isin(sites.site, torch.tensor(share))].mean()) for share in shares]
    assert [report.loss for report in learned.reports] == pytest.approx(means, abs=1e-6)


def test_cadence_step_takes_the_sites_of_each_k_together():
    learned, sites, _ = learn(rule(cadence="step"))
    shares = [(0,), (1, 2), (3,), (4, 5)]
    assert learned.gradients == pytest.approx([gradient_by_definition(sites, share) for share in shares], rel=1e-4)


@pytest.mark.parametrize(
    "how", [{"num_minibatches": 2}, {"cadence": "step"}, {"num_epochs": 2}, {"num_minibatches": 2, "num_epochs": 2}]
)
def test_old_log_probs_are_those_of_the_policy_before_the_first_step_whatever_the_weights_did_since(how):
    learned, _, rolled_out = learn(rule(micro_batch=2, **how), learning_rate=0.05)
    torch.testing.assert_close(learned.fixed, rolled_out, rtol=0, atol=1e-5)
    assert learned.reports[0].ratio_min == learned.reports[0].ratio_max == 1.0
    assert all(abs(report.ratio_mean - 1) > 1e-4 for report in learned.reports[1:])


def test_only_what_the_first_step_does_not_see_is_evaluated_before_it():
    policy = LinearPolicy()
    sites, rolled_out = a_round(policy)
    field = VelocityField(policy, 100)
    fixed = old_log_probs(field, sites, rule(num_minibatches=2))
    first = [n for n in range(6) if PROMPT[n] == 0]
    seen_by_first = torch.isin(sites.site, torch.tensor(first))
    assert torch.isnan(fixed).equal(seen_by_first)
    torch.testing.assert_close(fixed[~seen_by_first], rolled_out[~seen_by_first], rtol=0, atol=1e-5)
    assert field.evaluations == 6 - len(first)
    assert torch.isnan(old_log_probs(field, sites, rule(num_epochs=3))).all()


@pytest.mark.parametrize(
    ("how", "learning", "base_evaluations"),
    [
        ({}, 3 * 6, 6),
        ({"micro_batch": 2}, 3 * 6, 2),  # the first of three micro-batches
        ({"micro_batch": 2, "kl_weight": 0.1}, 3 * 6, 6),
        ({"num_minibatches": 2, "micro_batch": 2}, 3 * 6 + 4, 2 + 2),  # four sites are evaluated before the first step
        ({"num_minibatches": 2, "num_epochs": 2, "micro_batch": 2}, 2 * 3 * 6 + 4, 2 * (2 + 2)),
        ({"cadence": "step", "micro_batch": 1}, 3 * 6 + 5, 4),
        ({"cadence": "step", "micro_batch": 1, "kl_weight": 0.1}, 3 * 6 + 5, 6),
    ],
)
def test_evaluations_of_an_update(how, learning, base_evaluations):
    learned, _, _ = learn(rule(**how))
    assert (learned.field.evaluations, learned.base.evaluations) == (learning, base_evaluations)


def kl_by_definition(sites, chosen):
    """Mean of (difference of the means)^2 / (2 std^2) of policy w = 0.5 and base w = 0.4, over steps that left sites.

    The means differ by dt (1 + (1 - sigma) eta^2 / (2 sigma)) (0.5 - 0.4) x, and std^2 = -eta^2 dt.
    """
    levels, found = SIGMAS.tolist(), []
    for n in chosen:
        sigma, dt = levels[STEP[n]], levels[STEP[n] + 1] - levels[STEP[n]]
        apart = dt * (1 + (1 - sigma) * 0.25 / (2 * sigma)) * 0.1 * sites.latents[n]
        found += [float(apart.square().mean()) / (2 * 0.25 * -dt)] * int((sites.site == n).sum())
    return sum(found) / len(found)


def test_the_kl_is_the_mean_over_the_steps_that_left_the_sites_where_it_is_measured():
    learned, sites, _ = learn(rule(micro_batch=2))
    assert learned.reports[0].kl == pytest.approx(kl_by_definition(sites, (0, 1)), rel=1e-4)
    learned, sites, _ = learn(rule(micro_batch=4, kl_weight=2.0))
    whole = kl_by_definition(sites, range(6))
    assert learned.reports[0].kl == pytest.approx(whole, rel=1e-4)
    assert learned.reports[0].loss == pytest.approx(2 * whole - float(sites.advantage.mean()), rel=1e-4)


def test_a_velocity_that_is_no_number_is_told_before_any_weight_changes():
    policy = LinearPolicy()
    sites, _ = a_round(policy)
    broken = dataclasses.replace(sites, latents=sites.latents * float("nan"))
    before = float(policy.module.weight.detach())
    trainer = Trainer(policy.module, OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1e9, None))
    field, how = VelocityField(policy, 100), rule()
    fixed = old_log_probs(field, broken, how)
    with pytest.raises(FloatingPointError, match="Log-probabilities must be finite"):
        list(optimise(field, field, trainer, sites=broken, log_prob_old=fixed, rule=how))
    assert float(policy.module.weight.detach()) == before


def test_a_kl_that_weighs_nothing_changes_no_gradient():
    for how in ({"micro_batch": 2}, {"num_minibatches": 2}):
        near, far = (learn(rule(**how), base_weight=weight)[0].gradients for weight in (0.5, 3.0))
        assert near == far
