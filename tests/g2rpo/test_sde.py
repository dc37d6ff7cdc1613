import math

import pytest
import torch
from steps import levels, one_step

from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import Transition, flow_diffusion, log_prob, ode_step, sde_step, transition_kl


def test_ode_step_by_hand():
    # x = 2, v = 3, sigma 0.5 -> 0.3: 2 + 3 * (-0.2) = 1.4
    step = ode_step(levels(2).reshape(1, 1), levels(3).reshape(1, 1), sigma=levels(0.5), sigma_next=levels(0.3))
    torch.testing.assert_close(step, levels(1.4).reshape(1, 1))


def test_ode_step_to_zero_recovers_the_data_from_the_exact_velocity():
    data, noise = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).unbind(0)
    mixed = (0.4 * data + 0.6 * noise)[None]
    step = ode_step(mixed, (noise - data)[None], sigma=torch.tensor([0.6]), sigma_next=torch.tensor([0.0]))
    torch.testing.assert_close(step[0], data)


def test_diffusion_by_hand():
    # eta sqrt(sigma / (1 - sigma)): 0.7 sqrt(0.8 / 0.2) = 1.4;  at sigma = 1 with sigmas[1] = 0.75: 0.7 sqrt(1 / 0.25)
    found = flow_diffusion(levels(0.8, 1.0, 0.5), eta=0.7, sigma_max=0.75)
    torch.testing.assert_close(found, levels(1.4, 1.4, 0.7))


def test_sde_step_by_hand():
    # sigma 0.5 -> 0.4, s = 1, x = 2, v = 3: s^2/(2 sigma) = 1; drift = 3 + 1 * (2 + 0.5 * 3) = 6.5
    # mean = 2 - 0.65 = 1.35; std = sqrt(0.1)
    step = sde_step(
        levels(2).reshape(1, 1),
        levels(3).reshape(1, 1),
        sigma=levels(0.5),
        sigma_next=levels(0.4),
        diffusion=levels(1.0),
    )
    torch.testing.assert_close(step.mean, levels(1.35).reshape(1, 1))
    torch.testing.assert_close(step.std, levels(math.sqrt(0.1)))


def test_sde_step_has_the_published_coefficients():
    # the authors write mean = x (1 + s^2 dt / (2 sigma)) + v (1 + s^2 (1 - sigma) / (2 sigma)) dt
    x, v = 0.7, -1.3
    sigma, sigma_next, s = 0.8, 0.65, 0.9
    dt = sigma_next - sigma
    expected = x * (1 + s**2 / (2 * sigma) * dt) + v * (1 + s**2 * (1 - sigma) / (2 * sigma)) * dt
    step = sde_step(
        levels(x).reshape(1, 1),
        levels(v).reshape(1, 1),
        sigma=levels(sigma),
        sigma_next=levels(sigma_next),
        diffusion=levels(s),
    )
    torch.testing.assert_close(step.mean, levels(expected).reshape(1, 1))


def test_zero_eta_is_the_euler_step_of_the_ode():
    x, v = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind(0)
    sigma, sigma_next = levels(1, 0.9, 0.8, 0.5, 0.3, 0.1), levels(0.9, 0.8, 0.7, 0.2, 0.1, 0.0)
    diffusion = flow_diffusion(sigma, eta=0.0, sigma_max=0.9)
    step = sde_step(x, v, sigma=sigma, sigma_next=sigma_next, diffusion=diffusion)
    torch.testing.assert_close(step.mean, ode_step(x, v, sigma=sigma, sigma_next=sigma_next))
    assert (step.std == 0).all()


@pytest.mark.long
@pytest.mark.parametrize(("sde", "eta"), [("flow", 0.3), ("flow", 0.7), ("dance", 0.3), ("dance", 0.7)])
def test_sde_keeps_the_marginal_variance_of_the_flow_as_steps_grow(sde, eta):
    """Data N(0, d^2): the exact velocity is linear, x_sigma ~ N(0, (1-sigma)^2 d^2 + sigma^2) at every sigma."""
    d2, errors = 0.25, []
    for num_steps in (50, 200, 800):
        sigmas = shifted_sigmas(num_steps, 1.0)
        variance, worst = 1.0, 0.0
        for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
            marginal = (1 - sigma) ** 2 * d2 + sigma**2
            slope = (sigma - (1 - sigma) * d2) / marginal  # velocity = slope x
            one = one_step(sde, 1, slope, sigma, sigma_next, eta=eta, sigma_max=float(sigmas[1]))
            variance = float(one.mean) ** 2 * variance + float(one.std) ** 2
            if 0.05 < sigma_next < 0.95:
                worst = max(worst, abs(variance / ((1 - sigma_next) ** 2 * d2 + sigma_next**2) - 1))
        errors.append(worst)
    assert errors[0] > 1.5 * errors[1]
    assert errors[1] > 1.5 * errors[2]
    assert errors[2] < 0.04


def test_rising_sigmas_are_refused_with_a_remedy():
    one = torch.ones(1, 1)
    with pytest.raises(ValueError, match=r"0 <= sigma_next < sigma <= 1 is required.*Give falling levels"):
        sde_step(one, one, sigma=torch.tensor([0.4]), sigma_next=torch.tensor([0.5]), diffusion=torch.tensor([0.7]))


def test_log_prob_by_hand():
    # mean 0, std 2, x = (2, 4): mean of x^2 = 10; -10/8 - log 2 - log(2 pi)/2
    transition = Transition(mean=torch.zeros(1, 2), std=torch.tensor([2.0]))
    expected = -10 / 8 - math.log(2) - math.log(2 * math.pi) / 2
    torch.testing.assert_close(log_prob(torch.tensor([[2.0, 4.0]]), transition), torch.tensor([expected]))


def test_log_prob_is_the_mean_of_the_normal_density_of_the_elements():
    generator = torch.Generator().manual_seed(2)
    mean, x = torch.randn(2, 5, 3, 4, generator=generator).unbind(0)
    std = torch.rand(5, generator=generator) + 0.1
    density = torch.distributions.Normal(mean, std[:, None, None]).log_prob(x)
    torch.testing.assert_close(log_prob(x, Transition(mean, std)), density.mean(dim=(1, 2)))


def test_kl_is_that_of_the_normal_distributions():
    generator = torch.Generator().manual_seed(3)
    mean, other = torch.randn(2, 5, 3, generator=generator).unbind(0)
    std = torch.rand(5, generator=generator) + 0.1
    normal = [torch.distributions.Normal(m, std[:, None]) for m in (mean, other)]
    expected = torch.distributions.kl_divergence(*normal).mean(dim=1)
    torch.testing.assert_close(transition_kl(Transition(mean, std), Transition(other, std)), expected)


def test_a_deterministic_step_has_no_density():
    frozen = Transition(mean=torch.zeros(1, 2), std=torch.zeros(1))
    with pytest.raises(ValueError, match=r"stochastic step, std > 0.*Raise rollout.eta"):
        log_prob(torch.zeros(1, 2), frozen)
    with pytest.raises(ValueError, match="std > 0"):
        transition_kl(frozen, frozen)


def test_negative_eta_is_refused():
    with pytest.raises(ValueError, match="at least 0, got eta=-1.0"):
        flow_diffusion(torch.tensor([0.5]), eta=-1.0, sigma_max=0.9)


def test_a_sample_is_mean_plus_std_times_noise():
    transition = Transition(mean=torch.tensor([[1.0, 2.0]]), std=torch.tensor([0.5]))
    torch.testing.assert_close(transition.sample(torch.tensor([[2.0, -2.0]])), torch.tensor([[2.0, 1.0]]))
