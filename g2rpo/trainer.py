"""One optimizer over one network: accumulate, clip, step, average.

Its whole state is named tensors and three numbers, so that it can be stored without pickling. The tensors may be
sharded over the processes of a process group: then all of them take each step together.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from g2rpo.distributed.fsdp import held_like, whole


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW (arXiv:1711.05101), gradient clipping, averaging. The paper: 2e-6, (0.9, 0.999), 1e-4, 1.0, no EMA."""

    learning_rate: float
    betas: tuple[float, float]
    weight_decay: float
    max_grad_norm: float
    """The gradient is clipped to this global norm."""
    ema_decay: float | None
    """`ema = decay ema + (1 - decay) weights` after each step; None keeps no average."""


class Trainer:
    """Trains the parameters of a network that require gradient.

    The average of the weights, if any, starts at the weights that the network has when the trainer is made.
    """

    def __init__(self, module: torch.nn.Module, settings: OptimizerSettings) -> None:
        self.settings = settings
        self.num_steps = 0
        self._named = {name: p for name, p in module.named_parameters() if p.requires_grad}
        if not self._named:
            raise ValueError("A trainer needs parameters that require gradient, got none. Unfreeze the policy.")
        self._optimizer = torch.optim.AdamW(
            self._named.values(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self._optimizer.zero_grad(set_to_none=True)  # an update that failed may have left its gradient
        self._ema = None if settings.ema_decay is None else self.weights()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step; at first that of the settings."""
        return self._optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = value

    def step(self) -> float:
        """Clip the accumulated gradient, take one step, clear the gradient; return its norm before the clip.

        Raises:
            FloatingPointError: If the norm is not a finite number; the weights are then unchanged.
        """
        norm = whole(torch.nn.utils.clip_grad_norm_(self._named.values(), self.settings.max_grad_norm))
        if not bool(torch.isfinite(norm)):
            raise FloatingPointError(f"The gradient must be finite, got norm {float(norm)}; no step was taken.")
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.num_steps += 1
        decay = self.settings.ema_decay
        if self._ema is not None and decay is not None:
            for name, parameter in self._named.items():
                self._ema[name].lerp_(parameter.detach(), 1 - decay)
        return float(norm)

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the trained weights by name."""
        return {name: parameter.detach().clone() for name, parameter in self._named.items()}

    def evaluation_weights(self) -> dict[str, Tensor]:
        """Return the weights to evaluate: the average if there is one, else the trained weights."""
        return self.weights() if self._ema is None else {n: t.clone() for n, t in self._ema.items()}

    def state(self) -> dict[str, Tensor]:
        """Return the moments (and average) by name: `exp_avg.<p>`, `exp_avg_sq.<p>`, `ema.<p>`."""
        tensors = {
            f"{moment}.{name}": self._optimizer.state[parameter][moment]
            for name, parameter in self._named.items()
            if parameter in self._optimizer.state
            for moment in ("exp_avg", "exp_avg_sq")
        }
        return tensors | {f"ema.{name}": tensor for name, tensor in (self._ema or {}).items()}

    def load_state(self, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        """Load a stored state; afterwards every step equals, bit for bit, that of the stored trainer.

        Raises:
            ValueError: If the state belongs to another network or to other settings.
        """
        expected = {f"ema.{name}" for name in self._named} if self._ema is not None else set[str]()
        if num_steps > 0:
            expected |= {f"{m}.{name}" for name in self._named for m in ("exp_avg", "exp_avg_sq")}
        if expected != set(tensors):
            odd = sorted(expected ^ set(tensors))
            raise ValueError(f"The optimizer state must fit the network; {len(odd)} names differ, as {odd[0]!r}.")
        self.num_steps = num_steps
        for name, parameter in self._named.items():
            if num_steps > 0:
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(num_steps)),
                    "exp_avg": held_like(tensors[f"exp_avg.{name}"], parameter),
                    "exp_avg_sq": held_like(tensors[f"exp_avg_sq.{name}"], parameter),
                }
            if self._ema is not None:
                self._ema[name] = held_like(tensors[f"ema.{name}"], parameter)
