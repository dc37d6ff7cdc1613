"""One rule for names, and which texts and variables parameters may hold."""

import pytest
from pydantic import TypeAdapter, ValidationError
from refusals import refusal, shipped

from stages.params.names import Commit, Name, Text, Title, TokenVariable, check_key, check_name

NAMES = ["judge_a", "hps-v2.1", "7", "A" * 64]
NO_NAMES = ["", "jpeg@95", "hf/jpeg", "..", ".a", "-a", "a b", "a\n", "a:b", "a%", "é", "A" * 65, "a\0"]


def accepts(kind, value):
    try:
        return TypeAdapter(kind).validate_python(value, strict=True) == value
    except ValidationError:
        return False


def test_a_name_is_what_metrics_and_file_names_take_as_one_word():
    assert [name for name in NAMES if not accepts(Name, name)] == []
    assert [name for name in NO_NAMES if accepts(Name, name)] == []


def test_texts_and_titles_are_one_line_of_any_writing_and_of_bounded_length():
    assert all(accepts(kind, "one step, Λ = {1} 漢字 @/:") for kind in (Text, Title))
    refused = ("a\nb", "\0", "\x1b[2J", "\x9b", "x" * 4097)
    assert not any(accepts(kind, text) for kind in (Text, Title) for text in refused)
    assert accepts(Text, "")
    assert not accepts(Title, "")


def test_a_commit_has_40_hex_digits():
    assert accepts(Commit, "0" * 40)
    assert not any(accepts(Commit, text) for text in ("main", "0" * 39, "0" * 41, "G" * 40, "0" * 40 + "\n"))


def test_a_name_is_checked_by_the_same_rule_wherever_it_stands():
    for name in NAMES:
        check_name("--register", name)
    for name in [*NO_NAMES, 3, None]:
        with pytest.raises(ValueError, match="^--register: a name of at most 64 letters, digits, .* Rename it.$"):
            check_name("--register", name)


def test_a_key_says_one_override_and_no_other():
    for key in ("rollout.eta", "rewards.judge-2.url", "integrate.reward_weights.a_b"):
        check_key("set", key)
    for key in ("eta", "rollout.", ".eta", "rollout..eta", "rollout.eta=1 #", "rollout.eta#", "rollout.eta\n", "a.b c"):
        with pytest.raises(ValueError, match="^set: keys of the form section.key are required, got '.*'. Example: rol"):
            check_key("set", key)


def remote(variable):
    keys = "kind: remote, url: http://x, model: m, revision: '25921e05', batch: 1, retries: 0, timeout: 1.0"
    return f"rewards.vlm={{{keys}, token_env: {variable}}}"


def test_tokens_come_from_variables_of_our_own_alone():
    assert shipped(remote("G2RPO_TOKEN_VLM")).rewards["vlm"].token_env == "G2RPO_TOKEN_VLM"
    assert shipped(remote("null")).rewards["vlm"].token_env is None
    for variable in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "G2RPO_TOKEN_", "XG2RPO_TOKEN_A", "G2RPO_TOKEN_A=B"):
        message = refusal(remote(variable))
        assert "rewards.vlm.token_env: an environment variable named G2RPO_TOKEN_ and capitals is required" in message
        assert f"got '{variable}': parameters must not send another secret" in message
        assert "Put the token into such a variable" in message
    assert not accepts(TokenVariable, "G2RPO_TOKEN_A\n")


@pytest.mark.parametrize(
    ("override", "key", "name"),
    [
        ("score.rewards=[jpeg@95]", "score.rewards.0", "jpeg@95"),
        ("rewards.hf/jpeg={kind: jpeg, quality: 95}", "rewards.hf/jpeg", "hf/jpeg"),
        ("integrate.reward_weights={a/b: 1.0}", "integrate.reward_weights.a/b", "a/b"),
        ("evaluate.rewards=[judge_b, ../x]", "evaluate.rewards.1", "../x"),
        ("evaluate.choose_by=a b", "evaluate.choose_by", "a b"),
    ],
)
def test_names_of_rewards_are_checked_when_the_parameters_are_read(override, key, name):
    message = refusal(override)
    assert f"  {key}: a name of at most 64 letters, digits, `_`, `-` and `.` that begins" in message
    assert f"got '{name}': it becomes a metric of MLflow and part of file names. Rename it." in message
    assert len(message.splitlines()) == 2
