"""An estimate of a round of FLUX.1-dev by the paper's recipe on several GPUs: arithmetic on stated assumptions.

Nothing is measured here. Evaluations are exact (stages/readings/budget.py); operations are those of
docs/performance.md; rates are assumptions, which the command line can change.

    python benchmarks/scaling.py     prints a table, and a JSON object as its last line
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path

import pandas as pd

from stages.params.file import load_params
from stages.readings.budget import round_evaluations

PRESET = Path(__file__).parents[1] / "presets/flux1-dev-hps-clip-8gpu.yaml"
ROW = 37.28e12  # operations of an evaluation at 720 x 720
BESIDE = 1.5e15  # of decoding and scoring, per prompt
PARAMETERS = 11.9e9
A_NODE = 8  # GPUs


@dataclass(frozen=True)
class Rates:
    """The assumptions."""

    operations: float
    """Per second on a GPU: 55 % of 700 TFLOP/s."""
    within: float
    """Bytes per second that a GPU exchanges with the others of its node."""
    between: float
    """The same with GPUs of other nodes."""
    disk: float
    """Bytes per second that one process writes to the store."""
    shard: float
    """Seconds of Ray and files per shard, as benchmarks/runners.py measures them."""


@dataclass(frozen=True)
class Round:
    """Seconds of a round on a number of GPUs."""

    gpus: int
    prompts: int
    evaluations: int
    painting: float
    update: float
    exchange: float
    """Of weights and gradients during the update."""
    storing: float
    """Of weights and moments, which one process writes; the others have them from the exchange."""
    total: float
    efficiency: float
    """Over one GPU with the same prompts, if it could hold them."""


def a_round(gpus: int, prompts: int, rates: Rates) -> Round:
    """Return the seconds of a round; a shard is one prompt, so no more GPUs than prompts sample."""
    params = load_params(
        PRESET, [f"prompts.num_prompts={prompts}", f"placement.num_runners={gpus}", "prompts.shard_size=1"]
    )
    evaluations = round_evaluations(params, 0)
    sites = prompts * len(params.rollout.steps)
    update_rows = 4 * sites  # forward, the same again for checkpointing, and a backward of two forwards' work
    sampling_rows = evaluations - 3 * sites - min(sites, params.update.micro_batch)
    shard = (sampling_rows * ROW / prompts + BESIDE) / rates.operations + rates.shard
    painting = ceil(prompts / gpus) * shard
    update = ceil(sites / gpus) * update_rows / sites * ROW / rates.operations
    calls = ceil(ceil(sites / gpus) / params.update.micro_batch)
    rate = rates.within if gpus <= A_NODE else rates.between
    exchange = (gpus > 1) * (calls * (2 * 2 + 4) + 4 * 4) * PARAMETERS / rate  # see docs/performance.md
    storing = 12 * PARAMETERS / rates.disk
    total = painting + update + exchange + storing
    alone = prompts * shard + update_rows * ROW / rates.operations + storing
    seconds = [round(value, 1) for value in (painting, update, exchange, storing, total)]
    return Round(gpus, prompts, evaluations, *seconds, efficiency=round(alone / gpus / total, 2))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An estimate of a round of FLUX.1-dev on several GPUs.")
    for name, value in asdict(Rates(385e12, 300e9, 40e9, 2e9, 0.05)).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    rates = Rates(**vars(parser.parse_args(words)))
    rows = [asdict(a_round(*case, rates)) for case in ((8, 16), (16, 16), (64, 16), (64, 64))]
    print(pd.DataFrame(rows).to_string(index=False))
    print(json.dumps({"rates": asdict(rates), "rounds": rows}))


if __name__ == "__main__":
    main()
