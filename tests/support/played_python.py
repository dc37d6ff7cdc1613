"""An interpreter that plays what it is asked to start: a Prefect server that is healthy at once, and a training."""

import sys

_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
    def log_message(self, *words):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def played_python(folder, *, server="exec {python} -I -S {code} $8", training="exit 0"):
    """Write a script that takes the words of an interpreter; what it was told lies in `told.txt` beside it.

    Args:
        folder: For the script.
        server: What it does for `-m prefect server start --host H --port P`, in the words of a shell.
        training: What it does for `-m flows train ...`.
    """
    code, script = folder / "server.py", folder / "python"
    code.write_text(_SERVER)
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@, $PREFECT_HOME, ${{PREFECT_API_URL:-no api}}, '
        f'${{PREFECT_API_AUTH_STRING:-$PREFECT_SERVER_API_AUTH_STRING}}" >> {folder}/told.txt\n'
        f'if [ "$2" = prefect ]; then\necho "a server at $8"\n{server.format(python=sys.executable, code=code)}\n'
        f"else\n{training}\nfi\n"
    )
    script.chmod(0o755)
    return str(script)
