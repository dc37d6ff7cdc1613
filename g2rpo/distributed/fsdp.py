"""Weights that may be sharded: gathered to be stored, and sharded again for any number of processes."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Return the whole tensor; if it is sharded, each of its processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def held_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy of a whole tensor on the device, in the dtype and in the shards of a parameter.

    Example: of 10 rows, three processes that shard the parameter by rows keep 4, 4 and 2.
    """
    if not isinstance(parameter, DTensor):
        return tensor.to(parameter).clone()
    moved = tensor.to(device=parameter.device, dtype=parameter.dtype)
    return distribute_tensor(moved, parameter.device_mesh, parameter.placements, src_data_rank=None)
