"""The transformer evaluations of a round, computed in advance: a forward counts 1, with its backward 3.

They equal the counts of the stages, so that runs of different methods can have the same budget.
"""

from g2rpo.policies.families import FAMILIES
from g2rpo.tree import completion_tree
from g2rpo.windows import Window, trained_steps
from stages.params.record import Params
from stages.params.section import MOST as MOST_ROUNDS
from stages.texts.draws import noise_seeds


def round_evaluations(params: Params, round_number: int) -> int:
    """Return the evaluations of a round that its stages count: rollout, completion and update.

    Classifier-free guidance sends two rows through the network for one velocity.
    """
    return method_evaluations(params, round_number) + _rows_per_velocity(params) * _checks(params, round_number)


def evaluation_cost(params: Params) -> int:
    """Return the transformer evaluations for evaluating one policy by the section `evaluate`."""
    settings = params.evaluate
    return settings.num_prompts * settings.num_noises * sum(settings.num_steps) * _rows_per_velocity(params)


def method_evaluations(params: Params, round_number: int) -> int:
    """Return the evaluations of a round that its method requires; methods are compared at equal budgets of these.

    They exclude our additions: the KL to the base if it has no weight, and the log-probabilities of the later
    minibatches before the first step, which the papers' codes take from the rollout.
    """
    windows = params.rollout.windows(round_number, params.run.seed)
    velocities = (_rollout(params, windows) + _completion(params, windows)) * params.prompts.num_prompts
    trained = sum(_optimizer_steps(params, round_number)) * params.update.num_epochs
    velocities += trained * (4 if params.update.kl_weight > 0 else 3)
    return velocities * _rows_per_velocity(params)


def rounds_within(params: Params, budget: int) -> int:
    """Return the largest number of rounds of a run within a budget of `method_evaluations`.

    Raises:
        ValueError: If one round exceeds the budget.
    """
    spent = 0
    for number in range(MOST_ROUNDS):
        spent += method_evaluations(params, number)
        if spent > budget:
            if number == 0:
                raise ValueError(
                    f"The budget must allow a round, which costs {spent} transformer evaluations, got {budget}. "
                    "Raise it, or lower prompts.num_prompts or rollout.group_size."
                )
            return number
    return MOST_ROUNDS


def _rows_per_velocity(params: Params) -> int:
    """Return the rows that go through the network for one velocity."""
    return FAMILIES[params.policy.family].num_forwards(params.policy.model_dump())


def _rollout(params: Params, windows: tuple[Window, ...]) -> int:
    """Return the velocities of a prompt's anchor and of its branches in their windows."""
    settings = params.rollout
    if settings.own_noise:
        return settings.group_size * sum(window[-1] + 1 for window in windows)
    within = sum(window[-1] - window[0] for window in windows)
    return max(window[0] for window in windows) + 1 + settings.group_size * within


def _completion(params: Params, windows: tuple[Window, ...]) -> int:
    """Return the velocities of a prompt's completions."""
    num_steps, settings = params.rollout.num_steps, params.complete
    nodes = (
        node
        for window in windows
        for depth in completion_tree(num_steps, window[-1] + 1, settings.granularities, settings.stride_rule)
        for node in depth
    )
    return params.rollout.group_size * sum(node.level < num_steps for node in nodes)


def _checks(params: Params, round_number: int) -> int:
    """Return the velocities of a round's update that no method requires."""
    settings, steps = params.update, _optimizer_steps(params, round_number)
    measured = 0 if settings.kl_weight > 0 else sum(min(size, settings.micro_batch) for size in steps)
    return measured * settings.num_epochs + sum(steps[1:]) + _padding(params, steps)


def _padding(params: Params, steps: list[int]) -> int:
    """Return the velocities with which runners whose share of a step is smaller keep pace with the others."""
    settings, runners = params.update, params.placement.num_updating
    spent = 0
    for number, sites in enumerate(steps):
        calls = [-(-len(range(rank, sites, runners)) // settings.micro_batch) for rank in range(runners)]
        behind = sum(count < calls[0] for count in calls)
        spent += behind * (3 * settings.num_epochs + (number > 0))
    return spent


def _optimizer_steps(params: Params, round_number: int) -> list[int]:
    """Return the number of sites of each optimizer step of a pass."""
    settings, sites = params.update, _sites(params, round_number)
    if settings.cadence == "step":
        steps = [step for prompt in sites for step in prompt]
        return [steps.count(step) for step in sorted(set(steps))]
    each = params.prompts.num_prompts // settings.num_minibatches
    return [sum(map(len, sites[start : start + each])) for start in range(0, len(sites), each)]


def _sites(params: Params, round_number: int) -> list[list[int]]:
    """Return, for each prompt, the step of each site that trained steps start from; shared latents are one site."""
    settings, frac = params.rollout, params.update.train_frac
    windows = settings.windows(round_number, params.run.seed)
    shared = not settings.own_noise
    if frac == 1:
        each = [[*window[:shared], *window[shared:] * settings.group_size] for window in windows]
        return [[step for window in each for step in window]] * params.prompts.num_prompts
    prompts = list[list[int]]()
    for seed in noise_seeds(params, round_number):
        sites = list[int]()
        for window in windows:
            trained = [trained_steps(window, frac, seed, branch) for branch in range(settings.group_size)]
            leaves_anchor = shared and any(window[0] in branch for branch in trained)
            sites += window[:leaves_anchor]
            sites += [step for branch in trained for step in branch if not shared or step != window[0]]
        prompts.append(sites)
    return prompts
