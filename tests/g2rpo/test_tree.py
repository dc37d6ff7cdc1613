import pytest

from g2rpo.tree import Node, completion_tree, evaluations_per_prompt, lockstep


def test_granularities_one_and_two_share_their_first_two_nodes_by_hand():
    # T = 5, start 1: (1 2 3 4 5) and (1 2 4 5)
    assert completion_tree(5, 1, [1, 2], "fine_first") == (
        (Node(1, 0, 0, ()),),
        (Node(2, 0, 0, ()),),
        (Node(3, 0, 0, ()), Node(4, 0, 1, ())),
        (Node(4, 0, 0, ()), Node(5, 1, 1, (1,))),
        (Node(5, 0, 0, (0,)),),
    )


def test_granularities_that_take_the_same_path_end_at_one_node():
    assert completion_tree(3, 2, [1, 2], "fine_first") == ((Node(2, 0, 0, ()),), (Node(3, 0, 0, (0, 1)),))


@pytest.mark.parametrize(
    ("granularities", "most"),
    [([1], 1120), ([1, 2], 1552), ([1, 2, 3], 1828)],
)
def test_a_prompt_of_the_paper_costs_no_more_than_the_shared_tree(granularities, most):
    assert most - 8 == evaluations_per_prompt(16, range(8), 12, granularities)  # the anchor ends after step 7


def test_fronts_of_two_branches_advance_together_by_hand():
    early, late = (completion_tree(4, start, [1, 2], "even") for start in (1, 3))
    # early: 1; 2|3; 3|4; 4.   late: 3; 4 (both granularities)
    first, second, third, fourth = lockstep([early, late])
    assert first.level.tolist() == [1, 3]
    assert (second.branch.tolist(), second.level.tolist()) == ([0, 0, 1], [2, 3, 4])
    assert (second.parent.tolist(), second.payer.tolist()) == ([0, 0, 1], [0, 1, 0])
    assert (second.end_row.tolist(), second.end_granularity.tolist()) == ([2, 2], [0, 1])
    assert (third.level.tolist(), third.parent.tolist()) == ([3, 4], [0, 1])
    assert (fourth.level.tolist(), fourth.end_granularity.tolist()) == ([4], [0])


@pytest.mark.parametrize("granularities", [[], [1, 1]])
def test_granularities_must_be_distinct_and_some(granularities):
    with pytest.raises(ValueError, match="distinct and at least one"):
        completion_tree(4, 1, granularities, "even")
