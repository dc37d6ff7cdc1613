"""The array shapes of the method, as annotations that the tests check."""

from jaxtyping import Float, Int64
from torch import Tensor

Latents = Float[Tensor, "b ..."]
Levels = Float[Tensor, " b"]
Images = Float[Tensor, "b 3 h w"]
Rewards = Float[Tensor, " b"]
Index = Int64[Tensor, " b"]
Indices = Int64[Tensor, " _"]
"""As `Index`, of any length."""
