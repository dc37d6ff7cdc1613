"""What is started in place of Prefect's and MLflow's commands: it notes how, and answers at their port in no time."""

import json
import sys

_SCRIPT = """
import http.server, json, os, pathlib, sys
words = sys.argv[1:]
file = words[words.index("--prefect-file") + 1] if "--prefect-file" in words else None
noted = {"words": words, "file": file and pathlib.Path(file).read_text(), "environment": dict(os.environ)}
with open(pathlib.Path(__file__).with_name("commands.jsonl"), "a") as out:
    print(json.dumps(noted), file=out)
if os.environ.get("FAILING") in words:
    sys.exit(f"{words[1]} cannot do this")
port = words[words.index("--port") + 1] if "--port" in words else os.environ.get("PREFECT_WORKER_WEBSERVER_PORT")
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"3.17.2")  # as MLflow's does at /version
if "deploy" not in words:
    http.server.HTTPServer(("127.0.0.1", int(port)), Answers).serve_forever()
"""


def write_stand_in(folder):
    """Write the program that is called as Python is, and return it; it fails at the word that FAILING names."""
    program = folder / "python"
    program.write_text(f"#!{sys.executable} -IS{_SCRIPT}")  # no shell: one would set PWD anew
    program.chmod(0o755)
    return program


def noted(path):
    """The commands that were given, each with its words, its environment and the file that it was to deploy."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
