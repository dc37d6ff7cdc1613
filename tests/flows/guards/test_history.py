import pytest
from histories import column, history, write_scores

from flows.guards.history import scores


def test_its_settings_are_those_of_the_section_guards():
    assert history([], "guards.kl.most=0.25").guards.kl.most == 0.25


def test_the_last_round_is_the_latest_and_before_the_first_there_is_none():
    assert history(column("update/kl", 0.1, 0.2)).last == {"update/kl": 0.2}
    assert history([]).last == {}


def test_means_are_of_the_first_ten_rounds_and_of_the_last_ten():
    """Of 0 to 24: (0 + … + 9) / 10 = 4.5 and (15 + … + 24) / 10 = 19.5."""
    assert history(column("update/kl", *range(25))).first_and_last("update/kl") == (4.5, 19.5)


@pytest.mark.parametrize(("rounds", "told"), [(19, None), (20, (1.0, 1.0))])
def test_fewer_than_twenty_rounds_have_no_first_and_last_ten(rounds, told):
    assert history(column("update/kl", *[1.0] * rounds)).first_and_last("update/kl") == told


def test_scores_are_those_of_the_first_number_of_steps_in_the_order_of_prompts(tmp_path):
    write_scores(tmp_path, policy_round=0, num_steps=8, judge_a=[0.3, 0.1, 0.2], rule_soft=[1.0, 0.0, 0.5])
    write_scores(tmp_path, policy_round=0, num_steps=4, shard=1, judge_a=[0.9, 0.9, 0.9], rule_soft=[0.9, 0.9, 0.9])
    found = scores(tmp_path, ["rule_soft"])
    assert {name: of.tolist() for name, of in found.items()} == {
        "judge_a": [0.3, 0.1, 0.2],
        "rule_soft": [1.0, 0.0, 0.5],
    }
    with pytest.raises(ValueError, match="must be an evaluation as it was written, .*, got no judge_b"):
        scores(tmp_path, ["judge_a", "judge_b"])
