import subprocess
import sys

import pytest
from reward_servers import reply, scripted
from tiny import ROOT

from flows.common.processes import free_port

ENDS = """
import atexit, sys
from flows.common.endings import end_without_server, remember_server
for api in sys.argv[2:]:
    remember_server(api)
atexit.register(print, "the long end")
sys.stdout.write("said before; ")
end_without_server(eval(sys.argv[1]))
print("it goes on")
"""
"""Arguments: the status, and the Prefect APIs that the process has worked under."""


def ended(status, *apis):
    words = [sys.executable, "-c", ENDS, repr(status), *apis]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("status", "code"), [(None, 0), (130, 130), ("refused", 1)])
def test_a_process_whose_server_is_gone_ends_at_once_with_its_status(status, code):
    api = f"http://127.0.0.1:{free_port()}/api"
    done = ended(status, api)
    assert done.returncode == code
    assert done.stdout == "said before; "
    assert done.stderr == f"warning: the Prefect server at {api} is gone; its page does not show how this ended\n"


def test_a_process_whose_server_answers_goes_on_and_one_that_breaks_has_gone():
    with scripted(reply(b"true"), reply(b"", status=503)) as server:
        api = f"{server.url}/api"
        done = ended(2, api)
        assert (done.returncode, done.stdout, done.stderr) == (0, "said before; it goes on\nthe long end\n", "")
        assert ended(2, api).returncode == 2
        assert [asked.path for asked in server.asked] == ["/api/health"] * 2


def test_a_process_that_worked_under_no_server_goes_on():
    assert ended(2).stdout == "said before; it goes on\nthe long end\n"
