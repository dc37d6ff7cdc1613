"""The seed of a position in a run; every noise and every draw comes from one. No torch here."""

import hashlib

_SEED_BITS = 63  # the seeds are stored in signed 64-bit columns


def position_seed(*position: int | str) -> int:
    """Return the seed of a position, in [0, 2**63): the first 63 bits of BLAKE2b over its text.

    Example: `position_seed(run_seed, "branch", round, prompt_id, window, branch, step)`.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in position)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _SEED_BITS)
