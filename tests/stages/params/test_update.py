import pytest
from refusals import refusal, shipped


def test_halvings_are_rounds_in_rising_order_and_one_named_twice_quarters():
    assert shipped("update.halved_after=[3, 3, 8]").update.halved_after == (3, 3, 8)
    message = "update.halved_after: rounds in rising order are required, got [8, 3]. Sort them."
    assert message in refusal("update.halved_after=[8, 3]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("update.learning_rate=.nan", "update.learning_rate: input should be"),
        ("update.learning_rate=0", "update.learning_rate: input should be greater than 0, got 0"),
        ("update.warmup_rounds=-1", "update.warmup_rounds: input should be greater than or equal to 0, got -1"),
        ("update.decay_rounds=0", "update.decay_rounds: input should be greater than or equal to 1, got 0"),
        ("update.final_frac=2", "update.final_frac: input should be less than or equal to 1, got 2"),
        ("update.halved_after=[-1]", "update.halved_after.0: input should be greater than or equal to 0, got -1"),
        ("update.betas=[0.9, 1.0]", "update.betas.1: input should be less than 1, got 1.0"),
        ("update.weight_decay=-0.1", "update.weight_decay: input should be greater than or equal to 0, got -0.1"),
        ("update.max_grad_norm=0", "update.max_grad_norm: input should be greater than 0, got 0"),
        ("update.clip_range=0", "update.clip_range: input should be greater than 0, got 0"),
        ("update.train_frac=0", "update.train_frac: input should be greater than 0, got 0"),
        ("update.train_frac=1.1", "update.train_frac: input should be less than or equal to 1, got 1.1"),
        ("update.cadence=round", "update.cadence: input should be 'iteration' or 'step', got 'round'"),
        ("update.num_epochs=0", "update.num_epochs: input should be greater than or equal to 1, got 0"),
        ("update.kl_weight=-1", "update.kl_weight: input should be greater than or equal to 0, got -1"),
        ("update.ema_decay=1", "update.ema_decay: input should be less than 1, got 1"),
        ("update.micro_batch=0", "update.micro_batch: input should be greater than or equal to 1, got 0"),
        ("update.max_log_prob_gap=0", "update.max_log_prob_gap: input should be greater than 0, got 0"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
