"""The reward server under many clients on the loopback: throughput, the longest wait, and memory.

`g2rpo serve-reward judge_a` and its clients are processes of their own. A request has 8 pictures. Four clients, then
`--clients` of them, then as many of which half are impatient: they disconnect after a second and ask again at once.
Four clients are measured before, between and after, so that each ratio compares neighbours. The first few seconds of
four clients warm the server up. A reply of 429 or 503 counts as waiting.

    python benchmarks/reward_server.py    prints a table, and a JSON object as its last line
"""

import argparse
import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import psutil
from PIL import Image

from g2rpo.rewards.pictures import to_pil
from g2rpo.shapes.captions import captions
from g2rpo.shapes_build.figures import render_images

ROOT = Path(__file__).parents[1]
CLIENTS = Path(__file__).with_name("reward_clients.py")
PICTURES = 8  # per request
FEW = 4


def png(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def request_to(url: str) -> bytes:
    """Return the body of a request with pictures that the renderer draws for their captions."""
    with build_opener(ProxyHandler({})).open(f"{url}/v1/reward") as reply:
        pin = {key: value for key, value in json.load(reply).items() if key in ("model", "revision")}
    texts = list(captions()[:: len(captions()) // PICTURES])[:PICTURES]
    pictures = to_pil(render_images(texts, seed=0))
    items = [{"text": text, "image": png(picture)} for text, picture in zip(texts, pictures, strict=True)]
    return json.dumps(pin | {"items": items}).encode()


def asked(url: str, body: bytes, seconds: float, clients: int, impatient: int = 0) -> dict[str, float]:
    """Return what clients in a process of their own saw."""
    words = ["--port", url.rpartition(":")[2], "--clients", str(clients), "--impatient", str(impatient)]
    command = ["nice", "-n", "10", sys.executable, str(CLIENTS), *words, "--seconds", str(seconds)]
    seen = json.loads(subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True).stdout)
    return seen | {"pictures_per_second": round(seen["answered"] * PICTURES / seconds, 1)}


def measured(url: str, pid: int, clients: int, seconds: float) -> dict[str, object]:
    """Return the figures of one server, for all sides."""
    body, process = request_to(url), psutil.Process(pid)
    asked(url, body, min(5.0, seconds), FEW)
    memory = process.memory_info().rss
    sides = {}
    for name, number, impatient in (
        ("few", FEW, 0),
        ("many", clients, 0),
        ("few, between", FEW, 0),
        ("half of many impatient", clients, clients // 2),
        ("few, after", FEW, 0),
    ):
        sides[name] = asked(url, body, seconds if number > FEW else seconds / 2, number, impatient)
        print(f"{name:<24}" + "".join(f"{key} {value:.4g}   " for key, value in sides[name].items()), flush=True)
    rate = {name: side["pictures_per_second"] for name, side in sides.items()}
    return {
        "sides": sides,
        "many_over_few": round(2 * rate["many"] / (rate["few"] + rate["few, between"]), 3),
        "impatient_over_few": round(
            2 * rate["half of many impatient"] / (rate["few, between"] + rate["few, after"]), 3
        ),
        "impatient_over_many": round(rate["half of many impatient"] / rate["many"], 3),
        "longest_wait": round(sides["many"]["longest_wait"], 2),
        "memory_at_end_over_start": round(process.memory_info().rss / memory, 3),
    }


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The reward server under many clients.")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="of many clients; few are measured half as long")
    args = parser.parse_args(words)
    command = ["serve-reward", "judge_a", "--set", "resources.device=cpu", "--set", f"score.micro_batch={PICTURES}"]
    words = [sys.executable, "-m", "flows", *command]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            result = measured(server.stdout.readline().strip(), server.pid, args.clients, args.seconds)
        finally:
            server.terminate()
    settings = {"clients": args.clients, "seconds": args.seconds, "load": [round(x, 1) for x in os.getloadavg()]}
    print(json.dumps(settings | result))


if __name__ == "__main__":
    main()
