"""The strides by which a branch reaches the picture: which indices of the schedule a completion visits.

Source: the granularities are those of G²RPO, arXiv:2510.01982. No torch here: parameters are checked by it.
"""

from typing import Literal

StrideRule = Literal["fine_first", "even", "published", "from_clean"]


def completion_path(num_steps: int, start: int, granularity: int, rule: StrideRule) -> tuple[int, ...]:
    """Return the indices that a completion visits, from `start` to `num_steps` (sigma = 0), both included.

    With lambda the granularity, k + 1 = start and T = num_steps:

    - `fine_first` (ours): k+1, k+2, then every lambda-th index, and T at the end.
    - `even`: every lambda-th index from k+1, and T at the end.
    - `published`: the indices of the authors' code, k+1 and `range(k+2, T+1, lambda)`; their picture is the
      x0-prediction at the last evaluated level, which is an ODE step from there to 0, so the last index of
      that list gives way to T.
    - `from_clean`: the paper's wording; the strides are counted back from T, the first one may be shorter.

    `granularity = 1` visits every index under each rule; with `start = 0` it is plain ODE sampling.
    Example: T=8, start=2, lambda=2: (2,3,5,7,8), (2,4,6,8), (2,3,5,8), (2,4,6,8).

    Raises:
        ValueError: If not 0 <= start <= num_steps, or granularity < 1.
    """
    if not 0 <= start <= num_steps:
        raise ValueError(f"A completion starts on the trajectory: 0 <= start <= {num_steps}, got {start}.")
    if granularity < 1:
        raise ValueError(f"A granularity is a stride of at least 1 step, got {granularity}. Raise it.")
    end = num_steps
    if rule == "fine_first":
        between = range(start + 1, end, granularity)
    elif rule == "even":
        between = range(start + granularity, end, granularity)
    elif rule == "published":
        between = range(start + 1, end + 1, granularity)[:-1]
    else:
        between = [index for index in range(start + 1, end) if (end - index) % granularity == 0]
    return (start, *between, end) if start < end else (end,)
