import dataclasses

import pytest
import torch
from linear_policy import LinearPolicy
from update_rules import SIGMAS, rule

from g2rpo.optimise import Sites, old_log_probs, optimise
from g2rpo.sampler import branch
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField

STEPS = (0, 1, 2)
GROUP = 4


def a_round(policy, num_prompts=2):
    """Sites of a small round, with advantages that reward large latents."""
    field = VelocityField(policy, 100)
    generator = torch.Generator().manual_seed(0)
    condition = policy.encode([str(p) for p in range(num_prompts)])
    rows = torch.tensor([p for p in range(num_prompts) for _ in STEPS])
    step = torch.tensor(list(STEPS) * num_prompts)
    latents = torch.randn(len(rows), 3, generator=generator)
    velocity = field(latents, SIGMAS.float()[step], condition, rows)
    eps = torch.randn(len(rows) * GROUP, 3, generator=generator)
    branched = branch(
        latents.repeat_interleave(GROUP, 0),
        velocity.repeat_interleave(GROUP, 0),
        eps,
        step=step.repeat_interleave(GROUP),
        sigmas=SIGMAS,
        sde="flow",
        eta=0.7,
    )
    goodness = branched.next_latents.unflatten(0, (-1, GROUP)).mean(dim=2)
    advantage = (goodness - goodness.mean(1, keepdim=True)) / goodness.std(1, keepdim=True)
    sites = Sites(
        latents=latents,
        step=step,
        rows=rows,
        condition=condition,
        site=torch.arange(len(rows)).repeat_interleave(GROUP),
        next_latents=branched.next_latents,
        advantage=advantage.flatten(),
    )
    return sites, branched.log_prob


def trainer_of(policy, learning_rate=1e-2):
    return Trainer(policy.module, OptimizerSettings(learning_rate, (0.9, 0.999), 0.0, 1e9, None))


def run(policy, sites, how, old=None, base_weight=0.5):
    field, base = VelocityField(policy, 100), VelocityField(LinearPolicy(base_weight), 100)
    fixed = old_log_probs(field, sites, how) if old is None else old
    return list(optimise(field, base, trainer_of(policy), sites=sites, log_prob_old=fixed, rule=how)), field


def test_old_log_probs_agree_with_those_of_the_rollout():
    policy = LinearPolicy()
    sites, rolled_out = a_round(policy)
    how = rule(micro_batch=2)
    fixed = old_log_probs(VelocityField(policy, 2), sites, how)
    run(policy, sites, how, old=fixed)
    torch.testing.assert_close(fixed, rolled_out, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cadence", ["iteration", "step"])
def test_the_first_ratio_is_one_and_later_ones_are_not(cadence):
    policy = LinearPolicy()
    sites, _ = a_round(policy)
    reports, _ = run(policy, sites, rule(cadence=cadence, num_epochs=2))
    assert (reports[0].ratio_min, reports[0].ratio_max, reports[0].clip_frac) == (1.0, 1.0, 0.0)
    assert reports[-1].ratio_min < 1 - 1e-4
    assert reports[-1].ratio_max > 1 + 1e-4
    assert reports[-1].clip_frac > 0


def test_cadence_iteration_takes_one_step_a_pass_and_cadence_step_one_for_each_k():
    for cadence, steps in (("iteration", 2), ("step", 2 * len(STEPS))):
        policy = LinearPolicy()
        sites, _ = a_round(policy)
        reports, _ = run(policy, sites, rule(cadence=cadence, num_epochs=2))
        assert len(reports) == steps


def test_one_forward_serves_a_whole_group():
    policy = LinearPolicy()
    sites, _ = a_round(policy)
    policy.calls.clear()
    _, field = run(policy, sites, rule())
    assert policy.calls == [
        6
    ]  # 24 branches; what the step sees before it changes a weight are the old log-probabilities
    assert field.evaluations == 3 * 6


def test_the_update_makes_good_branches_likelier():
    policy = LinearPolicy()
    sites, rolled_out = a_round(policy)
    before, after = torch.full_like(rolled_out, torch.nan), torch.full_like(rolled_out, torch.nan)
    run(policy, sites, rule(), old=before)
    run(policy, sites, rule(), old=after)
    assert float(((after - before) * sites.advantage).mean()) > 0


def test_the_loss_is_minus_the_mean_advantage_on_policy():
    policy = LinearPolicy()
    sites, _ = a_round(policy)
    sites = dataclasses.replace(sites, advantage=sites.advantage + 0.25)
    reports, _ = run(policy, sites, rule())
    assert reports[0].loss == pytest.approx(-0.25, abs=1e-6)


def gradients(how):
    """The gradient of each optimizer step of a pass, at one and the same weight."""
    policy = LinearPolicy()
    sites, _ = a_round(policy)
    frozen, seen = trainer_of(policy, learning_rate=1e-12), []
    frozen._optimizer.register_step_pre_hook(lambda *_: seen.append(policy.module.weight.grad.clone()))
    field, base = VelocityField(policy, 100), VelocityField(LinearPolicy(), 100)
    fixed = old_log_probs(field, sites, how)
    list(optimise(field, base, frozen, sites=sites, log_prob_old=fixed, rule=how))
    return torch.stack(seen)


def test_cadence_iteration_divides_by_the_number_of_steps_and_cadence_step_does_not():
    """At equal weights the gradient of `iteration` is the mean over k of the gradients that `step` takes."""
    by_iteration, by_step = gradients(rule()), gradients(rule(cadence="step"))
    assert len(by_step) == len(STEPS)
    torch.testing.assert_close(by_iteration[0], by_step.mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_micro_batches_accumulate_the_same_gradient(micro_batch):
    torch.testing.assert_close(gradients(rule(micro_batch=micro_batch)), gradients(rule()), rtol=1e-4, atol=1e-6)


def test_kl_is_zero_at_the_base_and_pulls_back_to_it():
    policy = LinearPolicy()
    sites, _ = a_round(policy)
    reports, _ = run(policy, sites, rule())
    assert reports[0].kl == 0.0
    away = LinearPolicy(0.9)
    sites, _ = a_round(away)
    still = dataclasses.replace(sites, advantage=torch.zeros_like(sites.advantage))
    reports, _ = run(away, still, rule(kl_weight=1.0))
    assert reports[0].kl > 0
    assert reports[0].loss == pytest.approx(reports[0].kl)
    assert float(away.module.weight.detach()) < 0.9


def test_log_probs_of_another_policy_are_refused():
    policy = LinearPolicy()
    sites, rolled_out = a_round(policy)
    with pytest.raises(AssertionError, match="first ratio of a round must be 1"):
        run(policy, sites, rule(), old=rolled_out + 0.01)
