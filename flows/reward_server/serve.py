"""`g2rpo serve-reward`: serve a reward to other processes and machines, by the protocol of docs/remote-reward.md."""

import os
import socket
from functools import partial
from typing import Any, cast

import uvicorn

from flows.common.escape import say
from flows.reward_server.app import reward_app
from flows.reward_server.connections import BoundedProtocol, Connections
from flows.reward_server.scoring import Served
from g2rpo.rewards.remote import check_token, is_loopback
from stages.params.record import Params
from stages.sources.device import select_device
from stages.sources.rewards import check_rewards, load_reward, reward_digest

_STOP_SECONDS = 30  # to finish running requests at the end


def serve(params: Params, name: str, *, host: str, port: int, token: str | None) -> None:
    """Answer until SIGTERM or Ctrl-C. Print the address, such as http://127.0.0.1:8000, as soon as it answers.

    A request may hold `score.micro_batch` pictures. The model is the reward's name, the revision its digest.

    Args:
        port: 0 takes a free one.
        token: Every request must have it; without a token only the loopback is served.

    Raises:
        ValueError: If the reward is unknown, the address is in use, or other machines need no token.
    """
    with _listening(host, port, token) as listener:
        check_rewards(params, [name])
        device = select_device(params.resources.device)
        reward = load_reward(params, name, device)
        served = Served(reward, name, reward_digest(params, name), params.score.micro_batch, device)
        server_of(served, token).run(sockets=[listener])


def token_from(variable: str | None) -> str | None:
    """Return the token in an environment variable; None without a variable.

    Raises:
        ValueError: If the variable has no token.
    """
    if variable is None:
        return None
    token = os.environ.get(variable, "")
    check_token(token, f"--token-env {variable}")
    return token


class AnnouncedServer(uvicorn.Server):
    """A server that prints its address as soon as it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer on the sockets."""
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            say(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", flush=True)


def server_of(served: Served, token: str | None) -> AnnouncedServer:
    """Return a server that does not run yet."""
    config = uvicorn.Config(
        reward_app(served, token),
        http=cast(Any, partial(BoundedProtocol, connections=Connections())),
        ws="none",
        proxy_headers=False,  # nobody may choose the address by which the server knows him
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return AnnouncedServer(config)


def _listening(host: str, port: int, token: str | None) -> socket.socket:
    """Return a socket that listens on the address; clients wait until the server runs.

    Two sockets can be bound to one port until one of them listens, so a socket that is only bound would not keep it.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        if token is not None or is_loopback(str(address[0])):
            return socket.create_server(address, family=family)
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"--host, --port: a free address of this machine is required, got {host}:{port} ({error}). Choose another."
        ) from None
    raise ValueError(
        f"--token-env: a token is required to serve on {host}, where others can send requests, got none. Name an "
        "environment variable that holds one, or serve on 127.0.0.1."
    )
