from diffusers.utils import logging as diffusers_logging
from policy_kit_base import FP32

from g2rpo.policies.shapes import Shapes
from g2rpo.quiet import quietly, without_notices
from g2rpo.shapes.base import shipped_base


def test_a_policy_is_loaded_without_a_notice_of_diffusers(capfd):
    Shapes(shipped_base()).load_policy(FP32, seed=0)
    assert "experimental" not in capfd.readouterr().err


def test_notices_are_hidden_within_the_block_alone():
    before = diffusers_logging.get_verbosity()
    with without_notices():
        assert diffusers_logging.get_verbosity() == diffusers_logging.ERROR
    assert diffusers_logging.get_verbosity() == before


def test_progress_bars_are_hidden_within_the_block_alone():
    with quietly():
        assert not diffusers_logging.is_progress_bar_enabled()
    assert diffusers_logging.is_progress_bar_enabled()
