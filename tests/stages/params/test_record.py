"""Whether the sections of a params.yaml agree with each other, and what follows from several of them."""

import pytest
from refusals import of_preset, refusal, shipped

from stages.params.record import Params, for_report
from stages.params.section import Section

RAY = ("placement.runner=ray", "placement.num_runners=4")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["score.rewards=[judge_b]"], "integrate.reward_weights: one weight for each of score.rewards ['judge_b']"),
        (
            ["update.num_minibatches=7", "prompts.num_prompts=8", "update.cadence=iteration"],
            "update.num_minibatches: a divisor of prompts.num_prompts is required, and 1 at cadence step, got 7 with 8",
        ),
        (["update.train_frac=0.6"], "update.train_frac: 1 is required with rollout.method g2rpo"),
        (
            ["rollout.steps=[2]", "complete.granularities=[2, 3]"],
            "complete.granularities: granularities that reach the picture by different steps are required, got [2, 3]",
        ),
        (["report.split=tuning"], "report.split: a split other than evaluate.split is required, since"),
        (
            [*RAY, "resources.device=cuda", "placement.gpus_per_runner=0"],
            "placement.gpus_per_runner: 1 is required with resources.device cuda and 0 with cpu, got 0 with cuda",
        ),
        (
            [*RAY, "resources.device=cpu", "placement.gpus_per_runner=1"],
            "placement.gpus_per_runner: 1 is required with resources.device cuda and 0 with cpu, got 1 with cpu",
        ),
        (["resources.quantise=int8"], "resources.quantise: a policy with an adapter is required"),
    ],
)
def test_sections_that_disagree_are_refused_with_both_keys(overrides, message):
    assert message in refusal(*overrides)


def test_weights_in_shares_are_refused_where_an_adapter_is_trained():
    with pytest.raises(ValueError, match=r"placement.parallel: ddp or auto is required to train an adapter, got fsdp"):
        of_preset("tiny-flux", "placement.parallel=fsdp")


def test_a_device_that_is_found_out_later_may_have_a_gpu_for_each_runner():
    assert shipped(*RAY, "resources.device=auto", "placement.gpus_per_runner=1").placement.gpus_per_runner == 1


def test_an_adapter_is_trained_where_lora_is_set():
    assert of_preset("tiny-flux").adapted
    assert not of_preset("tiny-flux", "policy.lora=null").adapted
    assert not shipped().adapted


@pytest.mark.parametrize(
    ("parallel", "lora", "shares"),
    [("auto", "", True), ("fsdp", "", True), ("ddp", "", False), ("auto", "adapter", False), ("ddp", "adapter", False)],
)
def test_all_weights_lie_in_shares_on_several_runners_unless_copies_are_set(parallel, lora, shares):
    how = [*RAY, f"placement.parallel={parallel}", *([] if lora else ["policy.lora=null"])]
    assert of_preset("tiny-flux", *how).trains_sharded == shares


def test_one_process_needs_no_shares():
    assert not shipped("placement.parallel=fsdp").trains_sharded
    assert not shipped(*RAY, "placement.parallel=fsdp", "placement.update_runners=1").trains_sharded


def test_the_report_evaluates_its_own_split_and_else_as_evaluate_says():
    params = shipped("report.num_prompts=5", "report.num_steps=null", "evaluate.num_steps=[4]")
    final = for_report(params).evaluate
    assert (final.split, final.num_prompts, final.num_steps) == ("test", 5, (4,))
    assert final.rewards == params.evaluate.rewards
    assert for_report(shipped("report.num_steps=[9]")).evaluate.num_steps == (9,)


def unbounded(schema, place=""):
    """Places of a JSON schema that take numbers, texts or collections of any size."""
    kind = schema.get("type")
    bounds = {
        "integer": [{"maximum", "exclusiveMaximum"}, {"minimum", "exclusiveMinimum"}],
        "number": [{"maximum", "exclusiveMaximum"}, {"minimum", "exclusiveMinimum"}],
        "string": [{"maxLength", "pattern"}],
        "array": [{"maxItems"}],
        "object": [{"properties", "maxProperties"}],
    }
    if not schema.keys() & {"enum", "const"}:
        missing = [any_of for any_of in bounds.get(kind, ()) if not schema.keys() & any_of]
        yield from (f"{place}: {kind} without {' or '.join(sorted(any_of))}" for any_of in missing)
    inner = {**schema.get("$defs", {}), **schema.get("properties", {}), "[]": schema.get("items", {})}
    inner |= {"{}": schema.get("additionalProperties") or {}, "key": schema.get("propertyNames", {})}
    inner |= {str(number): one for number, one in enumerate(schema.get("anyOf", []) + schema.get("prefixItems", []))}
    for name, one in inner.items():
        yield from unbounded(one, f"{place}.{name}") if one else ()


def test_every_number_text_and_list_of_the_parameters_has_a_bound():
    assert list(unbounded(Params.model_json_schema())) == []


def test_a_key_without_a_bound_would_be_found():
    class Loose(Section):
        count: int
        name: str
        weights: tuple[float, ...]

    assert [line.split(" without")[0] for line in unbounded(Loose.model_json_schema())] == [
        *(".count: integer", ".count: integer", ".name: string", ".weights: array"),
        *(".weights.[]: number", ".weights.[]: number"),
    ]


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e400", "1e300"])
def test_no_number_is_infinite_or_none_or_beyond_what_anything_measures(value):
    numbers = [
        f"{section}.{key}"
        for section, keys in shipped().model_dump().items()
        for key, known in keys.items()
        if isinstance(known, float)
    ]
    assert len(numbers) > 10
    for key in numbers:
        assert f"{key}: input should be" in refusal(f"{key}={value}")


def test_numbers_whose_product_is_too_large_are_refused_before_anything_is_listed():
    assert "report.num_noises: at most 1,000,000 pictures" in refusal(
        "report.num_prompts=1001", "report.num_noises=1000"
    )
    assert "evaluate.num_noises: at most 1,000,000" in refusal("evaluate.num_prompts=1001", "evaluate.num_noises=1000")
    message = refusal("prompts.num_prompts=1000000", "rollout.group_size=10")
    assert "prompts.num_prompts: at most 10,000,000 branches of a round" in message
    assert "got 20,000,000. Lower one." in message
