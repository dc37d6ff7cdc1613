"""A reward that a test holds back, behind a reference server in a thread of the test."""

import contextlib
import threading
import types

import httpx
import torch
from reward_servers import running
from score_requests import png

from flows.reward_server.scoring import Served
from flows.reward_server.serve import server_of
from g2rpo.rewards.protocol import RewardError

PIN = {"model": "lengths", "revision": "r1"}


class Lengths:
    """The length of each text, once a test lets it; refuses `bad` texts, and gives NaN for `nan`."""

    name, module = "lengths", None

    def __init__(self):
        self.free = threading.Event()
        self.renew()

    def renew(self):
        self.free.set()
        self.begun = threading.Semaphore(0)
        self.texts, self.shapes = [], []

    def score(self, images, texts):
        self.texts.append(list(texts))
        self.shapes.append(tuple(images.shape))
        self.begun.release()
        assert self.free.wait(30)
        if "bad" in texts:
            raise RewardError("a text that cannot be judged")
        if images.shape[3] == 5:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        if "full" in texts:
            raise torch.OutOfMemoryError("out of memory")
        return torch.tensor([float("nan") if text == "nan" else float(len(text)) for text in texts])


def served(reward):
    return Served(reward, **PIN, max_batch=4, device=torch.device("cpu"))


@contextlib.contextmanager
def lengths_server(token=None):
    """A server of `Lengths`: its reward, its uvicorn server, its address."""
    reward = Lengths()
    server = server_of(served(reward), token)
    with running(server) as url:
        address = httpx.URL(url)
        turns = server.config.app.state.scoring._turns
        yield types.SimpleNamespace(
            reward=reward, server=server, turns=turns, url=url, host=address.host, port=address.port
        )
        reward.free.set()


def asked(*texts, **changes):
    return PIN | {"items": [{"text": text, "image": png()} for text in texts]} | changes


def post(url, body, **headers):
    return httpx.post(f"{url}/v1/score", json=body, headers=headers, timeout=30)
