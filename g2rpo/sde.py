"""Transition laws of one step: the Euler step of the ODE, and three Gaussian steps with fresh noise.

With x the latents at sigma, v = noise - data their velocity and dt = sigma_next - sigma < 0, each law leads from sigma
to sigma_next. The steps of Flow-GRPO and DanceGRPO keep the marginal distribution of the flow in the limit of small
steps; CPS keeps the level of the noise at any step, and narrows data that are spread.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from g2rpo.types import Latents, Levels

SDE = Literal["flow", "dance", "cps"]
"""Whose stochastic step: Flow-GRPO's, DanceGRPO's, or that which preserves the schedule's coefficients."""


@dataclass(frozen=True)
class Transition:
    """A Gaussian over the next latents: `mean`, shape (b, ...), and one standard deviation per row, shape (b,).

    Example: at sigma 0.5 -> 0.4 with diffusion 0.7, std = 0.7 sqrt(0.1) = 0.2214 in every row.
    """

    mean: Latents
    std: Levels

    def sample(self, eps: Latents) -> Latents:
        """Return `mean + std eps` for standard normal `eps`."""
        return self.mean + spread_over(self.std, self.mean) * eps


def spread_over(levels: Tensor, latents: Tensor) -> Tensor:
    """Return one value per row, shaped so that it broadcasts over the axes of the latents."""
    return levels.reshape(-1, *[1] * (latents.ndim - 1))


def _require_falling(sigma: Levels, sigma_next: Levels) -> None:
    if not bool(((sigma_next >= 0) & (sigma_next < sigma) & (sigma <= 1)).all()):
        raise ValueError(
            "A step of the SDE goes down: 0 <= sigma_next < sigma <= 1 is required, "
            f"got sigma={sigma.tolist()} and sigma_next={sigma_next.tolist()}. Give falling levels."
        )


def ode_step(latents: Latents, velocity: Latents, *, sigma: Levels, sigma_next: Levels) -> Latents:
    """Return the Euler step of the probability-flow ODE: `x + v (sigma_next - sigma)`.

    To sigma_next = 0 it is the prediction of the clean latents, x - sigma v.
    """
    return latents + velocity * spread_over(sigma_next - sigma, latents)


def flow_diffusion(sigma: Levels, *, eta: float, sigma_max: float) -> Levels:
    """Return the diffusion coefficient of the flow SDE, `s = eta sqrt(sigma / (1 - sigma))`, shape (b,).

    At sigma = 1, where it would be infinite, the denominator takes `sigma_max`, the second level of the
    schedule. Source: Flow-GRPO, arXiv:2505.05470, and its code for the case sigma = 1.

    Args:
        eta: Noise scale, at least 0; 0 makes the SDE the ODE.
        sigma_max: `sigmas[1]`, in (0, 1).
    """
    if eta < 0:
        raise ValueError(f"A noise scale is at least 0, got eta={eta}. Use 0.7 as in the paper.")
    held_below_one = torch.where(sigma >= 1, torch.full_like(sigma, sigma_max), sigma)
    return eta * torch.sqrt(sigma / (1 - held_below_one))


def sde_step(
    latents: Latents, velocity: Latents, *, sigma: Levels, sigma_next: Levels, diffusion: Levels
) -> Transition:
    """Return the Gaussian transition of the flow SDE over one Euler-Maruyama step.

        mean = x + [v + s² / (2 sigma) (x + (1 - sigma) v)] dt,    std = s sqrt(-dt),

    with s the `diffusion` and dt = sigma_next - sigma < 0. `diffusion = 0` is the Euler step of the ODE.
    Source: Flow-GRPO, arXiv:2505.05470 (there t is our sigma).

    Raises:
        ValueError: If the levels do not satisfy 0 <= sigma_next < sigma <= 1.
    """
    _require_falling(sigma, sigma_next)
    dt = spread_over(sigma_next - sigma, latents)
    level = spread_over(sigma, latents)
    score_weight = spread_over(diffusion**2 / (2 * sigma), latents)
    drift = velocity + score_weight * (latents + (1 - level) * velocity)
    return Transition(mean=latents + drift * dt, std=diffusion * torch.sqrt(sigma - sigma_next))


def cps_step(latents: Latents, velocity: Latents, *, sigma: Levels, sigma_next: Levels, eta: float) -> Transition:
    """Return the Gaussian transition that keeps the schedule's coefficients of signal and noise at any step.

        mean = (1 - sigma_next) data + sigma_next cos(eta pi / 2) noise,    std = sigma_next sin(eta pi / 2),

    where data = x - sigma v and noise = x + (1 - sigma) v are the network's predictions at x: part of the predicted
    noise is exchanged for fresh noise of the same variance. `eta = 0` is the Euler step of the ODE, `eta = 1`
    exchanges all of it. Source: Coefficients-Preserving Sampling, arXiv:2509.05952.

    Args:
        eta: Share of the exchange, in [0, 1].

    Raises:
        ValueError: If eta is not within [0, 1], or the levels as `sde_step` says.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"CPS exchanges a part of the noise: 0 <= eta <= 1 is required, got eta={eta}. Lower it.")
    _require_falling(sigma, sigma_next)
    level, level_next = spread_over(sigma, latents), spread_over(sigma_next, latents)
    data, predicted = latents - level * velocity, latents + (1 - level) * velocity
    angle = eta * math.pi / 2
    mean = (1 - level_next) * data + level_next * math.cos(angle) * predicted
    return Transition(mean=mean, std=sigma_next * math.sin(angle))


def transition(
    sde: SDE,
    latents: Latents,
    velocity: Latents,
    *,
    sigma: Levels,
    sigma_next: Levels,
    eta: float,
    sigma_max: float,
) -> Transition:
    """Return the law of one stochastic step of the chosen kind.

    `dance` is the step of `sde_step` with a constant diffusion s = eta: its drift, v + eta² / (2 sigma)
    (x + (1 - sigma) v), is the paper's v - eta² score / 2 with the score of the flow, -(x + (1 - sigma) v) / sigma.
    Source: DanceGRPO, arXiv:2505.07818.

    Args:
        sde: Its kind.
        latents: x, shape (b, ...).
        velocity: v there.
        sigma: Level of each row, in (0, 1].
        sigma_next: Level after the step, in [0, sigma).
        eta: Noise scale: 0.7 in Flow-GRPO, 0.3 in DanceGRPO; within [0, 1] for `cps`.
        sigma_max: `sigmas[1]`, see `flow_diffusion`.
    """
    if sde == "cps":
        return cps_step(latents, velocity, sigma=sigma, sigma_next=sigma_next, eta=eta)
    constant = torch.full_like(sigma, eta)
    diffusion = flow_diffusion(sigma, eta=eta, sigma_max=sigma_max) if sde == "flow" else constant
    return sde_step(latents, velocity, sigma=sigma, sigma_next=sigma_next, diffusion=diffusion)


def log_prob(next_latents: Latents, transition: Transition) -> Levels:
    """Return the log density of the next latents, **mean** over their elements, shape (b,).

        log p = mean[ -(x' - mean)² / (2 std²) ] - log std - log(2 pi) / 2.

    The mean in place of the sum keeps ratios within about 1e-3 of 1 whatever the size of the picture, which
    is why the published clip range is 1e-4. Source: the code of Flow-GRPO and of G²RPO.

    Raises:
        ValueError: If a std is 0 (eta = 0): a deterministic step has no density.
    """
    if not bool((transition.std > 0).all()):
        raise ValueError(
            "A log-probability needs a stochastic step, std > 0, got a std of 0. "
            "Raise rollout.eta above 0 in params.yaml."
        )
    standardised = (next_latents - transition.mean) / spread_over(transition.std, next_latents)
    per_element = standardised.square().flatten(1).mean(dim=1)
    return -per_element / 2 - torch.log(transition.std) - math.log(2 * math.pi) / 2


def transition_kl(transition: Transition, reference: Transition) -> Levels:
    """Return KL(transition || reference) of two transitions of one std, **mean** over elements, shape (b,).

        KL = mean[ (mean - mean_ref)² ] / (2 std²).

    Raises:
        ValueError: If a std is 0.
    """
    if not bool((transition.std > 0).all()):
        raise ValueError("A KL divergence needs std > 0, got 0. Raise rollout.eta above 0 in params.yaml.")
    difference = (transition.mean - reference.mean) / spread_over(transition.std, transition.mean)
    return difference.square().flatten(1).mean(dim=1) / 2
