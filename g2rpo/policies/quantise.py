"""Frozen weights held in 8 bits, so that a large model with an adapter fits a small GPU.

    w_ij = scale_i q_ij,    scale_i = max_j |w_ij| / 127,    q_ij = round(w_ij / scale_i) in {-127, ..., 127},

with a scale for each output channel i. Products are computed in the dtype that the layer would compute in otherwise:
(x q^T) scale + bias, in which q is exact also in bfloat16, whose integers are exact up to 256. So a layer gives what
one with the weights scale_i q_ij gives, and its gradient is that layer's; only the input has one.

The linear layers of the repeated blocks are held so, but those in norms, which turn the noise level into the scales
and gates of whole blocks. Embeddings, norms and the last layer stay as they are.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

_LARGEST = 127


class Int8Linear(torch.nn.Linear):
    """A frozen linear layer whose weight is held in 8 bits. Example: one of 3072 x 3072 takes 9.4 MB, not 18.9."""

    scale: Tensor
    """(out_features,), in the dtype that the weights had."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        scale, weight = _quantised(layer.weight.detach())
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.bias = layer.bias
        self.register_buffer("scale", scale)

    def forward(self, input: Tensor) -> Tensor:
        """Return the product in the dtype of autocast where it is on, else in the input's."""
        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input.dtype
        return _Product.apply(input.to(dtype), self.weight, self.scale, self.bias)


class _Product(torch.autograd.Function):
    """x w^T + b that keeps the 8 bits for the backward pass; autograd by itself would keep their wider copy."""

    @staticmethod
    def forward(  # pyrefly: ignore[bad-override]  what `apply` is given
        ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(weight, scale)
        product = linear(x, weight.to(x.dtype)).mul_(scale)
        return product if bias is None else product.add_(bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (grad,), (weight, scale) = grads, ctx.saved_tensors
        return (grad * scale.to(grad.dtype)) @ weight.to(grad.dtype), None, None, None


def quantise(transformer: torch.nn.Module) -> None:
    """Hold the linear layers of a transformer's repeated blocks in 8 bits, one after the other, where they lie."""
    for name in quantisable(transformer):
        layer = transformer.get_submodule(name)
        assert isinstance(layer, torch.nn.Linear)
        transformer.set_submodule(name, Int8Linear(layer))


def quantisable(transformer: torch.nn.Module) -> list[str]:
    """Return the names of the layers that are held in 8 bits."""
    return [
        name
        for prefix, blocks in transformer.named_children()
        if isinstance(blocks, torch.nn.ModuleList)
        for name, layer in blocks.named_modules(prefix=prefix)
        if isinstance(layer, torch.nn.Linear) and "norm" not in name
    ]


def _quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return scales and integers; the scales are rounded to the dtype of the weights first, so that they are exact."""
    largest = weight.abs().amax(dim=1)
    scale = torch.where(largest > 0, largest.float() / _LARGEST, 1.0).to(weight.dtype)
    integers = (weight.float() / scale.float()[:, None]).round_().clamp_(-_LARGEST, _LARGEST)
    return scale, integers.to(torch.int8)
