"""What the kit of every model family stands on: a small random model, the pipeline of diffusers beside it.

The judge is the pipeline of diffusers itself, on a small random model in the real classes and files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler

from g2rpo.policies.adapter import Lora
from g2rpo.policies.compute import Compute
from g2rpo.policies.loading import pretrained
from g2rpo.policies.protocol import Condition, Policy, Pretrained, TextEncoder
from g2rpo.sampler import complete
from g2rpo.velocity import VelocityField

TEXTS = ("a red fox in the snow", "two green boats", "an old clock")
ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
FP32 = Compute(
    device=torch.device("cpu"),
    dtype=torch.float32,
    decode_batch=2,
    gradient_checkpointing=False,
    attention="native",
    compile=False,
    quantise=None,
)


@dataclass(frozen=True)
class Family:
    """A family under test, at a size that takes milliseconds."""

    name: str
    write: Callable[[Path], object]
    """Writes a small random base model."""
    settings: Mapping[str, Any]
    """What the section `policy` of params.yaml has beside family, path, revision and lora."""
    call: Mapping[str, Any]
    """The same, in the words of the pipeline's call."""
    tolerance: float
    """Of fp32 sums in another order, on values of order 1."""


def switch_on(policy: Policy) -> None:
    """Give a fresh adapter weights that change the velocity."""
    with torch.no_grad():
        for name, parameter in sorted(policy.module.named_parameters()):
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))


def trained(policy: Policy) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in policy.module.named_parameters() if p.requires_grad}


class KitBase:
    """The fixtures and helpers of the kit."""

    family: Family

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory) -> Path:
        folder = tmp_path_factory.mktemp(cls.family.name) / "base"
        cls.family.write(folder)
        return folder

    @pytest.fixture(scope="class")
    @classmethod
    def base(cls, folder) -> Pretrained:
        return cls.of(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, base) -> TextEncoder:
        return base.load_encoder(FP32)

    @pytest.fixture(scope="class")
    @classmethod
    def condition(cls, base, encoder) -> Condition:
        shared = {} if base.negative_text is None else encoder.encode([base.negative_text]).tensors
        return Condition(encoder.encode(TEXTS).tensors, shared)

    @pytest.fixture(scope="class")
    @classmethod
    def policy(cls, base) -> Policy:
        return base.load_policy(FP32, seed=0)

    @pytest.fixture(scope="class")
    @classmethod
    def pipeline(cls, folder):
        return cls.plain(folder)

    @pytest.fixture
    def adapted(self, folder) -> Policy:
        policy = self.of(folder, lora=Lora(rank=2, alpha=6, targets=ATTENTION)).load_policy(FP32, seed=1)
        switch_on(policy)
        return policy

    @pytest.fixture(scope="class")
    @classmethod
    def noise(cls, policy):
        return torch.randn(len(TEXTS), *policy.latent_shape, generator=torch.Generator().manual_seed(3))

    @classmethod
    def of(cls, folder, lora=None) -> Pretrained:
        return pretrained(cls.family.name, folder, {**cls.family.settings, "lora": lora})

    @staticmethod
    def plain(folder):
        """The pipeline of diffusers; the shift is taken out of its scheduler, since sigmas are given to it."""
        pipeline = DiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        config = {"use_dynamic_shifting": False, "shift": 1.0}
        pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(pipeline.scheduler.config, **config)
        return pipeline

    def painted(self, pipeline, noise, sigmas, output):
        given = {"sigmas": sigmas.tolist()[:-1], "num_inference_steps": len(sigmas) - 1, "latents": noise}
        return pipeline(prompt=list(TEXTS[: len(noise)]), **given, **self.family.call, output_type=output).images

    def sampled(self, policy, condition, noise, sigmas):
        rows = torch.arange(len(noise))
        completed = complete(
            VelocityField(policy, micro_batch=8),
            noise,
            condition,
            rows=rows,
            starts=[0] * len(noise),
            sigmas=sigmas,
            granularities=[1],
            rule="even",
        )
        return completed.latents[:, 0]

    def velocity(self, policy, noise, condition, sigma=0.6):
        with torch.no_grad():
            return policy.velocity(noise, torch.full((len(noise),), sigma), condition)

    def close(self, one, other):
        return torch.allclose(one, other, atol=self.family.tolerance, rtol=self.family.tolerance)
