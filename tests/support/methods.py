"""The four methods on the tiny shapes world, T = 6: what each says beyond the parameters of tests/support/tiny.py."""

_SIX = ("rollout.num_steps=6", "evaluate.num_steps=[6]", "report.num_steps=[6]", "complete.granularities=[1]")
_WINDOW = (
    *("rollout.window_size=2", "rollout.window_stride=1", "rollout.window_interval=1"),
    "rollout.window_schedule=progressive",
)

G2RPO = (*_SIX, "rollout.steps=[0, 1, 2, 3]", "rollout.steps_a_round=null", "rollout.step_weights=null")
"""A window of one step for each of 0, 1, 2, 3."""

MIX = (*_SIX, "rollout.method=mix_grpo", "rollout.initial_noise=shared", "rollout.steps=[1, 2, 3, 4]", *_WINDOW)
"""Windows (1, 2), (2, 3), (3, 4), (1, 2), ... of rounds 0, 1, 2, 3, ...; the anchor leads to them."""

FLOW = (*_SIX, "rollout.method=flow_grpo", "rollout.initial_noise=own", "rollout.steps=[0, 1, 2, 3, 4]")
"""All steps but the last, each branch from a noise of its own."""

DANCE = (
    *(*_SIX, "rollout.method=dance_grpo", "rollout.initial_noise=shared", "rollout.steps=[0, 1, 2, 3, 4]"),
    *("rollout.sde=dance", "rollout.eta=0.3", "update.train_frac=0.6"),
)
"""All steps but the last from one noise, of which each branch trains 3 of 5."""

METHODS = {"g2rpo": G2RPO, "mix_grpo": MIX, "flow_grpo": FLOW, "dance_grpo": DANCE}
