"""Reward servers on the loopback that do what a test tells them."""

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from waiting import wait_for

PIN = {"model": "a-judge", "revision": "r1"}


@dataclass
class Asked:
    """A request that a server has had."""

    method: str
    path: str
    headers: dict
    json: dict | None


@dataclass
class ScriptedServer:
    """Gives its answers in turn, the last one again and again; an answer is called with the handler and the request."""

    answers: tuple
    asked: list[Asked] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, dict(self.headers), json.loads(said) if said else None)
                script.asked.append(asked)
                answer = script.answers[min(len(script.asked), len(script.answers)) - 1]
                with contextlib.suppress(ConnectionError):  # the client may leave in the middle
                    answer(self, asked)

            do_POST = do_GET  # noqa: N815  the name is http.server's

            def log_message(self, *words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def listen(self):
        self._server.server_activate()
        self._thread.start()

    def close(self):
        self.over.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


@contextlib.contextmanager
def scripted(*answers):
    """A server that listens from now on until the end of the block."""
    server = ScriptedServer(answers)
    server.listen()
    try:
        yield server
    finally:
        server.close()


def reply(body, status=200, **headers):
    """Answer with a status and a body: bytes, or what becomes JSON."""

    def answer(handler, asked):
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in ({"Content-Length": str(len(sent))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(sent)

    return answer


def scored(*scores, **changes):
    """Answer with these scores, or with the number of words of each text."""

    def answer(handler, asked):
        given = list(scores) or [float(len(item["text"].split())) for item in asked.json["items"]]
        reply(PIN | {"scores": given} | changes)(handler, asked)

    return answer


def described(**changes):
    return reply({"name": "a-judge", "max_batch": 8} | PIN | changes)


def dripping(raw, over, seconds=0.03):
    """Answer byte by byte."""

    def answer(handler, asked):
        for byte in raw:
            handler.wfile.write(bytes([byte]))
            if over.wait(seconds):
                return
        handler.close_connection = True

    return answer


def broken(handler, asked):
    """Answer with less than was promised."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"scores": [0.5')
    handler.close_connection = True


@contextlib.contextmanager
def running(server):
    """The URL of a uvicorn server that runs in a thread until the end of the block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
