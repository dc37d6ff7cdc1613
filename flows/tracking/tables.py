"""The table of an evaluation in MLflow: one row per prompt."""

from pathlib import Path
from typing import TYPE_CHECKING

from stages.disk.tables import read_table

if TYPE_CHECKING:
    from pandas import DataFrame


def evaluation_table(folder: Path) -> "DataFrame":
    """Return an evaluation as a table: one row per prompt, one column per reward.

    With several numbers of inference steps, one row per prompt and number.

    Args:
        folder: An evaluation's folder.
    """
    rows = read_table(folder / "evaluations").to_pandas()
    wide = rows.pivot_table(index=["text", "prompt_id", "num_steps"], columns="reward", values="value")
    table = wide.round(5).rename_axis(columns=None).reset_index()
    types = {"text": object, "prompt_id": object}  # MLflow's log_table warns of pandas' own text type
    return table[["text", *wide.columns, "prompt_id", "num_steps"]].astype(types)
