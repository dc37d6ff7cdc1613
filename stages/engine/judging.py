"""One batch of pictures before one reward: a finite number for each, or the stage stops and says whose fault it is."""

from collections.abc import Sequence

import numpy as np

from g2rpo.rewards.protocol import Reward, RewardError
from g2rpo.types import Images


def judge(reward: Reward, images: Images, texts: Sequence[str], told: Sequence[str]) -> np.ndarray:
    """Return one number a picture, fp64. A failure is never a zero, which would poison its group.

    Args:
        told: What to call each picture in an error, as `prompt train-0042-000, branch 7`.

    Raises:
        ValueError: If the reward fails; with its name, prompt and branch.
        FloatingPointError: If it gives what is no finite number.
    """
    try:
        scored = reward.score(images, texts).double().cpu().numpy()
    except Exception as error:  # whatever it is, it is told with whose pictures it happened
        row = error.row if isinstance(error, RewardError) else None
        where = told[0] + (f" to {told[-1]}" if len(told) > 1 else "") if row is None else told[row]
        raise ValueError(f"Reward {reward.name} failed at {where}: {error}") from error
    if scored.shape != (len(texts),):
        raise ValueError(
            f"Reward {reward.name} must give one number for each of {len(texts)} pictures, got the shape "
            f"{scored.shape}. Mend the reward."
        )
    bad = np.flatnonzero(~np.isfinite(scored))
    if len(bad):
        raise FloatingPointError(
            f"Reward {reward.name} must give a finite number, got {scored[bad[0]]} for {told[bad[0]]} "
            f"({len(bad)} of {len(scored)} pictures). Look at its pictures, or drop the reward."
        )
    return scored
