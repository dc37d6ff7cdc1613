"""The tree of a branch's completions: paths of several granularities with their common beginnings shared.

Two granularities that visit the same indices up to some point stand at the same latents there, so the network
is evaluated once for both. The tree says where; the sampler walks it for all branches in lockstep.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from g2rpo.strides import StrideRule, completion_path
from g2rpo.types import Index


@dataclass(frozen=True)
class Node:
    """One visited index of one or more completions.

    Example: with T=8 and start 2, granularities 1 and 2 share the nodes at 2 and 3. The node at 5 that
    follows 3 is `Node(level=5, parent=0, payer=1, ends=())`: reached from the first node of the depth before,
    paid for by the second granularity.
    """

    level: int
    """Index into `sigmas`."""
    parent: int
    """Position of the node before it in the depth before; 0 at the root."""
    payer: int
    """Position of the granularity to which an evaluation here is charged: the first that comes this way."""
    ends: tuple[int, ...]
    """Positions of the granularities whose picture this node is; not empty only where sigma = 0."""


def completion_tree(
    num_steps: int, start: int, granularities: Sequence[int], rule: StrideRule
) -> tuple[tuple[Node, ...], ...]:
    """Return the nodes of a branch that starts at index `start`, depth by depth, each prefix once.

    Raises:
        ValueError: If a path is refused, or a granularity is named twice.
    """
    if len(set(granularities)) < len(granularities) or not granularities:
        raise ValueError(f"Granularities are distinct and at least one, got {list(granularities)}.")
    paths = [completion_path(num_steps, start, granularity, rule) for granularity in granularities]
    depths: list[tuple[Node, ...]] = []
    before: list[tuple[int, ...]] = [()]
    for depth in range(max(map(len, paths))):
        alive = [path[: depth + 1] for path in paths if len(path) > depth]
        prefixes = list(dict.fromkeys(alive))
        depths.append(
            tuple(
                Node(
                    level=prefix[-1],
                    parent=before.index(prefix[:-1]),
                    payer=next(i for i, path in enumerate(paths) if path[: depth + 1] == prefix),
                    ends=tuple(i for i, path in enumerate(paths) if path == prefix),
                )
                for prefix in prefixes
            )
        )
        before = prefixes
    return tuple(depths)


@dataclass(frozen=True)
class Front:
    """All nodes at one depth of the trees of many branches, one row per node.

    Example: two branches with one node each at this depth: branch (0, 1), parent (0, 1), payer (0, 0).
    """

    branch: Index
    level: Index
    parent: Index
    """Row of the node before it in the front before."""
    payer: Index
    end_row: Int64[Tensor, " ends"]
    """Rows of this front at which a completion ends, once for each granularity that ends there."""
    end_granularity: Int64[Tensor, " ends"]


def lockstep(trees: Sequence[tuple[tuple[Node, ...], ...]]) -> list[Front]:
    """Return the fronts by which branches, one tree each, advance together: one for each depth."""
    fronts: list[Front] = []
    first_row_before = list(range(len(trees)))
    for depth in range(max(map(len, trees))):
        nodes = [(b, node) for b, tree in enumerate(trees) if len(tree) > depth for node in tree[depth]]
        first_row: dict[int, int] = {}
        for row, (b, _) in enumerate(nodes):
            first_row.setdefault(b, row)
        ends = [(row, end) for row, (_, node) in enumerate(nodes) for end in node.ends]
        columns = (
            [b for b, _ in nodes],
            [node.level for _, node in nodes],
            [first_row_before[b] + node.parent for b, node in nodes],
            [node.payer for _, node in nodes],
            [row for row, _ in ends],
            [end for _, end in ends],
        )
        fronts.append(Front(*(torch.tensor(column, dtype=torch.int64) for column in columns)))
        first_row_before = [first_row.get(b, 0) for b in range(len(trees))]
    return fronts


def on_device(front: Front, device: torch.device) -> Front:
    """Return the front with its columns on the given device."""
    return Front(**{name: column.to(device) for name, column in vars(front).items()})


def evaluations_per_prompt(
    num_steps: int,
    steps: Sequence[int],
    group_size: int,
    granularities: Sequence[int],
    rule: StrideRule = "fine_first",
) -> int:
    """Return the transformer evaluations without gradient that one prompt of a round costs.

    The anchor is followed up to the last branching step; each branch then pays for the nodes of its tree that
    lie above sigma = 0.
    Example: T=16, steps 0..7, G=12: 1544 for granularities {1, 2}, 1820 for {1, 2, 3}.
    """
    above_zero = sum(
        node.level < num_steps
        for step in steps
        for depth in completion_tree(num_steps, step + 1, granularities, rule)
        for node in depth
    )
    return max(steps) + 1 + group_size * above_zero
