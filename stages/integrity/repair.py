"""Makes damaged or pruned files again: every stage gives the same bytes from the same inputs."""

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, ROUND_STAGES, STAGES, Stage
from stages.contract.executor import StageExecutor
from stages.disk.files import writing
from stages.disk.policy_state import STATE, missing_files, write_base
from stages.engine.execute import run_stage
from stages.integrity.damage import Damage, mark
from stages.integrity.former import drop_former, keep_former, restore_former
from stages.integrity.own_files import damaged_own_files, num_with_metrics, require_source
from stages.integrity.set_aside import drop_aside
from stages.integrity.verify import verify
from stages.params.record import Params, for_report
from stages.readings.metrics import round_metrics
from stages.store.fingerprint import Fingerprint
from stages.store.manifest import manifest_path, missing_outputs, pruned_outputs, read_manifest
from stages.store.run import WRITER, Run, write_about
from stages.texts.lists import full_list, splits_of


class ChangedError(ValueError):
    """Files made again differ from those that later rounds used."""


def repair(run: Run, found: Sequence[Damage], params: Params, executor: StageExecutor) -> None:
    """Remove all damaged files and make them again; make missing inputs again first.

    Damaged files of the unfinished round are only removed: the run makes them anyway. Call `restore_former` before the
    damage is looked for: an earlier repair may have been killed.

    Raises:
        ValueError: If files made again differ from those that later rounds used, e.g. on another machine.
        StoreWriteError: If the store cannot be written to.
    """
    if damaged_own_files(run):
        write_own_files(run, params, executor)
        found = verify(run)  # the rounds can be checked only now
    make_again(run, found, params, executor)
    drop_aside(run.path)
    mark(run, [])


def write_own_files(run: Run, params: Params, executor: StageExecutor) -> None:
    """Write a run's damaged own files anew, from its parameters and its existing rounds.

    Raises:
        ValueError: If a prompt list is damaged and `params` has no other source of it, or a file stays damaged.
        StoreWriteError: If the store cannot be written to.
    """
    require_source(run, params)
    for _ in range(2):  # the first pass may write only run.json, which the checks of the others need
        for damage in damaged_own_files(run):
            _write_own(run, damage, params, executor)
    left = damaged_own_files(run)
    if left:
        raise ValueError(
            f"The run's own files must be whole after they were written anew, got {left[0]}. Run the command that made "
            "the run again, with its parameters and not its key, or move the run's folder away."
        )


def make_again(
    run: Run, found: Sequence[Damage], params: Params, executor: StageExecutor, *, leaving: Collection[Path] = ()
) -> None:
    """Make damaged files again in a run whose own files are whole.

    Args:
        run: The run; it must be locked.
        found: The damage to repair, in the order of `verify`.
        params: Its parameters.
        executor: Executes the stages.
        leaving: Other damaged files, which stay as they are.

    Raises:
        ValueError: As `repair`.
        StoreWriteError: If the store cannot be written to.
    """
    _make_again(run, found, params, executor)
    left = [damage for damage in verify(run) if damage.path not in leaving]
    if left:
        raise _changed_error(left[0])


def _make_again(run: Run, found: Sequence[Damage], params: Params, executor: StageExecutor) -> None:
    broken = {(d.number, d.stage.name) for d in found if d.stage and d.stage != EVALUATE}
    doubted = {damage.path for damage in found}
    for number, name in broken:
        if number < run.num_finished and manifest_path(run.round_folder(number), STAGES[name]) not in doubted:
            keep_former(run, STAGES[name], number)
    for damage in found:
        remove(run, damage)
    order = [stage.name for stage in ROUND_STAGES]
    for number, name in sorted(broken, key=lambda pair: (pair[0], order.index(pair[1]))):
        if number < run.num_finished:
            _make(run, STAGES[name], number, params, executor)
    for damage in found:
        if damage.path == run.metrics_path(damage.number):
            run.write_metrics(damage.number, round_metrics(run, damage.number))
        elif damage.stage == EVALUATE:
            _evaluate_again(run, damage, params, executor)


def run_again(run: Run, stage: Stage, number: int, params: Params, executor: StageExecutor) -> None:
    """Run a stage again; restore its former files if it fails, or if the outputs differ from its former manifest.

    Raises:
        ChangedError: If the outputs differ.
        ValueError: If the stage refuses its inputs.
    """
    folder = run.round_folder(number)
    former = read_manifest(keep_former(run, stage, number), stage)
    try:
        made = run_stage(run, stage, number, params, executor, force=bool(pruned_outputs(folder))).manifest
        if former and made and made["outputs"] != former["outputs"]:
            raise _changed_error(Damage(manifest_path(folder, stage), "its files differ", stage, number))
    except ValueError:
        restore_former(run)
        raise
    drop_former(run, stage, number)


def _changed_error(damage: Damage) -> ChangedError:
    return ChangedError(
        "Files made again must equal those that later rounds used, got others (another machine, number of runners, "
        f"library set or code?): {damage}. Restore the file from a copy, e.g. by `dvc checkout`, or move the run's "
        "folder away and start the run anew."
    )


def make_inputs(run: Run, stage: Stage, number: int, params: Params, executor: StageExecutor) -> None:
    """Make the missing inputs of a stage again, starting at the nearest existing policy.

    Raises:
        ValueError: As `run_again`.
        StoreWriteError: If the store cannot be written to.
    """
    restore_former(run)
    _make_inputs(run, stage, number, params, executor)


def _make_inputs(run: Run, stage: Stage, number: int, params: Params, executor: StageExecutor) -> None:
    for name, path in run.inputs(stage, number).items():
        if name in POLICY_INPUTS:
            if missing_files(path):
                _make(run, STAGES["update"], number - 1, params, executor)
        elif not is_there(run, name, number):
            _make(run, WRITER[name], number, params, executor)


def _make(run: Run, stage: Stage, number: int, params: Params, executor: StageExecutor) -> None:
    _make_inputs(run, stage, number, params, executor)
    run_again(run, stage, number, params, executor)


def is_there(run: Run, table: str, number: int) -> bool:
    """Whether all files of a table of a round exist, damaged or not."""
    folder = run.round_folder(number)
    manifest = read_manifest(folder, WRITER[table])
    return manifest is not None and not missing_outputs(manifest, folder, [table])


def _write_own(run: Run, damage: Damage, params: Params, executor: StageExecutor) -> None:
    """Write one of the run's own files anew, from its parameters and its existing rounds."""
    if damage.path == run.path / "run.json":
        write_about(run, params, Fingerprint.of(params, executor.device.type))
    elif damage.path == run.path / "HEAD":
        run.finish_round(num_with_metrics(run) - 1)
    elif damage.path == run.policy_folder(0) / STATE:
        write_base(run.policy_folder(0), run.fingerprint.values["origins.policy"])
    else:
        _write_lists(run, params)


def _write_lists(run: Run, params: Params) -> None:
    """Write parameters and prompt lists anew; files that are no list of the run, but read as one, are removed."""
    for split in splits_of(params):
        full_list(params, split)  # nothing is removed if the source cannot be read
    with writing(run.prompts):
        shutil.rmtree(run.prompts, ignore_errors=True)
    run.remember(params)


def remove(run: Run, damage: Damage) -> None:
    """Remove a damaged file and its stage's manifest; if the manifest is damaged, all outputs of the stage."""
    if damage.path == run.metrics_path(damage.number):
        return
    with writing(damage.path):
        if damage.path.is_dir():
            shutil.rmtree(damage.path)
        damage.path.unlink(missing_ok=True)
        if damage.stage:
            folder = run.round_folder(damage.number) if damage.stage != EVALUATE else damage.path.parent
            if damage.path == manifest_path(folder, damage.stage):  # no other file has their digests
                for output in damage.stage.outputs:
                    shutil.rmtree(folder / output, ignore_errors=True)
            elif damage.stage != EVALUATE:
                manifest_path(folder, damage.stage).unlink(missing_ok=True)


def _evaluate_again(run: Run, damage: Damage, params: Params, executor: StageExecutor) -> None:
    """Make an evaluation again with the current parameters; drop one on a split that they do not use."""
    folder = next(path for path in damage.path.parents if path.parent.name == "evaluations")
    for by in (params, for_report(params)):
        if run.evaluation_folder(damage.number, by.evaluate.split) == folder:
            _make_inputs(run, EVALUATE, damage.number, by, executor)
            run_stage(run, EVALUATE, damage.number, by, executor)
            return
    manifest_path(folder, EVALUATE).unlink(missing_ok=True)
