"""Damage as disks, people and other runs do it. A file is replaced, so that a copy that shares it stays whole."""

import os
import shutil

from repetition import same_numbers

from flows.guards.watch import Guards
from flows.observers.observer import Observers
from flows.training.loop import Loop, call_plainly
from stages.disk.files import read_sealed, write_sealed
from stages.integrity.repair import repair
from stages.integrity.resume import resume
from stages.integrity.verify import verify
from stages.store.run import Run


def flip(path):
    """Turn one byte in the middle of a file."""
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    replace(path, damaged)


def halve(path):
    replace(path, path.read_bytes()[: path.stat().st_size // 2])


def lose(path):
    path.unlink()


def replace(path, content):
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def edit(path, change):
    """Edit a sealed file as somebody who knows of seals: the seal is made to fit."""
    value = read_sealed(path)
    change(value)
    write_sealed(path, value)


def linked_copy(folder, target):
    """A copy of a store or of a run, by hard links; without lock, and without MLflow, whose paths are absolute."""
    left_out = shutil.ignore_patterns("lock", "mlflow.db", "mlartifacts")
    shutil.copytree(folder, target, copy_function=os.link, ignore=left_out)
    return target


def bring_to_the_end(run, params, resources):
    """Repair a run and train it to its end, without console and tracking; return the files found damaged."""
    found = verify(run)
    repair(run, found, params, resources)
    _train(run, params, resources)
    return [damage.path for damage in found]


def go_on(run, params, resources):
    """Do with a run what `g2rpo train` does, without console and tracking; return what is said of its damage."""
    said = []
    resume(run, params, resources, said.append)
    _train(run, params, resources)
    return said


def _train(run, params, resources):
    loop = Loop(run, params, resources, call_plainly, Observers([]), Guards(run, params))
    loop.train()
    loop.evaluate_finally()


def numbers(run):
    """The metrics that a repetition must reproduce."""
    return [same_numbers(metrics) for metrics in Run(run.path).metrics()]
