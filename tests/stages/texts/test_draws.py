import pytest
from prompt_files import written
from tiny import tiny_params

from g2rpo.shapes.captions import captions
from stages.contract.declared_stages import STAGES
from stages.contract.job import Job
from stages.disk.tables import read_table
from stages.texts.draws import check_prompts, draw, drawn_texts, noise_seeds, prompt_id


def test_an_epoch_visits_every_caption_once():
    drawn = [draw(10, slot, seed=0) for slot in range(30)]
    for epoch in range(3):
        assert sorted(drawn[10 * epoch : 10 * (epoch + 1)]) == [(caption, epoch) for caption in range(10)]


def test_order_depends_on_seed_and_epoch():
    orders = [tuple(draw(10, epoch * 10 + i, seed)[0] for i in range(10)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_prompt_ids_sort_as_their_captions_do():
    assert prompt_id("train", 42, 3) == "train-0042-003"


@pytest.fixture
def few(tmp_path):
    """Parameters of rounds of four prompts that are drawn from a list of five."""
    written(tmp_path, "train.txt", "\n".join(captions("train")[:5]))
    for split in ("tuning", "test"):
        written(tmp_path, f"{split}.txt", "\n".join(captions(split)))
    return tiny_params(f"prompts.path={tmp_path}", "prompts.num_prompts=4")


def test_texts_and_noises_of_a_round_are_those_that_its_stage_writes(few, tmp_path):
    for number in (0, 1):
        job = Job(few, number, {}, {"prompts": tmp_path / str(number)}, stamp="1")
        STAGES["prompts"].load()(job, None)
        rows = read_table(job.outputs["prompts"])
        assert noise_seeds(few, number) == rows["noise_seed"].to_pylist()
        assert drawn_texts(few, [number]) == list(dict.fromkeys(rows["text"].to_pylist()))


def test_no_prompt_of_a_run_starts_from_the_noise_of_another(few):
    seeds = [seed for number in range(5) for seed in noise_seeds(few, number)]
    assert len({*seeds}) == 20
    assert noise_seeds(few.model_copy(update={"run": few.run.model_copy(update={"seed": 1})}), 0)[0] not in seeds


def test_the_texts_that_rounds_draw_are_each_there_once(few):
    assert len(drawn_texts(few, [0])) == 4
    assert sorted(drawn_texts(few, [0, 1])) == sorted(captions("train")[:5])
    assert drawn_texts(few, []) == []
    assert sorted(drawn_texts(few, range(10**12))) == sorted(captions("train")[:5])


def test_a_round_of_more_prompts_than_there_are_texts_is_refused(few):
    check_prompts(few)
    more = few.model_copy(update={"prompts": few.prompts.model_copy(update={"num_prompts": 6})})
    with pytest.raises(ValueError, match=r"prompts.num_prompts: at most the 5 texts of split train make a round, got"):
        check_prompts(more)


def test_lists_with_a_common_text_are_refused_before_a_round_is_drawn(few, tmp_path):
    written(tmp_path, "test.txt", captions("train")[2])
    with pytest.raises(ValueError, match="lists without a common text are required, got 1 in both test and train"):
        check_prompts(few)
