"""Start of a damaged run: it repairs what the next round needs, or goes back a round, and marks the rest.

The next round needs the policy after the finished rounds, with `placement.staleness` also the one before, and the
metrics of every round, which the guards read. `g2rpo repair` does the rest. Until then damaged tables stay in place:
reading a page with a wrong checksum is an error, but a whole table of other content is read as it is. Files of policies
and evaluations are renamed, so that no later step computes with them, ends with them, or takes them for the best.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from stages.contract.declared_stages import EVALUATE, POLICY_INPUTS, STAGES
from stages.contract.executor import StageExecutor
from stages.disk.policy_state import STATE, missing_files, policy_state
from stages.engine.execute import is_done
from stages.integrity.damage import Damage, mark
from stages.integrity.former import keep_former, restore_former
from stages.integrity.go_back import go_back
from stages.integrity.own_files import damaged_own_files, require_source
from stages.integrity.repair import ChangedError, is_there, make_again, remove, run_again, write_own_files
from stages.integrity.set_aside import drop_aside, set_aside
from stages.integrity.verify import verify
from stages.params.record import Params, for_report
from stages.readings.metrics import round_metrics
from stages.store.manifest import manifest_path, pruned_outputs, read_manifest, tombstone_path
from stages.store.run import WRITER, Run

_UPDATE = STAGES["update"]
_NAMED = 10
"""Number of damaged files to list one by one."""


def resume(run: Run, params: Params, executor: StageExecutor, say: Callable[[str], None]) -> Params:
    """Make a locked run fit for its next round, and mark what stays damaged; return its parameters, as `Run.remember`.

    It writes the run's own files and the metrics anew. It makes a damaged policy that the next round needs again by the
    update of its round, if all inputs of the update are whole. Otherwise HEAD goes back a round, if the policy before
    is whole; the last round is unfinished then, and the run repeats those of its stages that are not whole. A run that
    has all its rounds does not go back.

    Args:
        run: The run; it must be locked.
        params: Its parameters; `prompts.path` names the source of its prompt lists.
        executor: Executes the stages.
        say: Receives one line for each damaged file and each repair.

    Raises:
        ValueError: If metrics are missing, and their tables cannot be made again; if a prompt list is damaged, and the
            parameters name no other source of it; if the run would have to go back by more than a round, or has to
            evaluate a lost policy. Only `g2rpo repair` helps then.
        StoreWriteError: If the store cannot be written to.
    """
    require_source(run, params)
    restore_former(run)
    source, params = params, run.remember(params)
    found = verify(run, params)
    _report(found, say)
    if found and damaged_own_files(run, params):
        say("the run's own files are written anew")
        write_own_files(run, source, executor)
        found = verify(run)
        _report(found, say)
    drop_aside(run.path, keep=[damage.path for damage in found])
    found = _without_strays(run, found)
    found = _policies_again(run, found, params, executor, say)
    _back_to_a_whole_policy(run, found, params, say)
    left = _without_unfinished(run, found)
    for damage in left:
        _set_aside(run, damage)
    left = _metrics_again(run, left, params, executor, say)
    mark(run, left)
    if left:
        say(
            f"{_counted(left)} of earlier rounds or evaluations stay as they are, the next round does not need them: "
            f"`g2rpo repair --run {run.key[:8]}` makes them again"
        )
    return params


def _report(found: Sequence[Damage], say: Callable[[str], None]) -> None:
    for damage in found[:_NAMED]:
        say(f"damaged: {damage}")
    if len(found) > _NAMED:
        say(f"damaged: {len(found) - _NAMED} more; `g2rpo verify` lists all")


def _counted(found: Sequence[Damage]) -> str:
    return f"{len(found)} damaged file{'s' if len(found) > 1 else ''}"


def _needed_policies(policy_round: int, params: Params) -> list[int]:
    """Return the rounds of the policies that the next round needs: the one that samples, and the one to update.

    Without a next round that is the last one, which the run evaluates.
    """
    behind = params.placement.staleness if policy_round < params.run.rounds else 0
    return sorted({max(0, policy_round - behind), policy_round})


def _of_policy(run: Run, damage: Damage, policy_round: int) -> bool:
    """Whether damage concerns a policy: its files, or the manifest with their digests."""
    folder = run.policy_folder(policy_round)
    return damage.path.parent == folder or damage.path == manifest_path(folder.parent, _UPDATE)


def _is_whole(run: Run, policy_round: int, found: Sequence[Damage]) -> bool:
    """Whether a policy exists as it was written; the base does, as one of the run's own files."""
    if policy_round == 0:
        return True
    return not any(_of_policy(run, damage, policy_round) for damage in found) and not missing_files(
        run.policy_folder(policy_round)
    )


def _policies_again(
    run: Run, found: list[Damage], params: Params, executor: StageExecutor, say: Callable[[str], None]
) -> list[Damage]:
    """Make the damaged policies that the run needs again, if their update can; return the remaining damage."""
    for policy_round in _needed_policies(min(run.num_finished, params.run.rounds), params):
        number = policy_round - 1
        if _is_whole(run, policy_round, found) or _is_pruned(run, policy_round, found):
            continue
        if not _can_be_updated(run, number, found):
            break
        say(f"the policy after {policy_round} rounds is made again by the update of its round")
        broken = [damage for damage in found if (damage.stage, damage.number) == (_UPDATE, number)]
        try:
            keep_former(run, _UPDATE, number)
            for damage in broken:
                remove(run, damage)
            run_again(run, _UPDATE, number, params, executor)
        except ChangedError:
            say("the result differs from the lost one, e.g. because of another machine")
            break
        found = [damage for damage in found if damage not in broken]
    return found


def _can_be_updated(run: Run, number: int, found: Sequence[Damage]) -> bool:
    """Whether the update of a round can run again, and its manifest can show that the policy is the same."""
    folder = run.round_folder(number)
    manifest, doubted = manifest_path(folder, _UPDATE), {(damage.number, damage.stage) for damage in found}
    if read_manifest(folder, _UPDATE) is None or any(damage.path == manifest for damage in found):
        return False
    tables = [name for name in _UPDATE.inputs if name not in POLICY_INPUTS]
    return _is_whole(run, number, found) and all(
        is_there(run, name, number) and (number, WRITER[name]) not in doubted for name in tables
    )


def _back_to_a_whole_policy(run: Run, found: Sequence[Damage], params: Params, say: Callable[[str], None]) -> None:
    """Go back a round if a policy that the next round needs is lost.

    Raises:
        ValueError: If one round is not enough, or if the run has its rounds and has to evaluate the lost policy.
    """
    finished = run.num_finished
    last = min(finished, params.run.rounds)
    lost = [p for p in _needed_policies(last, params) if not _is_whole(run, p, found)]
    if not lost:
        return
    if finished >= params.run.rounds:
        if _is_pruned(run, last, found) or (finished == last and _is_evaluated(run, last, found, params)):
            return
        raise _lost_error(run, last, found)
    lost_before = [p for p in _needed_policies(finished - 1, params) if not _is_whole(run, p, found)]
    if lost_before:
        raise _lost_error(run, max(lost_before), found)
    say(
        f"the run goes back from round {finished} to round {finished - 1}, the last whose policy is whole; round "
        f"{finished} and its evaluations are done again (whole stages are skipped)"
    )
    go_back(run, finished - 1)


def _is_pruned(run: Run, policy_round: int, found: Sequence[Damage]) -> bool:
    """Whether retention has pruned a policy after more rounds than the run asks for now; the loop makes it again."""
    damaged = any(_of_policy(run, damage, policy_round) for damage in found)
    return (
        policy_round < run.num_finished
        and not damaged
        and "policy" in pruned_outputs(run.round_folder(policy_round - 1))
    )


def _is_evaluated(run: Run, policy_round: int, found: Sequence[Damage], params: Params) -> bool:
    """Whether all evaluations of a run's last policy are there, so that nothing reads the policy."""
    if any((damage.stage, damage.number) == (EVALUATE, policy_round) for damage in found):
        return False
    try:
        return all(is_done(run, EVALUATE, policy_round, by) for by in (params, for_report(params)))
    except ValueError:  # the policy's state is damaged
        return False


def _lost_error(run: Run, policy_round: int, found: Sequence[Damage]) -> ValueError:
    whole = next(n for n in range(policy_round - 1, -1, -1) if _is_whole(run, n, found))
    return ValueError(
        f"A whole policy after {policy_round} rounds is required, got a damaged file or none. `g2rpo repair --run "
        f"{run.key[:8]}` rebuilds it from the policy after {whole} rounds, with the same numbers; or bring it back "
        "from a copy, e.g. by `dvc checkout`."
    )


def _without_strays(run: Run, found: Sequence[Damage]) -> list[Damage]:
    """Remove files that no stage wrote; return the rest of the damage."""
    left = []
    for damage in found:
        known = (run.metrics_path(damage.number), tombstone_path(run.round_folder(damage.number)))
        if damage.stage or damage.path in known:
            left.append(damage)
        else:
            remove(run, damage)
    return left


def _without_unfinished(run: Run, found: Sequence[Damage]) -> list[Damage]:
    """Remove damaged files of unfinished rounds; return the damage of finished ones."""
    left = []
    for damage in found:
        if damage.stage == EVALUATE:
            if _evaluation(damage).is_dir():
                left.append(damage)
        elif damage.number >= run.num_finished:
            remove(run, damage)
        else:
            left.append(damage)
    return left


def _set_aside(run: Run, damage: Damage) -> None:
    """Rename a damaged file of a policy or evaluation; for a damaged manifest, the tables that it describes."""
    if damage.stage == EVALUATE:
        folder = _evaluation(damage)
        manifest = damage.path == manifest_path(folder, EVALUATE)
        tables = [path for name in EVALUATE.outputs for path in (folder / name).glob("[!.]*")]
        for path in tables if manifest else [damage.path]:
            set_aside(path)
    elif damage.stage == _UPDATE:
        folder = run.policy_folder(damage.number + 1)
        if damage.path.parent == folder:
            set_aside(damage.path)
        elif damage.path == manifest_path(folder.parent, _UPDATE):
            try:
                policy_state(folder)
            except ValueError:  # without the manifest, `verify` does not see that it is damaged
                set_aside(folder / STATE)


def _evaluation(damage: Damage) -> Path:
    """Return the folder of a damaged evaluation."""
    return damage.path.parent if damage.path.name == "evaluate.json" else damage.path.parents[1]


def _metrics_again(
    run: Run, left: list[Damage], params: Params, executor: StageExecutor, say: Callable[[str], None]
) -> list[Damage]:
    """Compute damaged metrics anew; make damaged tables of their round again first."""
    for number in [damage.number for damage in left if damage.path == run.metrics_path(damage.number)]:
        of_round = [damage for damage in left if damage.number == number and damage.stage != EVALUATE]
        left = [damage for damage in left if damage not in of_round]
        if len(of_round) == 1:
            run.write_metrics(number, round_metrics(run, number))
            continue
        say(f"round {number}, counted from 0, is made again where it is damaged, to compute its metrics anew")
        others = {damage.path for damage in verify(run)} - {damage.path for damage in of_round}
        make_again(run, of_round, params, executor, leaving=others)
    return left
