"""`g2rpo serve-reward`: serve a reward to other processes and machines, by the protocol of docs/remote-reward.md."""

import os
import socket

import uvicorn

from flows.reward_server.app import Served, reward_app
from g2rpo.rewards.remote import check_token, is_loopback
from stages.params.record import Params
from stages.sources.device import select_device
from stages.sources.rewards import check_rewards, load_reward, reward_digest

_MAX_CONNECTIONS = 64
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
    if token is None and not is_loopback(host):
        raise ValueError(
            f"--token-env: a token is required to serve on {host}, where others can send requests, got none. Name an "
            "environment variable that holds one, or serve on 127.0.0.1."
        )
    with _bound(host, port) as listener:
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
            print(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", flush=True)


def server_of(served: Served, token: str | None) -> AnnouncedServer:
    """Return a server that does not run yet."""
    config = uvicorn.Config(
        reward_app(served, token),
        log_config=None,
        access_log=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    return AnnouncedServer(config)


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to the address; it answers nothing until the server runs."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ValueError(
            f"--host, --port: a free address of this machine is required, got {host}:{port} ({error}). Choose another."
        ) from None
    return listener
