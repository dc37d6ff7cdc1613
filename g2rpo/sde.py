"""Transition laws of one step: the Euler step of the ODE and the Gaussian step of the flow SDE.

With x the latents at sigma, v = noise - data their velocity and dt = sigma_next - sigma < 0, both laws move
the marginal distribution of the flow from sigma to sigma_next; the SDE does so with fresh noise.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.types import Latents, Levels


@dataclass(frozen=True)
class Transition:
    """A Gaussian over the next latents: `mean`, shape (b, ...), and one standard deviation a row, shape (b,).

    Example: at sigma 0.5 -> 0.4 with diffusion 0.7, std = 0.7 sqrt(0.1) = 0.2214 in every row.
    """

    mean: Latents
    std: Levels

    def sample(self, eps: Latents) -> Latents:
        """Return `mean + std eps` for standard normal `eps`."""
        return self.mean + spread_over(self.std, self.mean) * eps


def spread_over(levels: Tensor, latents: Tensor) -> Tensor:
    """Return a value a row shaped so that it broadcasts over the axes of the latents."""
    return levels.reshape(-1, *[1] * (latents.ndim - 1))


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
    if not bool(((sigma_next >= 0) & (sigma_next < sigma) & (sigma <= 1)).all()):
        raise ValueError(
            "A step of the SDE goes down: 0 <= sigma_next < sigma <= 1 is required, "
            f"got sigma={sigma.tolist()} and sigma_next={sigma_next.tolist()}. Give falling levels."
        )
    dt = spread_over(sigma_next - sigma, latents)
    level = spread_over(sigma, latents)
    score_weight = spread_over(diffusion**2 / (2 * sigma), latents)
    drift = velocity + score_weight * (latents + (1 - level) * velocity)
    return Transition(mean=latents + drift * dt, std=diffusion * torch.sqrt(sigma - sigma_next))


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
