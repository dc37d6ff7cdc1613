import pytest
from prompt_files import written
from tiny import tiny_params

from g2rpo.shapes.captions import captions
from stages.texts.held_out import held_out

EIGHT = captions("tuning")[:8]


@pytest.fixture
def params_with(tmp_path):
    """Makes parameters by which held-out prompts are taken from a list of eight."""
    written(tmp_path, "tuning.txt", "\n".join(EIGHT))

    def make(*overrides):
        return tiny_params(f"prompts.path={tmp_path}", "evaluate.split=tuning", *overrides)

    return make


def test_captions_are_spread_evenly_each_with_its_noises(params_with):
    prompts = held_out(params_with("evaluate.num_prompts=3", "evaluate.num_noises=2"))
    assert prompts.ids == [f"tuning-{caption:04d}-{noise:03d}" for noise in (0, 1) for caption in (0, 2, 5)]
    assert prompts.texts == [EIGHT[0], EIGHT[2], EIGHT[5]] * 2
    assert len({*prompts.seeds}) == 6


def test_the_noise_depends_on_the_caption_and_not_on_run_place_or_number(params_with):
    all_of_them = held_out(params_with("evaluate.num_prompts=8", "run.seed=5"))
    some = held_out(params_with("evaluate.num_prompts=2"))
    own = held_out(tiny_params("evaluate.split=tuning", "evaluate.num_prompts=146"))
    assert some.texts == [EIGHT[0], EIGHT[4]]
    assert some.seeds == [all_of_them.seeds[0], all_of_them.seeds[4]]
    assert own.seeds[:8] == all_of_them.seeds


def test_more_captions_than_there_are_is_refused(params_with):
    with pytest.raises(ValueError, match=r"evaluate.num_prompts: at most the 8 captions of split tuning .*, got 9"):
        held_out(params_with("evaluate.num_prompts=9"))
