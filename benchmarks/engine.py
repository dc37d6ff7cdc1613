"""The batched engine against the published loop: same model, same seeds, same paths, in one process.

The published loop, written here from its description: every call has batch 1, the stochastic step forwards the
shared latents once more for each branch, and each granularity is completed on its own. Prompt encoding and
scoring are outside the timer; both sides run without gradient and make the pictures of the same branches.

    python benchmarks/engine.py            prints a JSON object as its last line
"""

import itertools
import json
import time
from dataclasses import dataclass

import torch

from g2rpo.policies.protocol import Condition
from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.positions import position_seed
from g2rpo.rewards.shapes import load_reward
from g2rpo.sampler import anchor_trajectory, branch, complete
from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import flow_diffusion, ode_step, sde_step
from g2rpo.seeding import noise
from g2rpo.shapes.captions import captions
from g2rpo.strides import completion_path
from g2rpo.velocity import VelocityField

NUM_STEPS, SHIFT, STEPS, GROUP, ETA = 8, 2.0, (0, 1, 2, 3), 12, 0.7
GRANULARITIES, NUM_PROMPTS, MICRO_BATCH, REPEATS = (1, 2, 3), 4, 96, 3
SIGMAS = shifted_sigmas(NUM_STEPS, SHIFT)


@dataclass(frozen=True)
class Made:
    """The result of one side: latents (prompts * steps * group, granularities, ...), CPU-seconds, evaluations."""

    latents: torch.Tensor
    cpu_seconds: float
    evaluations: int


@dataclass(frozen=True)
class Work:
    """The common input of both sides."""

    policy: ShapesPolicy
    condition: Condition
    start: torch.Tensor
    eps: torch.Tensor
    """Noise of each (prompt, step, branch)."""


def work() -> Work:
    policy = ShapesPolicy.load()
    texts = captions("tuning")[:: len(captions("tuning")) // NUM_PROMPTS][:NUM_PROMPTS]
    rows = [(p, k, b) for p in range(NUM_PROMPTS) for k in STEPS for b in range(GROUP)]
    return Work(
        policy,
        policy.encode(texts),
        noise([position_seed("start", p) for p in range(NUM_PROMPTS)], policy.latent_shape),
        noise([position_seed("branch", *row) for row in rows], policy.latent_shape).unflatten(0, (NUM_PROMPTS, -1)),
    )


def published_loop(inputs: Work) -> Made:
    """Batch 1 throughout; one forward for each evaluation that the loop needs."""
    calls = 0
    levels = SIGMAS.float()

    def velocity(x: torch.Tensor, index: int, condition: Condition) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return inputs.policy.velocity(x, levels[index : index + 1], condition)

    def step_to(x: torch.Tensor, at: int, to: int, condition: Condition) -> torch.Tensor:
        v = velocity(x, at, condition)
        return ode_step(x, v, sigma=levels[at : at + 1], sigma_next=levels[to : to + 1])

    finished = []
    began = time.process_time()
    for p in range(NUM_PROMPTS):
        condition, x = inputs.condition.take(torch.tensor([p])), inputs.start[p : p + 1]
        anchor = [x]
        for k in range(NUM_STEPS):
            anchor.append(step_to(anchor[-1], k, k + 1, condition))
        for row, k in enumerate(k for k in STEPS for _ in range(GROUP)):
            sigma, sigma_next = levels[k : k + 1], levels[k + 1 : k + 2]
            s = flow_diffusion(sigma, eta=ETA, sigma_max=float(levels[1]))
            v = velocity(anchor[k], k, condition)
            law = sde_step(anchor[k], v, sigma=sigma, sigma_next=sigma_next, diffusion=s)
            branched = law.sample(inputs.eps[p, row : row + 1])
            for granularity in GRANULARITIES:
                x, path = branched, completion_path(NUM_STEPS, k + 1, granularity, "fine_first")
                for at, to in itertools.pairwise(path):
                    x = step_to(x, at, to, condition)
                finished.append(x)
    spent = time.process_time() - began
    latents = torch.cat(finished).unflatten(0, (-1, len(GRANULARITIES)))
    return Made(latents, spent, calls)


def engine(inputs: Work) -> Made:
    """The way of the stages: anchors, branches and completions in lockstep batches."""
    field = VelocityField(inputs.policy, MICRO_BATCH)
    rows = [(p, k) for p in range(NUM_PROMPTS) for k in STEPS for _ in range(GROUP)]
    prompt, step = torch.tensor(rows).unbind(1)
    began = time.process_time()
    anchor = anchor_trajectory(field, inputs.start, inputs.condition, sigmas=SIGMAS, num_visited=max(STEPS) + 1)
    branched = branch(
        anchor.latents[step, prompt],
        anchor.velocity[step, prompt],
        inputs.eps.flatten(0, 1),
        step=step,
        sigmas=SIGMAS,
        sde="flow",
        eta=ETA,
    )
    done = complete(
        field,
        branched.next_latents,
        inputs.condition,
        rows=prompt,
        starts=[k + 1 for _, k in rows],
        sigmas=SIGMAS,
        granularities=GRANULARITIES,
        rule="fine_first",
    )
    return Made(done.latents, time.process_time() - began, field.evaluations)


def rewards_of(inputs: Work, made: Made) -> torch.Tensor:
    texts = captions("tuning")[:: len(captions("tuning")) // NUM_PROMPTS][:NUM_PROMPTS]
    each = len(STEPS) * GROUP * len(GRANULARITIES)
    images = inputs.policy.decode(made.latents.flatten(0, 1))
    return load_reward("judge_a").score(images, [text for text in texts for _ in range(each)])


def ratio_at(inputs: Work, threads: int) -> tuple[float, Made, Made]:
    """Return the median over repetitions of published / engine CPU time, the sides in turn."""
    torch.set_num_threads(threads)
    engine(inputs)
    pairs = [(published_loop(inputs), engine(inputs)) for _ in range(REPEATS)]
    ratios = sorted(slow.cpu_seconds / fast.cpu_seconds for slow, fast in pairs)
    print(f"{threads} threads: CPU-second ratios {[round(r, 2) for r in ratios]}")
    return ratios[REPEATS // 2], *pairs[-1]


@torch.no_grad()
def main() -> None:
    inputs = work()
    two, slow, fast = ratio_at(inputs, 2)
    one, *last = ratio_at(inputs, 1)
    gap = float((rewards_of(inputs, slow) - rewards_of(inputs, fast)).abs().max())
    assert gap < 1e-4, f"Both sides must earn the same rewards, they differ by {gap}."
    result = {
        "cpu_ratio": round(two, 2),
        "cpu_ratio_one_thread": round(one, 2),
        "evaluations_published": slow.evaluations // NUM_PROMPTS,
        "evaluations_engine": fast.evaluations // NUM_PROMPTS,
        "largest_reward_difference": gap,
        "cpu_seconds_published_one_thread": round(last[0].cpu_seconds, 2),
        "cpu_seconds_engine_one_thread": round(last[1].cpu_seconds, 2),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
