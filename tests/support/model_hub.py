"""A model hub on the loopback, as far as the real client asks one: the list of a commit's files, and the files."""

import json
import threading
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves `files` of one repository at one commit; `asked` are the files that were downloaded."""

    def __init__(self, repository, files, *, gated=False):
        self.repository, self.files, self.gated = repository, files, gated
        self.asked = []
        self.url = ""

    def answer(self, path, *, body):
        """The status, headers and body that a request gets."""
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "accept the licence"}, b""
        if path == f"/api/models/{self.repository}/tree/{COMMIT}":
            sizes = {name: len(content) for name, content in self.files.items()}
            listed = [{"type": "file", "path": name, "size": sizes[name], "oid": COMMIT} for name in self.files]
            return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()
        name = path.removeprefix(f"/{self.repository}/resolve/{COMMIT}/")
        if name not in self.files:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        content = self.files[name]
        if body:
            self.asked.append(name)
        return 200, {"ETag": f'"{sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content


@contextmanager
def serving(hub):
    class Handler(BaseHTTPRequestHandler):
        def reply(self, *, body):
            status, headers, content = hub.answer(self.path.split("?")[0], body=body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def do_GET(self):
            self.reply(body=True)

        def do_HEAD(self):
            self.reply(body=False)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
