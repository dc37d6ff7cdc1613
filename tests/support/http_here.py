"""A small server of a test, on the loopback, in a thread of this process."""

from contextlib import contextmanager
from http.server import HTTPServer
from threading import Thread


@contextmanager
def answering(handler):
    """Yield the address of a server whose requests a class of http.server answers."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
