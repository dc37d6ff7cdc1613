"""A contact sheet: under each caption a true picture, and below it a policy's sample for the same caption."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from g2rpo.policies.shapes import ShapesPolicy
from g2rpo.rewards.shapes import load_reward
from g2rpo.shapes.captions import captions
from g2rpo.shapes_build.figures import NUM_STEPS, SHIFT, render_images, sample_images

COLUMNS = 8
SHEET_CAPTIONS = tuple(text for kind in (captions("test")[:11:3], captions("test")[11::7]) for text in kind)[:24]


def draw_sheet(path: Path, policy: ShapesPolicy, *, texts: Sequence[str] = SHEET_CAPTIONS, seed: int = 4) -> None:
    """Write a PNG with a true picture and one of the policy (ODE 8, shift 2) for each caption, in rows of eight.

    A tick in the title of a policy's picture means that the rule accepts it. The shipped weights made
    `docs/images/shapes-base.png` with the defaults.
    """
    truth = render_images(texts, seed)
    samples = sample_images(policy, texts, num_steps=NUM_STEPS, shift=SHIFT, seed=seed)
    accepted = load_reward("rule_strict").score(samples, texts).tolist()
    rows = 2 * -(-len(texts) // COLUMNS)
    figure = Figure(figsize=(1.15 * COLUMNS, 1.38 * rows), dpi=100, layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for cell in axes.flat:
        cell.axis("off")
    for i, text in enumerate(texts):
        row, column = divmod(i, COLUMNS)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.imshow(truth[i].permute(1, 2, 0).numpy())
        above.set_title(_folded(text), fontsize=7)
        below.imshow(samples[i].permute(1, 2, 0).numpy())
        below.set_title("✓" if accepted[i] else "✗", fontsize=8, color="green" if accepted[i] else "firebrick")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _folded(text: str) -> str:
    words = text.split()
    half = 3 if len(words) > 3 else len(words)
    return "\n".join((" ".join(words[:half]), " ".join(words[half:])))
