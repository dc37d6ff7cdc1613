"""The three stochastic steps against their papers' equations, worked by hand, and the law that tells CPS from the SDEs.

In the examples x = 0.5 and v = 0.3, so from sigma 0.8 the predictions are
data = x - 0.8 v = 0.26 and noise = x + 0.2 v = 0.56, and to 0.6 it is dt = -0.2, sqrt(-dt) = 0.447214.
"""

import itertools
import math

import pytest
import torch
from steps import levels, one_step

from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import cps_step, log_prob, ode_step, transition

ETA = {"flow": 0.7, "dance": 0.3, "cps": 0.7}


@pytest.mark.parametrize(
    ("sde", "eta", "fall", "mean", "std"),
    [
        # Flow-GRPO, Eq. 9: s^2 = 0.49 x 0.8 / 0.2 = 1.96, s = 1.4;
        # x (1 + s^2/(2 sigma) dt) + v (1 + s^2 (1 - sigma)/(2 sigma)) dt = 0.5 x 0.755 - 0.06 x 1.245; 1.4 sqrt(-dt)
        ("flow", 0.7, (0.8, 0.6), 0.302800, 0.626099),
        # DanceGRPO, Eq. 8: score = -(x - 0.2 data) / 0.64 = -(0.5 - 0.052) / 0.64 = -0.7;
        # x + (v - 0.09/2 score) dt = 0.5 - 0.2 (0.3 + 0.0315); 0.3 sqrt(-dt)
        ("dance", 0.3, (0.8, 0.6), 0.433700, 0.134164),
        # CPS, Eq. 12, half a right angle: 0.4 data + 0.6 cos(45 deg) noise = 0.104 + 0.424264 x 0.56; 0.6 sin(45 deg)
        ("cps", 0.5, (0.8, 0.6), 0.341588, 0.424264),
        # CPS at 63 degrees from 0.6 to 0.4: data = 0.32, noise = 0.62;
        # 0.6 x 0.32 + 0.4 x 0.453990 x 0.62; 0.4 x 0.891007
        ("cps", 0.7, (0.6, 0.4), 0.304590, 0.356403),
    ],
)
def test_a_stochastic_step_by_hand(sde, eta, fall, mean, std):
    step = one_step(sde, 0.5, 0.3, *fall, eta=eta)
    torch.testing.assert_close(step.mean, levels(mean).reshape(1, 1), rtol=0, atol=1e-6)
    torch.testing.assert_close(step.std, levels(std), rtol=0, atol=1e-6)
    # one std off the mean the density is exp(-1/2) / (std sqrt(2 pi))
    expected = -0.5 - math.log(std) - 0.9189385
    torch.testing.assert_close(log_prob(step.mean + step.std, step), levels(expected), rtol=0, atol=1e-5)


def test_the_first_step_of_flow_grpo_by_hand():
    # sigma = 1 to sigmas[1] = 0.9: s^2 = 0.49 / (1 - 0.9) = 4.9, so std = sqrt(4.9 x 0.1) = eta whatever sigmas[1] is;
    # mean = x + (v + 4.9/2 x) (-0.1) = 0.5 - 0.03 - 0.245 x 0.5
    step = one_step("flow", 0.5, 0.3, 1.0, 0.9, eta=0.7, sigma_max=0.9)
    torch.testing.assert_close(step.mean, levels(0.3475).reshape(1, 1))
    torch.testing.assert_close(step.std, levels(0.7))


def test_the_first_steps_of_dance_and_cps_need_no_second_level():
    # at sigma = 1 noise = x = 0.5 and data = 0.2; Dance: 0.5 - 0.1 (0.3 + 0.045 x 0.5), 0.3 sqrt(0.1);
    # CPS at 45 degrees: 0.1 x 0.2 + 0.9 x 0.707107 x 0.5, 0.9 x 0.707107
    for sde, eta, mean, std in (("dance", 0.3, 0.46775, 0.094868), ("cps", 0.5, 0.338198, 0.636396)):
        step = one_step(sde, 0.5, 0.3, 1.0, 0.9, eta=eta, sigma_max=0.123)
        torch.testing.assert_close(step.mean, levels(mean).reshape(1, 1), rtol=0, atol=1e-6)
        torch.testing.assert_close(step.std, levels(std), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sde", ETA)
def test_without_eta_every_step_is_the_euler_step_of_the_ode(sde):
    x, v = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind(0)
    sigma, sigma_next = levels(1, 0.9, 0.8, 0.5, 0.3, 0.1), levels(0.9, 0.8, 0.7, 0.2, 0.1, 0.0)
    step = transition(sde, x, v, sigma=sigma, sigma_next=sigma_next, eta=0.0, sigma_max=0.9)
    torch.testing.assert_close(step.mean, ode_step(x, v, sigma=sigma, sigma_next=sigma_next))
    assert (step.std == 0).all()


def test_cps_of_eta_one_keeps_the_data_and_draws_all_noise_anew():
    step = one_step("cps", 0.5, 0.3, 0.8, 0.6, eta=1.0)  # 0.4 x 0.26
    torch.testing.assert_close(step.mean, levels(0.104).reshape(1, 1))
    torch.testing.assert_close(step.std, levels(0.6))


def test_cps_to_the_picture_adds_no_noise():
    step = one_step("cps", 0.5, 0.3, 0.8, 0.0, eta=0.7)
    torch.testing.assert_close(step.mean, levels(0.26).reshape(1, 1))
    assert step.std.item() == 0.0


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_cps_exchanges_no_more_noise_than_there_is(eta):
    with pytest.raises(ValueError, match=f"0 <= eta <= 1 is required, got eta={eta}. Lower it"):
        one_step("cps", 0.5, 0.3, 0.8, 0.6, eta=eta)


@pytest.mark.parametrize("sde", ETA)
@pytest.mark.parametrize(("sigma", "sigma_next"), [(0.4, 0.5), (0.5, 0.5), (1.1, 0.5), (0.5, -0.1)])
def test_levels_that_do_not_fall_are_refused_by_every_kind(sde, sigma, sigma_next):
    with pytest.raises(ValueError, match=r"0 <= sigma_next < sigma <= 1 is required.*Give falling levels"):
        one_step(sde, 0.5, 0.3, sigma, sigma_next, eta=ETA[sde])


def noise_over_schedule(sde, sigmas):
    """Level of the noise after each step over that of the schedule, and the signal likewise, for data in one point.

    For data mu, x = (1 - sigma) mu + n, the exact velocity is (x - mu) / sigma and a step is linear in n and in mu:
    what it makes of n = 1, mu = 0 and of n = 0, mu = 1 says all.
    """
    variance, noise, signal = 1.0, list[float](), list[float]()
    for sigma, sigma_next in itertools.pairwise(sigmas[:-1].tolist()):
        how = {"eta": ETA[sde], "sigma_max": float(sigmas[1])}
        of_noise = one_step(sde, 1.0, 1.0 / sigma, sigma, sigma_next, **how)
        of_data = one_step(sde, 1.0 - sigma, -1.0, sigma, sigma_next, **how)
        variance = float(of_noise.mean) ** 2 * variance + float(of_noise.std) ** 2
        noise.append(math.sqrt(variance) / sigma_next)
        signal.append(float(of_data.mean) / (1 - sigma_next))
    return noise, signal


@pytest.mark.parametrize("num_steps", [8, 16])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_cps_keeps_the_level_of_noise_of_the_schedule_where_euler_maruyama_exceeds_it(num_steps, shift):
    sigmas = shifted_sigmas(num_steps, shift)
    for sde in ETA:
        assert noise_over_schedule(sde, sigmas)[1] == pytest.approx([1.0] * (num_steps - 1), abs=1e-12)
    kept, _ = noise_over_schedule("cps", sigmas)
    assert kept == pytest.approx([1.0] * (num_steps - 1), abs=1e-12)
    exceeded, _ = noise_over_schedule("flow", sigmas)
    assert min(exceeded) > 1.03
    # its first step by hand: s^2 = eta^2 / -dt, so the variance is sigma'^2 + eta^2 (1 - sigma') + eta^4 / 4
    first = float(sigmas[1])
    assert exceeded[0] == pytest.approx(math.sqrt(1 + (0.49 * (1 - first) + 0.2401 / 4) / first**2), rel=1e-12)
    little, _ = noise_over_schedule("dance", sigmas)
    assert 1 < max(little[: num_steps // 2]) < 1.01  # its noise is little there, and so is what is too much


def test_twice_the_steps_exceed_the_level_by_less():
    eight, sixteen = (max(noise_over_schedule("flow", shifted_sigmas(n, 3.0))[0][: n // 2]) for n in (8, 16))
    assert eight == pytest.approx(1.0940, abs=1e-3)
    assert sixteen == pytest.approx(1.0631, abs=1e-3)


@pytest.mark.parametrize("num_steps", [8, 16])
def test_samples_of_cps_have_the_variance_of_the_schedule_and_those_of_the_flow_sde_more(num_steps):
    """40,000 trajectories to a point each: the standard error of a measured level is 1 / sqrt(80000) = 0.35 %."""
    generator = torch.Generator().manual_seed(num_steps)
    data = torch.randn(40_000, 1, generator=generator)
    sigmas = shifted_sigmas(num_steps, 3.0).float()
    start = torch.randn(40_000, 1, generator=generator)
    for sde in ("cps", "flow"):
        x = start
        for sigma, sigma_next in itertools.pairwise(sigmas[:-1]):
            here, after = sigma.expand(len(x)), sigma_next.expand(len(x))
            how = {"eta": ETA[sde], "sigma_max": float(sigmas[1])}
            law = transition(sde, x, (x - data) / sigma, sigma=here, sigma_next=after, **how)
            x = law.sample(torch.randn(x.shape, generator=generator))
            level = float((x - (1 - sigma_next) * data).std() / sigma_next)
            assert abs(level - 1) < 0.015 if sde == "cps" else level > 1.025


def test_cps_narrows_data_that_is_spread():
    """What it keeps is the level of the noise, not the spread of data that it cannot predict exactly.

    Data N(0, d^2) with A = (1 - sigma)^2 d^2 and B = sigma^2: a step of no length takes A B (1 - cos)^2 / (A + B) from
    the variance A + B, since the predicted noise has part of the data's spread in it.
    """
    d2, sigma = 0.25, 0.5
    a, b = (1 - sigma) ** 2 * d2, sigma**2
    slope = (sigma - (1 - sigma) * d2) / (a + b)
    step = one_step("cps", 1.0, slope, sigma, sigma - 1e-9, eta=0.7)
    found = float(step.mean) ** 2 * (a + b) + float(step.std) ** 2
    assert found == pytest.approx(a + b - a * b * (1 - math.cos(0.35 * math.pi)) ** 2 / (a + b), abs=1e-8)


def test_cps_is_a_rule_of_its_own():
    x, v = levels(0.5).reshape(1, 1), levels(0.3).reshape(1, 1)
    alone = cps_step(x, v, sigma=levels(0.8), sigma_next=levels(0.6), eta=0.5)
    torch.testing.assert_close(alone.mean, one_step("cps", 0.5, 0.3, 0.8, 0.6, eta=0.5).mean)
