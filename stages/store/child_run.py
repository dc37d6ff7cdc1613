"""A child run, made by a guard's rollback: it continues from the best round of another with half the learning rate.

The child has its parent's parameters and one more entry in `update.halved_after`. Its first rounds therefore
equal its parent's bit by bit, and are linked, not computed again; its own parameters alone reproduce it.
"""

from stages.disk.files import link_or_copy, make_folder, writing
from stages.params.record import Params
from stages.store.adopted import is_foreign
from stages.store.fingerprint import Fingerprint
from stages.store.lock import locked
from stages.store.run import Run, is_run, run_of, stored_runs, write_about
from stages.store.run_files import files_of, round_of


def child_params(params: Params, best: int) -> Params:
    """Return the parameters of the run that continues after `best` rounds with half the learning rate.

    Later halvings of the parent apply at once, so that no rollback raises the rate.
    """
    halved = (*(min(after, best) for after in params.update.halved_after), best)
    return params.with_values({"update.halved_after": halved})


def begin_child(parent: Run, params: Params, best: int, *, reason: str, device: str) -> Run:
    """Return the child of a run; a new child gets its parent's first rounds. The parent does not change.

    A call after a kill completes the child; a child that has already continued stays as it is.

    Args:
        params: The parent's parameters.
        best: Number of rounds that the child shares with its parent.
        reason: The reason in a word, such as `reward_hacking`, for the child's run.json.
        device: A kind of device, "cpu" or "cuda".

    Raises:
        StoreWriteError: If the store cannot be written to.
    """
    halved = child_params(params, best)
    fingerprint = Fingerprint.of(halved, device)
    child = run_of(fingerprint)
    make_folder(child.path)
    with locked(child.path):
        for path in files_of(parent.path):
            within = path.relative_to(parent.path)
            target = child.path / within
            shared = within.parts[0] in ("rounds", "metrics", "evaluations") and round_of(within) <= best
            if shared and not target.is_file():
                with writing(target):
                    link_or_copy(path, target)
        if not (child.path / "run.json").is_file():
            generation = (parent.parent or {"generation": 0})["generation"] + 1
            why = {"key": parent.key, "round": best, "reason": reason, "generation": generation}
            write_about(child, halved, fingerprint, parent=why)
        if child.num_finished < best:
            child.finish_round(best - 1)
    return child


def last_descendant(run: Run) -> Run:
    """Return the last child of a run through all its rollbacks; the run itself if there were none.

    What an adopted run, or one of another user, says of its parent does not count.
    """
    abouts = {child: child.about for child in stored_runs() if is_run(child.path) and not is_foreign(child.path)}
    last, seen = run, {run.key}
    while children := [child for child, about in abouts.items() if (about.get("parent") or {}).get("key") == last.key]:
        last = max(children, key=lambda child: abouts[child]["created_at"])
        if last.key in seen:  # somebody has edited them
            break
        seen.add(last.key)
    return last
