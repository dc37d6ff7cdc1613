"""Names of the methods, and where they were published."""

import pytest
from methods import METHODS
from tiny import tiny_params

from flows.report.published_methods import Published, published


@pytest.mark.parametrize(
    ("method", "name", "arxiv"),
    [
        ("g2rpo", "G²RPO", "2510.01982"),
        ("mix_grpo", "MixGRPO", "2507.21802"),
        ("flow_grpo", "Flow-GRPO", "2505.05470"),
        ("dance_grpo", "DanceGRPO", "2505.07818"),
    ],
)
def test_a_run_is_named_by_the_paper_of_its_method(method, name, arxiv):
    assert published(tiny_params(*METHODS[method])) == Published(name, arxiv)
