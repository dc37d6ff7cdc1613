"""A guard that trips is told by the notification block that a person made; here a webhook of this machine."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler

import pytest
from command_line import CommandLine
from http_here import answering
from services import Up
from tiny import ROOT
from waiting import wait_for

pytestmark = pytest.mark.slow

MAKE_BLOCK = """
import sys
from prefect.blocks.notifications import CustomWebhookNotificationBlock
said = {"subject": "{{subject}}", "body": "{{body}}"}
block = CustomWebhookNotificationBlock(name="guards", url=sys.argv[1], json_data=said, secrets={})
block.save("g2rpo-guard")
"""


@pytest.fixture
def webhook():
    """A server's address, and what it has been sent."""
    sent = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with answering(Handler) as url:
        yield f"{url}/", sent


def test_a_guard_that_trips_is_sent_by_the_block_that_up_found(tmp_path, webhook):
    url, sent = webhook
    up = Up(CommandLine(tmp_path / "store"))
    try:
        environment = up.g2rpo.environment | up.environment
        subprocess.run([sys.executable, "-c", MAKE_BLOCK, url], cwd=ROOT, env=environment, check=True)
        assert "it sends nothing" not in up.start().stderr
        up.g2rpo.train("update.learning_rate=3e-2", "run.rounds=3", **up.environment)
        wait_for(lambda: sent)
        assert sent[0]["subject"] == f"g2rpo: guard kl of run {up.run().key}"
        assert "warn" in sent[0]["body"]
        assert "nats per latent element" in sent[0]["body"]
    finally:
        up.g2rpo("down")
