"""The way of branches through their windows, followed by hand and one by one."""

import math

import pytest
import torch
from linear_policy import LinearPolicy

from g2rpo.sampler import branch, walk
from g2rpo.schedule import shifted_sigmas
from g2rpo.seeding import noise
from g2rpo.velocity import VelocityField

SIGMAS = shifted_sigmas(8, 2.0)


def make(micro_batch=7):
    policy = LinearPolicy()
    return policy, VelocityField(policy, micro_batch), policy.encode(["0", "1"])


def test_a_window_with_a_gap_by_hand():
    """w = 0.5, c = 0, so v = x / 2; levels 1, .8, .6, .4; Dance steps with eta^2 = 0.2, so std = sqrt(.2 x .2) = .2.

    step 0, eps +1: x = 2, v = 1, noise = 2; drift 1 + 0.1 x 2 = 1.2; mean 2 - 0.24 = 1.76; to 1.96
    step 1, ODE: v = 0.98; 1.96 - 0.196 = 1.764
    step 2, eps -1: v = 0.882, noise = 1.764 + 0.4 x 0.882 = 2.1168; drift 0.882 + 2.1168 / 6 = 1.2348;
    mean 1.764 - 0.24696 = 1.51704; to 1.31704. One std off: -1/2 - log(0.2) - log(2 pi)/2 = 0.190499.
    """
    _, field, condition = make()
    signs = {0: 1.0, 2: -1.0}
    walked = walk(
        field,
        torch.full((1, 3), 2.0),
        None,
        condition,
        rows=torch.tensor([0]),
        begin=[0],
        windows=[(0, 2)],
        draw=lambda rows, steps: torch.tensor([[signs[step]] * 3 for step in steps]),
        sigmas=torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0], dtype=torch.float64),
        sde="dance",
        eta=math.sqrt(0.2),
    )
    assert (walked.branch.tolist(), walked.step.tolist()) == ([0, 0], [0, 2])
    torch.testing.assert_close(walked.latents[:, 0], torch.tensor([2.0, 1.764]))
    torch.testing.assert_close(walked.velocity[:, 0], torch.tensor([1.0, 0.882]))
    torch.testing.assert_close(walked.next_latents[:, 0], torch.tensor([1.96, 1.31704]))
    torch.testing.assert_close(walked.log_prob, torch.tensor([0.190499, 0.190499]))
    assert field.evaluations == 3


WINDOWS = [(0, 1, 2, 3), (0,), (2, 3), (1, 4), (3, 4, 5), (0, 5), (2,)]
BEGIN = [0, 0, 0, 1, 2, 0, 2]


def walking(chosen, micro_batch=7, velocity=None, sde="flow"):
    """The walk of some of the branches of WINDOWS, with the noise that each has at each step."""
    _, field, condition = make(micro_batch=micro_batch)
    start = torch.randn(len(WINDOWS), 3, generator=torch.Generator().manual_seed(5))[chosen]

    def draw(rows, steps):
        return noise([100 * chosen[row] + step for row, step in zip(rows, steps, strict=True)], (3,))

    walked = walk(
        field,
        start,
        velocity,
        condition,
        rows=torch.tensor([b % 2 for b in chosen]),
        begin=[BEGIN[b] for b in chosen],
        windows=[WINDOWS[b] for b in chosen],
        draw=draw,
        sigmas=SIGMAS,
        sde=sde,
        eta=0.5,
    )
    return walked, field


def by_step(walked, chosen):
    """What each stochastic step was, by its branch and step."""
    keys = [(chosen[b], step) for b, step in zip(walked.branch.tolist(), walked.step.tolist(), strict=True)]
    columns = (walked.latents, walked.velocity, walked.next_latents, walked.log_prob)
    return dict(zip(keys, zip(*columns, strict=True), strict=True))


@pytest.mark.parametrize("sde", ["flow", "dance", "cps"])
def test_branches_of_many_windows_walk_together_as_each_would_alone(sde):
    everyone = list(range(len(WINDOWS)))
    together = by_step(walking(everyone, sde=sde)[0], everyone)
    assert list(together) == sorted(together, key=lambda key: (key[1] - BEGIN[key[0]], key[0]))
    assert set(together) == {(b, step) for b, window in enumerate(WINDOWS) for step in window}
    for b in everyone:
        alone = by_step(walking([b], sde=sde)[0], [b])
        for key, found in alone.items():
            torch.testing.assert_close(together[key], found)


def test_a_walk_is_made_of_stochastic_steps_in_the_window_and_euler_steps_elsewhere():
    policy, everyone = LinearPolicy(), list(range(len(WINDOWS)))
    condition = policy.encode(["0", "1"])
    found = by_step(walking(everyone)[0], everyone)
    start = torch.randn(len(WINDOWS), 3, generator=torch.Generator().manual_seed(5))
    for b, window in enumerate(WINDOWS):
        x = start[b : b + 1]
        for step in range(BEGIN[b], window[-1] + 1):
            with torch.no_grad():
                v = policy.velocity(x, SIGMAS[step].float().reshape(1), condition.take(torch.tensor([b % 2])))
            if step in window:
                eps = noise([100 * b + step], (3,))
                went = branch(x, v, eps, step=torch.tensor([step]), sigmas=SIGMAS, sde="flow", eta=0.5)
                expected = (x[0], v[0], went.next_latents[0], went.log_prob[0])
                torch.testing.assert_close(found[b, step], expected)
                x = went.next_latents
            else:
                x = x + v * float(SIGMAS[step + 1] - SIGMAS[step])


def test_a_walk_is_the_same_whatever_the_micro_batch():
    everyone = list(range(len(WINDOWS)))
    (one, _), (all_at_once, _) = (walking(everyone, micro_batch=size) for size in (1, 100))
    for name, column in vars(one).items():
        torch.testing.assert_close(column, getattr(all_at_once, name))


def test_a_walk_costs_an_evaluation_for_each_step_that_is_not_paid():
    everyone = list(range(len(WINDOWS)))
    steps = [window[-1] - first + 1 for window, first in zip(WINDOWS, BEGIN, strict=True)]
    assert walking(everyone)[1].evaluations == sum(steps)
    paid = torch.zeros(len(WINDOWS), 3)
    assert walking(everyone, velocity=paid)[1].evaluations == sum(steps) - len(steps)


def test_a_velocity_that_is_paid_is_taken_at_the_first_step_alone():
    # x = 2, window (1, 2) from level .8; v = 10 as given: Dance, eta^2 = 0.2, eps = 0: noise = 2 + 0.2 x 10 = 4;
    # drift 10 + 0.2 / 1.6 x 4 = 10.5, x = 2 - 2.1 = -0.1; then v = x / 2 = -0.05 of the network
    _, field, condition = make()
    walked = walk(
        field,
        torch.full((2, 3), 2.0),
        torch.full((2, 3), 10.0),
        condition,
        rows=torch.tensor([0, 0]),
        begin=[1, 1],
        windows=[(1, 2), (1,)],
        draw=lambda rows, steps: torch.zeros(len(rows), 3),
        sigmas=torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0], dtype=torch.float64),
        sde="dance",
        eta=math.sqrt(0.2),
    )
    assert (walked.branch.tolist(), walked.step.tolist()) == ([0, 1, 0], [1, 1, 2])
    torch.testing.assert_close(walked.next_latents[:2], torch.full((2, 3), -0.1))
    torch.testing.assert_close(walked.velocity[:, 0], torch.tensor([10.0, 10.0, -0.05]))
    assert field.evaluations == 1
