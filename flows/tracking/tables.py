"""What MLflow shows of an evaluation beside its means: a row a prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.disk.tables import read_table

if TYPE_CHECKING:
    from pandas import DataFrame


def evaluation_table(folder: Path) -> "DataFrame":
    """Return an evaluation as a table to be looked through: a row for each prompt, a column for each reward.

    With several numbers of inference steps, a row for each of them too.

    Args:
        folder: An evaluation's folder.
    """
    rows = read_table(folder / "evaluations").to_pandas()
    wide = rows.pivot_table(index=["text", "prompt_id", "num_steps"], columns="reward", values="value")
    found = wide.round(5).rename_axis(columns=None).reset_index()
    words = {"text": object, "prompt_id": object}  # of pandas' own text type, MLflow's log_table warns
    return found[["text", *wide.columns, "prompt_id", "num_steps"]].astype(words)
