"""One prompt's path through a round, read from its tables: it traces every number of a report."""

from typing import Any

from stages.contract.declared_stages import ROUND_STAGES
from stages.disk.foreign_keys import check_parents
from stages.disk.tables import ADVANTAGES, REWARDS, SHARED, TABLES, TENSOR, read_table, tensor, where
from stages.readings.metrics import finished_manifest
from stages.store.manifest import missing_outputs
from stages.store.run import Run


def trace_prompt(run: Run, number: int, prompt_id: str) -> str:
    """Return, as lines of text, a prompt's anchor, branches, rewards, summands, advantages and update.

    Raises:
        ValueError: If the round is not finished, or has no such prompt.
    """
    folder = run.round_folder(number)
    if number >= run.num_finished:
        finished = f"has finished 0 to {run.num_finished - 1}" if run.num_finished else "has finished none yet"
        raise ValueError(f"A finished round, counted from 0, is required, got {number}; run {run.key} {finished}.")
    _require_tables(run, number)
    for table in (REWARDS, ADVANTAGES):
        parents = {parent: read_table(folder / parent) for parent in table.parents}
        check_parents(read_table(folder / table.name), table, parents)
    prompts = read_table(folder / "prompts")
    prompt = where(prompts, prompt_id=prompt_id)
    if prompt.num_rows == 0:
        names = ", ".join(prompts["prompt_id"].to_pylist())
        raise ValueError(f"Round {number} has the prompts {names}, got {prompt_id!r}.")
    anchors = where(read_table(folder / "anchors"), prompt_id=prompt_id, origin=SHARED)
    windows = where(read_table(folder / "transitions"), prompt_id=prompt_id)["window"].to_pylist()
    row = prompt.to_pylist()[0]
    lines = [f"{prompt_id}: {row['text']!r} ({row['split']}), noise seed {row['noise_seed']}", "", "anchor"]
    if not anchors.num_rows:
        lines.append("  none: each branch starts from its own noise")
    norms = tensor(anchors, "latents").reshape(anchors.num_rows, -1).std(axis=1) if anchors.num_rows else ()
    for step, norm in zip(anchors.select(["step", "sigma", "sigma_next"]).to_pylist(), norms, strict=True):
        lines.append(
            f"  step {step['step']}: sigma {step['sigma']:.4f} -> {step['sigma_next']:.4f}, latents std {norm:.4f}"
        )
    for window in sorted(set(windows)):
        lines += _window(run, number, prompt_id, window)
    return "\n".join([*lines, "", *_update(run, number)])


def _require_tables(run: Run, number: int) -> None:
    """Refuse a round without one of its tables; name the command that rebuilds it."""
    folder = run.round_folder(number)
    for stage in ROUND_STAGES:
        tables = [name for name in stage.outputs if name in TABLES]
        missing = missing_outputs(finished_manifest(folder, stage), folder, tables)
        if missing:
            raise ValueError(
                f"Every table of round {number} is required, got no {missing[0]}: it was pruned or lost. "
                f"`g2rpo stage complete --run {run.key} --round {number} --force` rebuilds latents, "
                f"`g2rpo train --run {run.key}` lost files."
            )


def _window(run: Run, number: int, prompt_id: str, window: int) -> list[str]:
    """Return the lines of one window: its groups, then one line per branch."""
    folder = run.round_folder(number)

    def rows(table: str) -> list[dict[str, Any]]:
        selected = where(read_table(folder / table), prompt_id=prompt_id, window=window)
        plain = [name for name, kind in TABLES[table].columns.items() if kind != TENSOR]
        return selected.select(plain).to_pylist()

    transitions = rows("transitions")
    rewards = {(r["branch"], r["reward"], r["granularity"]): r["value"] for r in rows("rewards")}
    old = {(r["branch"], r["step"]): r["log_prob_old"] for r in rows("old_log_probs")}
    advantages = {r["branch"]: r for r in rows("advantages")}
    evaluations = sum(r["evaluations"] for r in rows("completions"))
    first = next(iter(advantages.values()))
    steps = sorted({t["step"] for t in transitions})
    of = f"step {window}" if len(steps) == 1 else f"steps {', '.join(map(str, steps))}"
    lines = ["", f"branches of {of}: {len(advantages)}, completed with {evaluations} evaluations"]
    for s in first["summands"]:
        kind = f"{s['reward']} at granularity {s['granularity']}"
        floored = " (a floor)" if s["floored"] else ""
        lines.append(
            f"  group of {kind}: mean {s['group_mean']:.4f}, std {s['group_std']:.4g}, "
            f"divided by {s['divisor']:.4g}{floored}, weight {s['weight']:.4g}"
        )
    for branch in sorted(advantages):
        summed = " ".join(
            f"{s['reward']}/{s['granularity']} {rewards[branch, s['reward'], s['granularity']]:.4f} "
            f"({s['weight'] * s['standardised']:+.3f})"
            for s in advantages[branch]["summands"]
        )
        cut = " clamped" if advantages[branch]["clamped"] else ""
        lines.append(f"  branch {branch:>2}: {summed} -> advantage {advantages[branch]['advantage']:+.3f}{cut}")
        for transition in transitions:
            if transition["branch"] == branch:
                lines.append(f"    {_step(transition, old.get((branch, transition['step'])))}")
    return lines


def _step(transition: dict[str, Any], old: float | None) -> str:
    """Return a stochastic step as text; one that is not trained has no old log-probability."""
    trained = "not trained" if old is None else f"old {old:.6f}"
    return f"step {transition['step']}: log-prob {transition['log_prob']:.6f}, {trained}; seed {transition['seed']}"


def _update(run: Run, number: int) -> list[str]:
    lines = ["update"]
    for row in read_table(run.round_folder(number) / "updates").to_pylist():
        values = ", ".join(f"{name} {value:.6g}" for name, value in row.items() if name != "optimizer_step")
        lines.append(f"  optimizer step {row['optimizer_step']}: {values}")
    return lines
