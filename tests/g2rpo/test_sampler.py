import itertools

import pytest
import torch
from linear_policy import LinearPolicy

from g2rpo.sampler import anchor_trajectory, branch, complete
from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import log_prob, sde_step
from g2rpo.strides import completion_path
from g2rpo.velocity import VelocityField

SIGMAS = shifted_sigmas(8, 2.0)


def make(num_prompts=2, micro_batch=7):
    policy = LinearPolicy()
    field = VelocityField(policy, micro_batch)
    return policy, field, policy.encode([str(p) for p in range(num_prompts)])


def branches(num_prompts=2, steps=(0, 1, 2, 3), group_size=3):
    rows = [(p, k) for p in range(num_prompts) for k in steps for _ in range(group_size)]
    latents = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(0))
    return latents, torch.tensor([p for p, _ in rows]), [k + 1 for _, k in rows]


def follow(policy, latents, condition, path):
    """The completion of one branch, step by step, from the definition of the Euler method."""
    for at, after in itertools.pairwise(path):
        velocity = policy.velocity(latents, SIGMAS[at].float().reshape(1), condition)
        latents = latents + velocity * float(SIGMAS[after] - SIGMAS[at])
    return latents


def test_anchor_of_one_step_by_hand():
    # w = 0.5, x = 2, prompt 1: v = 1 + 1 * sigma = 2 at sigma 1; sigma falls to 14/15 (t = 7/8)
    _, field, condition = make()
    anchor = anchor_trajectory(field, torch.full((2, 3), 2.0), condition, sigmas=SIGMAS, num_visited=2)
    assert anchor.velocity[0, 1].tolist() == [2.0] * 3
    torch.testing.assert_close(anchor.latents[1, 1], torch.full((3,), 2 - 2 / 15))
    assert anchor.latents.shape == (2, 2, 3)
    assert field.evaluations == 4


@pytest.mark.parametrize("rule", ["fine_first", "even", "published", "from_clean"])
@torch.no_grad()
def test_lockstep_completion_equals_one_branch_at_a_time(rule):
    policy, field, condition = make()
    latents, rows, starts = branches()
    done = complete(
        field, latents, condition, rows=rows, starts=starts, sigmas=SIGMAS, granularities=[1, 2, 3], rule=rule
    )
    for b, start in enumerate(starts):
        for column, granularity in enumerate([1, 2, 3]):
            path = completion_path(8, start, granularity, rule)
            alone = follow(policy, latents[b : b + 1], condition.take(rows[b : b + 1]), path)
            torch.testing.assert_close(done.latents[b, column], alone[0])


def test_the_published_picture_is_the_clean_prediction_at_the_last_evaluated_level():
    policy, field, condition = make(1)
    x = torch.tensor([[0.3, -0.2, 1.0]])
    with torch.no_grad():
        done = complete(
            field,
            x,
            condition,
            rows=torch.tensor([0]),
            starts=[2],
            sigmas=SIGMAS,
            granularities=[2],
            rule="published",
        )
        at = follow(policy, x, condition, (2, 3, 5))  # path 2 3 5, then its prediction
    last = 5
    velocity = policy.velocity(at, SIGMAS[last].float().reshape(1), condition).detach()
    torch.testing.assert_close(done.latents[0, 0], (at - SIGMAS[last].float() * velocity)[0])


def test_evaluations_are_counted_where_they_happen_and_charged_once():
    policy, field, condition = make()
    latents, rows, starts = branches()
    done = complete(
        field, latents, condition, rows=rows, starts=starts, sigmas=SIGMAS, granularities=[1, 2], rule="fine_first"
    )
    assert int(done.evaluations.sum()) == field.evaluations == sum(policy.calls)
    # a branch of step 0: granularity 1 visits 1..8 (7 evaluations); granularity 2 visits 1 2 4 6 8, two are shared
    assert done.evaluations[0].tolist() == [7, 2]


def test_completion_takes_at_most_one_batch_a_step():
    policy, field, condition = make(micro_batch=10_000)
    latents, rows, starts = branches(group_size=12)
    complete(
        field, latents, condition, rows=rows, starts=starts, sigmas=SIGMAS, granularities=[1, 2, 3], rule="fine_first"
    )
    assert len(policy.calls) == 7


def test_micro_batches_are_full_and_change_nothing():
    latents, rows, starts = branches()
    results = []
    for micro_batch in (5, 10_000):
        policy, field, condition = make(micro_batch=micro_batch)
        done = complete(
            field, latents, condition, rows=rows, starts=starts, sigmas=SIGMAS, granularities=[1, 2], rule="even"
        )
        results.append(done.latents)
        assert max(policy.calls) <= micro_batch
    torch.testing.assert_close(*results)


def test_a_branch_is_a_sample_of_the_sde_step_from_the_anchor():
    generator = torch.Generator().manual_seed(4)
    x, v, eps = torch.randn(3, 2, 3, generator=generator).unbind(0)
    done = branch(x, v, eps, step=torch.tensor([0, 3]), sigmas=SIGMAS, sde="flow", eta=0.7)
    s = SIGMAS.float()
    for row, step in enumerate((0, 3)):
        below = s[1] if step == 0 else s[step]
        diffusion = 0.7 * (s[step] / (1 - below)).sqrt().reshape(1)
        law = sde_step(
            x[row : row + 1],
            v[row : row + 1],
            sigma=s[step].reshape(1),
            sigma_next=s[step + 1].reshape(1),
            diffusion=diffusion,
        )
        torch.testing.assert_close(done.next_latents[row], (law.mean + law.std * eps[row])[0])
        torch.testing.assert_close(done.log_prob[row], log_prob(done.next_latents[row : row + 1], law)[0])


def test_plain_ode_sampling_is_a_completion_from_step_zero():
    policy, field, condition = make(1)
    x = torch.tensor([[1.0, 2.0, 3.0]])
    with torch.no_grad():
        done = complete(
            field, x, condition, rows=torch.tensor([0]), starts=[0], sigmas=SIGMAS, granularities=[1], rule="even"
        )
        torch.testing.assert_close(done.latents[:, 0], follow(policy, x, condition, range(9)))
    assert field.evaluations == 8 + 0


def test_an_empty_micro_batch_is_refused():
    with pytest.raises(ValueError, match="at least 1 row, got 0"):
        VelocityField(LinearPolicy(), 0)
