"""Weights that may lie in shares: made whole to be stored, and cut to be taken up by any number of processes."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor that is whole; of one in shares each of its processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def held_like(tensor: Tensor, parameter: Tensor) -> Tensor:
    """Return a copy of a whole tensor on the device, in the dtype and in the shares of a parameter.

    Example: of 10 rows, each of three processes that share the parameter by rows keeps 4, 4 and 2.
    """
    if not isinstance(parameter, DTensor):
        return tensor.to(parameter).clone()
    there = tensor.to(device=parameter.device, dtype=parameter.dtype)
    return distribute_tensor(there, parameter.device_mesh, parameter.placements, src_data_rank=None)
