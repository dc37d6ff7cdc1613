"""A run that goes on from the best round of another, with half the learning rate: what a guard's rollback makes.

The child has its parent's parameters and one more entry in `update.halved_after`. Its first rounds are therefore its
parent's, bit for bit, and are linked rather than made again; from its own parameters alone it comes out the same.
"""

from stages.disk.files import link_or_copy, make_folder, writing
from stages.params.record import Params
from stages.store.fingerprint import Fingerprint
from stages.store.lock import locked
from stages.store.run import Run, run_of, stored_runs, write_about
from stages.store.transfer import files_of, round_of


def child_params(params: Params, best: int) -> Params:
    """Return the parameters of the run that goes on after `best` rounds with half the learning rate.

    Halvings that the parent had later come at once, so that no rollback raises the rate.
    """
    halved = (*(min(after, best) for after in params.update.halved_after), best)
    return params.with_values({"update.halved_after": halved})


def begin_child(parent: Run, params: Params, best: int, *, reason: str, device: str) -> Run:
    """Return the child of a run, begun with its parent's first rounds if it is new; nothing of the parent changes.

    Killed within and called again it completes what is there; a child that has gone on already stays as it is.

    Args:
        params: The parent's parameters.
        best: Rounds that the child has in common with its parent.
        reason: Why, in a word, as `reward_hacking`; noted in the child's run.json.
        device: A kind of device, "cpu" or "cuda".

    Raises:
        StoreWriteError: If the store cannot be written to.
    """
    chosen = child_params(params, best)
    found = Fingerprint.of(chosen, device)
    child = run_of(found)
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
            write_about(child, chosen, found, parent=why)
        if child.num_finished < best:
            child.finish_round(best - 1)
    return child


def youngest(run: Run) -> Run:
    """Return the run that a run of the store has gone on as, through all its rollbacks; itself if there was none."""
    children = [child for child in stored_runs() if (child.parent or {}).get("key") == run.key]
    return youngest(max(children, key=lambda child: child.about["created_at"])) if children else run
