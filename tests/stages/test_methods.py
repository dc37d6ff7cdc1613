"""Real rounds of every method on the shapes world: which steps are stochastic, and their tables."""

import numpy as np
import pytest
import torch
from methods import METHODS

from g2rpo.schedule import shifted_sigmas
from g2rpo.sde import transition
from g2rpo.seeding import noise
from stages import update
from stages.contract.declared_stages import STAGES
from stages.disk.foreign_keys import check_parents
from stages.disk.tables import SHARED, TABLES, read_table, tensor
from stages.engine.execute import run_stage

pytestmark = pytest.mark.long

GROUP, PROMPTS, T = 3, 4, 6
SIGMAS = shifted_sigmas(T, 2.0)

WINDOWS = {
    "g2rpo": [[(0,), (1,), (2,), (3,)]] * 2,
    "mix_grpo": [[(1, 2)], [(2, 3)]],
    "flow_grpo": [[(0, 1, 2, 3, 4)]] * 2,
    "dance_grpo": [[(0, 1, 2, 3, 4)]] * 2,
}
"""Of rounds 0 and 1."""


def read(run, number=0):
    folder = run.round_folder(number)
    return {name: read_table(folder / name) for name in TABLES if (folder / name).is_dir()}


def keys(table, *columns):
    """The values of columns, a tuple a row."""
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def rows_by(table, *columns):
    """Row number by the values of columns."""
    return {key: row for row, key in enumerate(keys(table, *columns))}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_the_windows_of_a_round_are_its_methods(of_method, method, number):
    tables = read(of_method(method)[0], number)
    prompts = tables["prompts"]["prompt_id"].to_pylist()
    windows = WINDOWS[method][number]
    expected = {
        (prompt, window[0], branch, step)
        for prompt in prompts
        for window in windows
        for branch in range(GROUP)
        for step in window
    }
    assert set(rows_by(tables["transitions"], "prompt_id", "window", "branch", "step")) == expected
    branches = {key[:3] for key in expected}
    for table in ("completions", "rewards", "advantages"):
        assert tables[table].num_rows == len(branches)
        assert set(rows_by(tables[table], "prompt_id", "window", "branch")) == branches


@pytest.mark.parametrize("method", METHODS)
def test_every_row_has_its_parents(of_method, method):
    tables = read(of_method(method)[0])
    assert set(tables) == set(TABLES) - {"texts", "evaluations", "pictures"}
    for name, rows in tables.items():
        assert not rows.select(TABLES[name].key).to_pandas().duplicated().any()
        check_parents(rows, TABLES[name], tables)


@pytest.mark.parametrize("method", METHODS)
def test_steps_leave_the_anchor_while_a_branch_shares_it(of_method, method):
    tables = read(of_method(method)[0])
    for row in tables["transitions"].select(["window", "branch", "step", "origin"]).to_pylist():
        shares = method != "flow_grpo" and row["step"] == row["window"]
        assert row["origin"] == (SHARED if shares else row["branch"])
    starts = {(row["origin"], row["step"]) for row in tables["anchors"].select(["origin", "step"]).to_pylist()}
    owners = range(GROUP)
    assert (
        starts
        == {
            "g2rpo": {(SHARED, k) for k in range(4)},
            "mix_grpo": {(SHARED, 0), (SHARED, 1)} | {(b, 2) for b in owners},
            "flow_grpo": {(b, k) for b in owners for k in range(5)},
            "dance_grpo": {(SHARED, 0)} | {(b, k) for b in owners for k in range(1, 5)},
        }[method]
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_group_starts_from_one_noise_or_each_branch_from_its_own(of_method, method):
    tables = read(of_method(method)[0])
    latents, row_of = tensor(tables["anchors"], "latents"), rows_by(tables["anchors"], "prompt_id", "origin", "step")
    for prompt in tables["prompts"].to_pylist():
        name = prompt["prompt_id"]
        if method == "flow_grpo":
            starts = [latents[row_of[name, branch, 0]] for branch in range(GROUP)]
            assert len({start.tobytes() for start in starts}) == GROUP
        else:
            shared = noise([prompt["noise_seed"]], latents.shape[1:])[0].numpy()
            np.testing.assert_array_equal(latents[row_of[name, SHARED, 0]], shared)
    starts = latents[tables["anchors"]["step"].to_numpy() == 0]
    assert starts.std() == pytest.approx(1.0, abs=0.05)
    assert len({start.tobytes() for start in starts}) == len(starts)


@pytest.mark.parametrize("method", METHODS)
def test_every_step_is_replayed_from_its_tables_and_its_seed(of_method, method):
    run, params, _ = of_method(method)
    tables = read(run, 1)
    anchors, transitions = tables["anchors"], tables["transitions"]
    row_of = rows_by(anchors, "prompt_id", "origin", "step")
    left = [row_of[key] for key in keys(transitions, "prompt_id", "origin", "step")]
    x, v = (torch.from_numpy(tensor(anchors, name)[left]) for name in ("latents", "velocity"))
    step = torch.tensor(transitions["step"].to_pylist())
    levels = SIGMAS.float()
    law = transition(
        params.rollout.sde,
        x,
        v,
        sigma=levels[step],
        sigma_next=levels[step + 1],
        eta=params.rollout.eta,
        sigma_max=float(levels[1]),
    )
    eps = noise(transitions["seed"].to_pylist(), x.shape[1:])
    next_latents = torch.from_numpy(tensor(transitions, "next_latents"))
    torch.testing.assert_close(next_latents, law.mean + law.std[:, None, None] * eps, rtol=0, atol=1e-5)
    assert len(set(transitions["seed"].to_pylist())) == transitions.num_rows
    np.testing.assert_allclose(transitions["sigma"].to_numpy(), SIGMAS[step].numpy())
    np.testing.assert_allclose(transitions["sigma_next"].to_numpy(), SIGMAS[step + 1].numpy())


@pytest.mark.parametrize("method", ["mix_grpo", "flow_grpo", "dance_grpo"])
def test_a_branch_continues_where_its_step_has_led(of_method, method):
    tables = read(of_method(method)[0])
    latents, row_of = tensor(tables["anchors"], "latents"), rows_by(tables["anchors"], "prompt_id", "origin", "step")
    after = tensor(tables["transitions"], "next_latents")
    went = rows_by(tables["transitions"], "prompt_id", "branch", "step")
    own = {key: row for key, row in row_of.items() if key[1] != SHARED and key[2] > 0}
    assert own
    for (prompt, branch, step), row in own.items():
        np.testing.assert_array_equal(latents[row], after[went[prompt, branch, step - 1]])


@pytest.mark.parametrize("number", [0, 1])
def test_the_anchor_leads_to_the_window_by_the_ode(of_method, number):
    tables = read(of_method("mix_grpo")[0], number)
    row_of = rows_by(tables["anchors"], "prompt_id", "origin", "step")
    latents, velocity = (tensor(tables["anchors"], name) for name in ("latents", "velocity"))
    for prompt in tables["prompts"]["prompt_id"].to_pylist():
        for step in range(number + 1):
            here, after = (row_of[prompt, SHARED, k] for k in (step, step + 1))
            dt = float(SIGMAS[step + 1] - SIGMAS[step])
            np.testing.assert_allclose(latents[after], latents[here] + dt * velocity[here], atol=1e-5)


@pytest.mark.parametrize(("method", "left"), [("g2rpo", None), ("mix_grpo", 3), ("flow_grpo", 1), ("dance_grpo", 1)])
def test_a_completion_begins_after_the_last_stochastic_step(of_method, method, left):
    """T = 6: after the window's last step k, 5 - k steps of the ODE remain."""
    run, _, resources = of_method(method)
    tables = read(run)
    for row in tables["completions"].select(["window", "evaluations"]).to_pylist():
        assert row["evaluations"] == (5 - row["window"] if left is None else left)
    if left != 1:
        return
    texts = dict(zip(tables["prompts"]["prompt_id"].to_pylist(), tables["prompts"]["text"].to_pylist(), strict=True))
    last = tables["transitions"].filter(np.array(tables["transitions"]["step"]) == 4)
    x = torch.from_numpy(tensor(last, "next_latents"))
    painted = rows_by(tables["completions"], "prompt_id", "branch")
    done = tensor(tables["completions"], "latents")
    field = resources.field(run.policy_folder(0), 96)
    condition = resources.condition([texts[name] for name in last["prompt_id"].to_pylist()])
    velocity = field(x, SIGMAS[5].float().expand(len(x)), condition, torch.arange(len(x)))
    clean = x - float(SIGMAS[5]) * velocity
    rows = [painted[key] for key in keys(last, "prompt_id", "branch")]
    np.testing.assert_allclose(done[rows], clean.numpy(), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_update_learns_every_step_of_a_branch_by_the_advantage_of_its_trajectory(of_method, method, monkeypatch):
    seen = []

    def watched(*fields, sites, **how):
        seen.append(sites)
        return optimise(*fields, sites=sites, **how)

    optimise = update.optimise
    run, params, resources = of_method(method)
    monkeypatch.setattr(update, "optimise", watched)
    run_stage(run, STAGES["update"], 1, params, resources, force=True)
    (sites,) = seen
    tables = read(run, 1)
    branch = ("prompt_id", "window", "branch")
    went, origins = keys(tables["transitions"], *branch, "step"), tables["transitions"]["origin"].to_pylist()
    advantage, advantage_of = tables["advantages"]["advantage"].to_pylist(), rows_by(tables["advantages"], *branch)
    latents, anchor_of = tensor(tables["anchors"], "latents"), rows_by(tables["anchors"], "prompt_id", "origin", "step")
    came_from = {values.tobytes(): row for row, values in enumerate(tensor(tables["transitions"], "next_latents"))}
    prompts, met, places = tables["prompts"]["prompt_id"].to_pylist(), set(), set()
    for m, site in enumerate(sites.site.tolist()):
        row = came_from[sites.next_latents[m].numpy().tobytes()]
        prompt, _, _, step = went[row]
        place = (prompt, origins[row], step)
        met.add(went[row])
        places.add(place)
        assert float(sites.advantage[m]) == pytest.approx(advantage[advantage_of[went[row][:3]]], abs=1e-6)
        assert (int(sites.step[site]), prompts[int(sites.rows[site])]) == (step, prompt)
        np.testing.assert_array_equal(sites.latents[site].numpy(), latents[anchor_of[place]])
    assert met == set(keys(tables["old_log_probs"], *branch, "step"))
    assert len(sites.step) == len(places)


def test_each_branch_of_dance_grpo_trains_its_own_share_of_the_steps(of_method):
    run = of_method("dance_grpo")[0]
    drawn = []
    for number in range(2):
        trained = {}
        for prompt, branch, step in rows_by(read(run, number)["old_log_probs"], "prompt_id", "branch", "step"):
            trained.setdefault((prompt, branch), []).append(step)
        assert len(trained) == PROMPTS * GROUP
        assert {len(steps) for steps in trained.values()} == {3}  # int(0.6 x 5)
        drawn.append(trained)
    assert len({tuple(steps) for steps in drawn[0].values()}) > 3
    assert {step for steps in drawn[0].values() for step in steps} == set(range(5))
    assert list(drawn[0].values()) != list(drawn[1].values())
    for method in ("g2rpo", "mix_grpo", "flow_grpo"):
        tables = read(of_method(method)[0])
        assert tables["old_log_probs"].num_rows == tables["transitions"].num_rows
