"""Score one batch of pictures with one reward: a finite number for each, or an error that names reward and picture."""

from collections.abc import Sequence

import numpy as np

from g2rpo.rewards.protocol import Reward, RewardError
from g2rpo.types import Images


def score_pictures(reward: Reward, images: Images, texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return one number per picture, fp64. A failure never becomes a zero, which would distort its group.

    Args:
        names: Name of each picture in an error, such as `prompt train-0042-000, branch 7`.

    Raises:
        ValueError: If the reward fails; with its name, prompt and branch.
        FloatingPointError: If it gives a number that is not finite.
    """
    try:
        scored = reward.score(images, texts).double().cpu().numpy()
    except Exception as error:  # of any kind; the message names the pictures
        row = error.row if isinstance(error, RewardError) else None
        where = names[0] + (f" to {names[-1]}" if len(names) > 1 else "") if row is None else names[row]
        raise ValueError(f"Reward {reward.name} failed at {where}: {error}") from error
    if scored.shape != (len(texts),):
        raise ValueError(
            f"Reward {reward.name} must give one number for each of {len(texts)} pictures, got the shape "
            f"{scored.shape}. Fix the reward."
        )
    bad = np.flatnonzero(~np.isfinite(scored))
    if len(bad):
        raise FloatingPointError(
            f"Reward {reward.name} must give a finite number, got {scored[bad[0]]} for {names[bad[0]]} "
            f"({len(bad)} of {len(scored)} pictures). Inspect its pictures, or remove the reward."
        )
    return scored
