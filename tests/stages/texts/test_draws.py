from stages.texts.draws import draw, prompt_id


def test_an_epoch_visits_every_caption_once():
    drawn = [draw(10, slot, seed=0) for slot in range(30)]
    for epoch in range(3):
        assert sorted(drawn[10 * epoch : 10 * (epoch + 1)]) == [(caption, epoch) for caption in range(10)]


def test_order_hangs_on_seed_and_epoch():
    orders = [tuple(draw(10, epoch * 10 + i, seed)[0] for i in range(10)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4


def test_prompt_ids_sort_as_their_captions_do():
    assert prompt_id("train", 42, 3) == "train-0042-003"
