"""What the plots of a comparison draw: the tables of its runs, of a grid the best points only."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.common.rows import Rows, distinct, pick
from flows.compare.plan import ComparisonPlan
from flows.compare.stored import Measured, trained_on
from flows.compare.style import Look
from flows.compare.tables import at_best


@dataclass(frozen=True)
class Shown:
    """Tables as in `flows.compare.tables`, of a grid each method's best point and the base there."""

    plan: ComparisonPlan
    rewards: Sequence[str]
    """The metric first."""
    trained: Mapping[str, Sequence[str]]
    """Rewards trained on, by variant."""
    runs: Rows
    final: Rows
    curves: Rows

    @classmethod
    def of(cls, plan: ComparisonPlan, whole: Sequence[Measured], best: Rows, *tables: Rows) -> "Shown":
        """Return what is drawn of the tables runs, final and curves.

        Args:
            plan: The plan.
            whole: Its runs that are whole.
            best: The best point of each method and variant; nothing where the plan has no grid.
            tables: In this order.
        """
        rewards = dict.fromkeys([plan.metric, *(name for each in whole for name in each.placed.by.evaluate.rewards)])
        trained: dict[str, dict[str, None]] = {variant: {} for variant in list(plan.variants) or [""]}
        for each in whole:
            trained[each.placed.cell.variant] |= dict.fromkeys(trained_on(each.placed))
        chosen = [at_best(table, best, plan) for table in tables] if best else tables
        return cls(plan, list(rewards), {name: list(rewards) for name, rewards in trained.items()}, *chosen)

    @property
    def look(self) -> Look:
        """Of its methods."""
        return Look(list(self.plan.methods))

    @property
    def variants(self) -> list[str]:
        """Their names; one that is empty where the plan has none."""
        return list(self.trained)

    @property
    def steps(self) -> list[int]:
        """Numbers of inference steps of the final figures, the headline's first."""
        return distinct(self.final, "num_steps")

    def title(self, reward: str, variant: str) -> str:
        """Return what a panel is headed by. Example: `judge_a (trained on)`, and below it `two rewards`."""
        return f"{reward}{self.mark(reward, variant)}" + (f"\n{variant}" if variant else "")

    def mark(self, reward: str, variant: str) -> str:
        """Return what marks a reward that was trained on."""
        return " (trained on)" if reward in self.trained[variant] else ""

    def bases(self, variant: str, reward: str) -> list[float]:
        """Return the base's values; one, but where methods are judged in ways of their own."""
        rows = pick(self.final, variant=variant, reward=reward, num_steps=self.steps[0])
        return distinct((row for row in rows if row["method"] not in self.plan.methods), "mean")

    def against(self, variant: str) -> Iterator[tuple[str, str]]:
        """Yield each trained reward with each held-out one; without any held out, with the other trained ones."""
        trained = [reward for reward in self.rewards if reward in self.trained[variant]]
        held_out = [reward for reward in self.rewards if reward not in trained]
        for place, reward in enumerate(trained):
            yield from ((reward, other) for other in held_out or trained[place + 1 :])
