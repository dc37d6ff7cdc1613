"""Data for the plots of a comparison: the tables of its runs, in a grid only the best points."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.common.rows import Rows, distinct, pick
from flows.compare.plan import ComparisonPlan
from flows.compare.stored import Measured, trained_on
from flows.compare.style import Look
from flows.compare.tables import at_best


@dataclass(frozen=True)
class Shown:
    """Tables as in `flows.compare.tables`; in a grid only each method's best point and the base there."""

    plan: ComparisonPlan
    rewards: Sequence[str]
    """All rewards, the metric first."""
    trained: Mapping[str, Sequence[str]]
    """Rewards trained on, by variant."""
    runs: Rows
    final: Rows
    curves: Rows

    @classmethod
    def of(cls, plan: ComparisonPlan, whole: Sequence[Measured], best: Rows, *tables: Rows) -> "Shown":
        """Return the rows to draw of the tables runs, final and curves.

        Args:
            plan: The plan.
            whole: Its complete runs.
            best: The best point of each method and variant; empty if the plan has no grid.
            tables: runs, final and curves, in this order.
        """
        rewards = dict.fromkeys([plan.metric, *(name for each in whole for name in each.placed.by.evaluate.rewards)])
        trained: dict[str, dict[str, None]] = {variant: {} for variant in list(plan.variants) or [""]}
        for each in whole:
            trained[each.placed.cell.variant] |= dict.fromkeys(trained_on(each.placed))
        drawn = [at_best(table, best, plan) for table in tables] if best else tables
        return cls(plan, list(rewards), {name: list(rewards) for name, rewards in trained.items()}, *drawn)

    @property
    def look(self) -> Look:
        """Colours and marks of the methods."""
        return Look(list(self.plan.methods))

    @property
    def variants(self) -> list[str]:
        """The names of the variants; one empty name if the plan has none."""
        return list(self.trained)

    @property
    def steps(self) -> list[int]:
        """Numbers of inference steps in the final figures, that of the headline first."""
        return distinct(self.final, "num_steps")

    def title(self, reward: str, variant: str) -> str:
        """Return the title of a panel. Example: `judge_a (trained on)`, and below it `two rewards`."""
        return f"{reward}{self.mark(reward, variant)}" + (f"\n{variant}" if variant else "")

    def mark(self, reward: str, variant: str) -> str:
        """Return the mark of a reward, which is empty if it is not trained on."""
        return " (trained on)" if reward in self.trained[variant] else ""

    def bases(self, variant: str, reward: str) -> list[float]:
        """Return the base's values; usually one, more if methods are evaluated differently."""
        rows = pick(self.final, variant=variant, reward=reward, num_steps=self.steps[0])
        return distinct((row for row in rows if row["method"] not in self.plan.methods), "mean")

    def against(self, variant: str) -> Iterator[tuple[str, str]]:
        """Yield pairs of each trained reward and each held-out one; if none is held out, pairs of trained ones."""
        trained = [reward for reward in self.rewards if reward in self.trained[variant]]
        held_out = [reward for reward in self.rewards if reward not in trained]
        for place, reward in enumerate(trained):
            yield from ((reward, other) for other in held_out or trained[place + 1 :])
