"""The device memory that a model takes, counted without the device.

The networks are made of fake tensors, which have shapes and no contents, and go through the calls that a run makes,
while every allocation is counted as it comes and goes. Weights, adapter, gradient and moments are exact. The peaks of
calls are those of the operations as the CPU does them, so they are estimates of a GPU: they know neither its caching
allocator and workspaces nor its autocast, which keeps some norms in fp32.

    python benchmarks/memory.py --policy flux1 --size 12b    prints a table, and a JSON object as its last line
"""

import argparse
import json
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from random_policy import MODELS, Model, make_condition, make_policy, make_scorer
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from g2rpo.policies.compute import Compute
from g2rpo.velocity import VelocityField

GB = 1e9  # GPUs have up to 7 % more memory than their name says in this unit
GPU_GB = (24, 48, 80)
RESERVE = 0.1  # of a GPU, for its context, workspaces and fragmentation


class Allocations(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, and the most that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._born(tensor.untyped_storage(), given)
        return out

    def _born(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key = storage._cdata
        if key in given or key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.alive -= self._known.pop(key)


@dataclass(frozen=True)
class Footprint:
    """Bytes. Example: FLUX.1-dev in bf16 with LoRA of rank 32 has a transformer of 23.8e9 and an adapter of 0.15e9."""

    transformer: int
    """The frozen or, without an adapter, the trained weights."""
    adapter: int
    gradient: int
    moments: int
    base: int
    """A second network for the KL divergence, if all weights are trained; with an adapter 0."""
    decoder: int
    """The autoencoder, its encoder half included."""
    scorer: int
    call: tuple[int, int]
    """Estimated peak of one forward call without gradient, beside the weights: its constant part, and per velocity."""
    site: tuple[int, int]
    """The same of a forward and backward call of the update, with checkpointing, beside weights and gradient."""
    picture: int
    """Estimated peak of decoding one picture."""
    scored: int
    """Estimated peak of scoring one picture."""

    def stages(self, *, micro_batch: int, sites: int, pictures: int, offload: bool) -> dict[str, int]:
        """Return the bytes that the stages of a round take at their peak.

        Args:
            micro_batch: Velocities per call of rollout and completion.
            sites: Sites per forward and backward of the update.
            pictures: Latents per call of the decoder, and pictures per call of the scorer.
            offload: Whether models that a stage does not need leave the device (`resources.between_stages: offload`).
        """
        network = self.transformer + self.adapter + self.base
        scoring = self.decoder + self.scorer
        held = self.moments + (0 if offload else network + scoring)
        return {
            "rollout and completion": held + offload * network + self.call[0] + micro_batch * self.call[1],
            "decode and score": held + offload * scoring + pictures * max(self.picture, self.scored),
            "update": held + offload * network + self.gradient + self.site[0] + sites * self.site[1],
        }


def bytes_of(network: torch.nn.Module, *, trained: bool | None = None) -> int:
    """Return the bytes of a network's parameters and buffers, or of its trained parameters only, or of all others."""
    parameters = [p for p in network.parameters() if trained is None or p.requires_grad is trained]
    tensors = parameters if trained else [*parameters, *network.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def peak(work: Callable[[], object]) -> int:
    """Return the most bytes that a piece of work had alive at once, beside those from before it."""
    with Allocations() as counted:
        work()
    return counted.peak


def footprint(model: Model, *, height: int, width: int, dtype: torch.dtype, lora_rank: int) -> Footprint:
    """Return the memory that a model takes, by fake tensors; some seconds at full size."""
    cpu, meta = torch.device("cpu"), torch.device("meta")
    compute = Compute(
        meta, dtype, decode_batch=1, gradient_checkpointing=True, attention="native", compile=False, quantise=None
    )
    policy = make_policy(model, compute, height=height, width=width, lora_rank=lora_rank, build=without_contents)
    scorer = make_scorer(model, device=meta, build=without_contents).module
    with FakeTensorMode():
        for network in (policy.module, policy.decoder, scorer):
            _pretend(network, cpu)
        field = VelocityField(policy, 2, dtype)

        def forward(rows: int) -> None:
            condition = make_condition(model, rows, device=cpu, dtype=dtype)
            field(torch.randn(rows, *policy.latent_shape), torch.rand(rows), condition, torch.arange(rows))

        def update(rows: int) -> None:
            condition = make_condition(model, rows, device=cpu, dtype=dtype)
            latents = torch.randn(rows, *policy.latent_shape)
            field.with_gradient(latents, torch.rand(rows), condition).square().mean().backward()

        update(1)  # allocates the gradient
        calls, sites = ([peak(partial(work, rows)) for rows in (1, 2)] for work in (forward, update))
        picture = peak(lambda: policy.decode(torch.randn(1, *policy.latent_shape)))
        with torch.no_grad():
            scored = peak(lambda: scorer.vision_model(torch.randn(1, 3, 224, 224)))
        trained, frozen = bytes_of(policy.module, trained=True), bytes_of(policy.module, trained=False)
        return Footprint(
            transformer=frozen if lora_rank else frozen + trained,
            adapter=trained if lora_rank else 0,
            gradient=trained,
            moments=2 * trained,
            base=0 if lora_rank else frozen + trained,
            decoder=bytes_of(policy.decoder),
            scorer=bytes_of(scorer),
            call=(2 * calls[0] - calls[1], calls[1] - calls[0]),
            site=(2 * sites[0] - sites[1], sites[1] - sites[0]),
            picture=picture,
            scored=scored,
        )


def without_contents(make: Any, config: Any, *, seed: int, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a network on the meta device; the counterpart of `random_network`."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            network = make(**config).eval()
    finally:
        torch.set_default_dtype(before)
    for buffer in network.buffers():
        buffer.data = buffer.to(dtype) if buffer.is_floating_point() else buffer
    return network


def _pretend(network: torch.nn.Module, device: torch.device) -> None:
    """Replace a network's tensors by fake tensors on a device."""
    for module in network.modules():
        for name, old in module._parameters.items():
            if old is not None:
                fake = torch.empty(old.shape, dtype=old.dtype, device=device)
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=old.requires_grad)
        for name, old in module._buffers.items():
            module._buffers[name] = old if old is None else torch.empty(old.shape, dtype=old.dtype, device=device)


def largest(taken: Callable[[int], int], room: float) -> int:
    """Return the largest batch in 1, 2, 4, ..., 64 whose bytes fit into the room, 0 where none does."""
    return max((batch for batch in (1, 2, 4, 8, 16, 32, 64) if taken(batch) <= room), default=0)


def fitting(model: Footprint, gpu_gb: int) -> dict[str, dict[str, int]]:
    """Return the largest batch of each stage that a GPU has room for, with all models held and with offloading."""
    room = gpu_gb * GB * (1 - RESERVE)

    def of(stage: str, offload: bool) -> int:
        def taken(batch: int) -> int:
            return model.stages(micro_batch=batch, sites=batch, pictures=batch, offload=offload)[stage]

        return largest(taken, room)

    stages = model.stages(micro_batch=1, sites=1, pictures=1, offload=False)
    return {how: {stage: of(stage, how == "offload") for stage in stages} for how in ("keep", "offload")}


def main() -> None:
    parser = argparse.ArgumentParser(description="The device memory that a model takes, counted without the device.")
    parser.add_argument("--policy", choices=("flux1", "sd3"), required=True)
    parser.add_argument("--size", choices=("12b", "2.5b", "tiny"), required=True)
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--lora-rank", type=int, default=32, help="0: all weights are trained")
    args = parser.parse_args()
    if (args.policy, args.size) not in MODELS:
        parser.error(
            f"--size: one of {', '.join(s for p, s in MODELS if p == args.policy)} is required, got {args.size}"
        )
    model = MODELS[args.policy, args.size]
    size = {"height": args.height or model.side, "width": args.width or model.side}
    taken = footprint(model, **size, dtype=torch.bfloat16, lora_rank=args.lora_rank)
    for name, value in asdict(taken).items():
        parts = value if isinstance(value, tuple) else (value,)
        print(f"{name:12}", "  ".join(f"{part / GB:9.3f}" for part in parts), "GB")
    fits = {str(gpu_gb): fitting(taken, gpu_gb) for gpu_gb in GPU_GB}
    for gpu_gb, ways in fits.items():
        print(f"{gpu_gb} GB:", "; ".join(f"{how} {largest_of}" for how, largest_of in ways.items()))
    print(json.dumps({"policy": f"{args.policy}-{args.size}", **size, "bytes": asdict(taken), "fits": fits}))


if __name__ == "__main__":
    main()
