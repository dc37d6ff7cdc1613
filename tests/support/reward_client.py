"""A client of a reward server, and what it asks it."""

import pytest
import torch
from reward_servers import PIN

from g2rpo.rewards.protocol import RewardError
from g2rpo.rewards.remote import load_remote

TEXTS = ["one", "one two", "one two three", "", "a b c d e"]
SCORES = [1.0, 2.0, 3.0, 0.0, 5.0]


def judge(url, **changes):
    settings = {"batch": 4, "retries": 2, "timeout": 10.0, "token": None}
    return load_remote("vlm", **(PIN | settings | {"url": url} | changes))


def pictures(number=5):
    return torch.rand(number, 3, 6, 5, generator=torch.Generator().manual_seed(0))


def refusal(server, **changes):
    """The error for pictures of which the last is picture 4 of the batch, item 0 of the second request."""
    with pytest.raises(RewardError) as caught:
        judge(server.url, **changes).score(pictures(), TEXTS)
    return caught.value
