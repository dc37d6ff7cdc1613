"""Draws the pictures of docs/method.md: `python docs/figures.py` trains one round of G²RPO and shows what it made."""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from flows.cli.options import checked
from flows.common.plots import save
from flows.training.loop import call_plainly
from flows.training.session import Session
from g2rpo.rewards.pictures import to_uint8
from stages.disk.tables import read_table, tensor, where

IMAGES = Path(__file__).parent / "images"
COLOURS = {1: "#3f51b5", 2: "#009688", 3: "#e65100"}


def tree(path: Path) -> None:
    """Draw one prompt's way: the anchor, a stochastic step at two of its levels, completions of three granularities."""
    steps, rng = 8, np.random.default_rng(3)
    figure, axis = plt.subplots(figsize=(9.6, 4.2), layout="constrained")
    anchor = 0.35 * np.sin(np.linspace(0, 2.2, steps + 1))
    axis.plot(range(steps + 1), anchor, color="black", marker="o", markersize=4, label="anchor: ODE, once a prompt")
    for k, base in ((1, 1.5), (4, -1.6)):
        for branch in range(3):
            start = anchor[k + 1] + base * (0.55 + 0.3 * branch)
            axis.plot([k, k + 1], [anchor[k], start], color="#c62828", linewidth=1.6, zorder=3)
            if branch == 1:
                for place, (stride, colour) in enumerate(COLOURS.items()):
                    levels = [*range(k + 1, steps, stride), steps]
                    drift = 0.12 * (place - 1) * (np.array(levels) - k - 1)
                    axis.plot(levels, start + drift, color=colour, marker="o", markersize=4, linewidth=1.4)
            else:
                rest = np.arange(k + 1, steps + 1)
                axis.plot(rest, start + 0.03 * rng.standard_normal(len(rest)), color="0.8", linewidth=1)
        axis.annotate(f"k = {k}", (k, anchor[k]), xytext=(-4, 12), textcoords="offset points", ha="right", fontsize=10)
    axis.plot([], [], color="#c62828", label="one stochastic step at k: a group of branches")
    for stride, colour in COLOURS.items():
        axis.plot([], [], color=colour, marker="o", markersize=4, label=f"completion by the ODE, λ = {stride}")
    axis.set(
        xlabel="step of the schedule: noise on the left, pictures on the right", xticks=range(steps + 1), yticks=[]
    )
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.legend(fontsize=9, loc="lower left", frameon=False)
    save(figure, path, dpi=120)


def granularities(path: Path) -> None:
    """Draw the group of one prompt at one step: each branch completed three times, with what judge A gave it."""
    with tempfile.TemporaryDirectory() as store:
        os.environ["G2RPO_HOME"] = store
        words = ["run.rounds=1", "evaluate.num_prompts=1", "report.num_prompts=1"]
        params = checked(Path("presets/methods/g2rpo.yaml"), words)
        session = Session.of(params)
        session.train(call_plainly, final=False)
        folder = session.run.round_folder(0)
        prompt = read_table(folder / "prompts").to_pylist()[3]
        chosen = {"prompt_id": prompt["prompt_id"], "window": 0}
        rows = where(read_table(folder / "completions"), **chosen)
        values = where(read_table(folder / "rewards"), **chosen).to_pandas()
        field = session.executor.field(session.run.policy_folder(0), 96, averaged=False)
        pictures = to_uint8(field.policy.decode(torch.from_numpy(tensor(rows, "latents").copy()))).numpy()
    given = values.set_index(["branch", "granularity"])["value"]
    places = list(zip(rows["branch"].to_pylist(), rows["granularity"].to_pylist(), strict=True))
    figure, axes = plt.subplots(3, 6, figsize=(9.6, 5.4), layout="constrained")
    for (branch, stride), picture in zip(places, pictures, strict=True):
        if branch < axes.shape[1]:
            axis = axes[stride - 1, branch]
            axis.imshow(picture, interpolation="nearest")
            axis.set_xlabel(f"{given[branch, stride]:.2f}", fontsize=9)
            axis.set(xticks=[], yticks=[])
            axis.set_ylabel(f"λ = {stride}" if branch == 0 else "", fontsize=10)
    figure.suptitle(f"“{prompt['text']}”: six branches of a group, three granularities", fontsize=10)
    save(figure, path, dpi=110)


if __name__ == "__main__":
    tree(IMAGES / "method.png")
    granularities(IMAGES / "granularities.png")
