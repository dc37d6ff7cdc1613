"""The rule of an update as most tests take it."""

from g2rpo.optimise import UpdateRule
from g2rpo.schedule import shifted_sigmas

SIGMAS = shifted_sigmas(8, 2.0)


def rule(**changes):
    plain = {
        "sigmas": SIGMAS,
        "sde": "flow",
        "eta": 0.7,
        "clip_range": 1e-4,
        "kl_weight": 0.0,
        "cadence": "iteration",
        "num_minibatches": 1,
        "num_epochs": 1,
        "micro_batch": 100,
    }
    return UpdateRule(**plain | changes)
