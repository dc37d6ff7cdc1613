"""The transformer evaluations of a round, known before it is run: a forward counts 1, with its backward 3.

They equal what the stages count, so that runs of different methods can be given the same budget.
"""

from itertools import count

from g2rpo.tree import completion_tree
from g2rpo.windows import Window, trained_steps
from stages.params import Params
from stages.prompts import noise_seeds


def round_evaluations(params: Params, round_number: int) -> int:
    """Return the evaluations of a round: rollout, completion and update.

    Classifier-free guidance sends two rows through the network for one velocity.
    """
    windows = params.rollout.windows(round_number, params.run.seed)
    velocities = _rollout(params, windows) + _completion(params, windows)
    per_round = velocities * params.prompts.num_prompts + _update(params, windows, round_number)
    return per_round * _rows_a_velocity(params)


def rounds_within(params: Params, budget: int) -> int:
    """Return the largest number of rounds of a run that cost no more than a budget of evaluations.

    Raises:
        ValueError: If not even one round does.
    """
    spent = 0
    for number in count():
        spent += round_evaluations(params, number)
        if spent > budget:
            if number == 0:
                raise ValueError(
                    f"The budget must allow a round, which costs {spent} transformer evaluations, got {budget}. "
                    "Raise it, or lower prompts.num_prompts or rollout.group_size."
                )
            return number
    raise AssertionError


def _rows_a_velocity(params: Params) -> int:
    """Return the rows that go through the network for one velocity."""
    policy = params.policy
    return 2 if policy.family == "sd3" and policy.guidance > 1 else 1


def _rollout(params: Params, windows: tuple[Window, ...]) -> int:
    """Return the velocities of a prompt's anchor and of its branches in their windows."""
    chosen = params.rollout
    if chosen.own_noise:
        return chosen.group_size * sum(window[-1] + 1 for window in windows)
    within = sum(window[-1] - window[0] for window in windows)
    return max(window[0] for window in windows) + 1 + chosen.group_size * within


def _completion(params: Params, windows: tuple[Window, ...]) -> int:
    """Return the velocities of a prompt's completions."""
    num_steps, chosen = params.rollout.num_steps, params.complete
    nodes = (
        node
        for window in windows
        for depth in completion_tree(num_steps, window[-1] + 1, chosen.granularities, chosen.stride_rule)
        for node in depth
    )
    return params.rollout.group_size * sum(node.level < num_steps for node in nodes)


def _update(params: Params, windows: tuple[Window, ...], round_number: int) -> int:
    """Return the velocities of the update: with gradient, of the base for the KL, and of old log-probabilities."""
    chosen = params.update
    sites = _sites(params, windows, round_number)
    if chosen.cadence == "step":
        steps = [sites.count(step) for step in sorted(set(sites))]
    else:
        each, longer = divmod(len(sites), chosen.num_minibatches)
        steps = [each + (number < longer) for number in range(chosen.num_minibatches)]
    measured = steps if chosen.kl_weight > 0 else [min(size, chosen.micro_batch) for size in steps]
    return (3 * sum(steps) + sum(measured)) * chosen.num_epochs + sum(steps[1:])


def _sites(params: Params, windows: tuple[Window, ...], round_number: int) -> list[int]:
    """Return the step of each place that trained steps leave: latents that a group shares are one place."""
    chosen, frac = params.rollout, params.update.train_frac
    if frac == 1:
        shared = 0 if chosen.own_noise else 1
        each = [[*window[:shared], *window[shared:] * chosen.group_size] for window in windows]
        return [step for window in each for step in window] * params.prompts.num_prompts
    sites = list[int]()
    for seed in noise_seeds(params, round_number):
        for window in windows:
            trained = [trained_steps(window, frac, seed, branch) for branch in range(chosen.group_size)]
            steps = [step for branch in trained for step in branch if chosen.own_noise or step != window[0]]
            leaves_anchor = not chosen.own_noise and any(window[0] in branch for branch in trained)
            sites += [*window[:leaves_anchor], *steps]
    return sites
