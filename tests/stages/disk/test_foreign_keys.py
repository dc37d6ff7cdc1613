import numpy as np
import pyarrow as pa
import pytest

from stages.disk.foreign_keys import check_foreign_key, check_parents
from stages.disk.tables import ANCHORS, SHARED, arrow


def prompts(*ids):
    return pa.table({"prompt_id": list(ids)})


def anchors(ids):
    of = {"prompt_id": list(ids), "origin": [SHARED] * len(ids), "step": [0] * len(ids)}
    levels = {"sigma": [1.0] * len(ids), "sigma_next": [0.5] * len(ids)}
    latents = np.zeros((len(ids), 2), np.float32)
    return arrow(ANCHORS, of | levels | {"latents": latents, "velocity": latents})


def test_a_row_without_its_parent_is_refused_with_its_key():
    with pytest.raises(ValueError, match=r"Each row of anchors needs a row of prompts .*\('q',\).*Run the stage"):
        check_parents(anchors(["p", "q"]), ANCHORS, {"prompts": prompts("p")})
    check_parents(anchors(["p"]), ANCHORS, {"prompts": prompts("p", "q")})


def test_any_columns_of_two_tables_can_be_held_against_each_other():
    child, parent = (pa.table({"a": values, "b": [0] * len(values)}) for values in ([3, 1, 2], [2, 4]))
    with pytest.raises(ValueError, match=r"Each row of x needs a row of y with its a, b, got none for \(1, 0\). Run"):
        check_foreign_key("x", child, "y", parent, ("a", "b"))
    check_foreign_key("x", child, "y", parent, ("b",))


def test_a_parent_that_is_not_given_is_not_checked():
    check_parents(anchors(["p"]), ANCHORS, {})
