"""A plan with its runs, each with its folder in the store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.compare.cells import cells_of, require_distinct
from flows.compare.machine import machine
from flows.compare.plan import ComparisonPlan, load_plan
from flows.compare.stored import Placed
from stages.sources.device import run_device


@dataclass(frozen=True)
class Comparison:
    """A plan with its runs. Example: name "compare", plan `presets/compare.yaml`, 25 runs."""

    name: str
    path: Path
    plan: ComparisonPlan
    runs: list[Placed]

    @classmethod
    def of(cls, path: Path) -> "Comparison":
        """Return the comparison of a plan's file, after all checks that need no computation.

        Raises:
            ValueError: If the plan or the parameters of a run are not valid, or base weights, rewards or the tracking
                server are not available; no run has started then.
        """
        plan = load_plan(path)
        cells = cells_of(plan, path.parent)
        runs = [Placed.of(cell, plan.split, device=run_device(cell.params).type) for cell in cells]
        require_distinct(cells, [placed.key for placed in runs])
        return cls(path.stem, path, plan, runs)

    def task(self, placed: Placed) -> dict[str, Any]:
        """Return a run as a task of `flows.compare.plan_process`."""
        cell = placed.cell
        links = {"plan": self.name, "method": cell.method, "variant": cell.variant, "machine": machine()}
        return {
            "params": cell.params.model_dump(mode="json"),
            "links": {name: value for name, value in links.items() if value},
            "split": self.plan.split,
            "runs": [str(each.run.path) for each in self.runs],
            "log": str(placed.log(self.name)),
        }
