"""What a trained model needs to be used without this package: its schedule, an example, tags, the base's licence.

This file loads no torch.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Protocol

_RENAMED = {"guidance": "guidance_scale"}
"""Settings of params.yaml that a pipeline of diffusers takes under another name."""


@dataclass(frozen=True)
class Licence:
    """The licence in the header of a base model's page on the hub.

    Example: `Licence("other", "stabilityai-ai-community", "https://.../LICENSE.md")`, or `Licence("apache-2.0")`.
    """

    identifier: str
    name: str | None = None
    link: str | None = None


@dataclass(frozen=True)
class Example:
    """Settings that sample one picture as the evaluation does.

    Example: base "black-forest-labs/FLUX.1-dev", adapted, dtype "bfloat16", shift 3.0, num_steps 16.
    """

    base: str | None
    """The folder or hub id of the base; None for the shipped one."""
    revision: str | None
    adapted: bool
    """Whether the exported folder holds a LoRA, to be loaded onto the base."""
    dtype: str
    shift: float | None
    """The shift of the schedule; None for the base's own."""
    num_steps: int
    settings: Mapping[str, Any]
    """The section `policy` of params.yaml without the base and the adapter."""
    prompt: str


class Publisher(Protocol):
    """How to publish the models of a family."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags on the hub."""
        ...

    def licence(self, hub_id: str | None, *, shipped: bool) -> Licence | None:
        """Return the licence of a base model; None if it is unknown."""
        ...

    def complete(self, folder: Path, *, shift: float | None, num_steps: int) -> None:
        """Add the schedule that the model was trained for to a folder that `Policy.save` wrote.

        Args:
            shift: Of the schedule; None leaves the base's own.
            num_steps: Default number of steps per picture.
        """
        ...

    def example(self, example: Example) -> str:
        """Return Python code that samples the picture, to be run in the exported folder."""
        ...


@dataclass(frozen=True)
class DiffusersModels:
    """A family that a pipeline class of diffusers loads."""

    pipeline: str
    """Name of the class."""
    tags: tuple[str, ...]
    even_levels: bool
    """Whether the pipeline's own levels are, before the shift, 1, 1 - 1/T, ..., 1/T, as ours are."""
    licences: Mapping[str, Licence]
    """By the beginning of the hub id."""

    def licence(self, hub_id: str | None, *, shipped: bool) -> Licence | None:
        """Return the licence by the hub id; a local folder has none."""
        return next((licence for name, licence in self.licences.items() if hub_id and hub_id.startswith(name)), None)

    def complete(self, folder: Path, *, shift: float | None, num_steps: int) -> None:
        """Fix the shift in the scheduler's configuration."""
        if shift is not None:
            path = folder / "scheduler" / "scheduler_config.json"
            config = json.loads(path.read_text(encoding="utf-8")) | {"shift": shift, "use_dynamic_shifting": False}
            path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def example(self, example: Example) -> str:
        """Return code for the pipeline, or for the base's pipeline with the LoRA."""
        revision = f', revision="{example.revision}"' if example.revision else ""
        source = f"{_quoted(example.base)}{revision}" if example.adapted else '"."'
        reshaped = example.adapted and example.shift is not None
        imports = f"FlowMatchEulerDiscreteScheduler, {self.pipeline}" if reshaped else self.pipeline
        steps = example.num_steps
        lines = [
            "import torch",
            f"from diffusers import {imports}",
            "",
            f"pipeline = {self.pipeline}.from_pretrained({source}, dtype=torch.{example.dtype})",
        ]
        if reshaped:
            lines += [
                "pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(",
                f"    pipeline.scheduler.config, shift={example.shift}, use_dynamic_shifting=False",
                ")",
            ]
        lines += ['pipeline.load_lora_weights(".")'] if example.adapted else []
        even = f"sigmas=[1 - k / {steps} for k in range({steps})],  # the levels of the training, not the defaults"
        lines += [
            'pipeline.to("cuda" if torch.cuda.is_available() else "cpu")',
            "picture = pipeline(",
            f"    {_quoted(example.prompt)},",
            f"    num_inference_steps={steps}," if self.even_levels else f"    {even}",
            *(f"    {_RENAMED.get(name, name)}={_quoted(value)}," for name, value in example.settings.items() if value),
            "    generator=torch.Generator().manual_seed(0),",
            ").images[0]",
            'picture.save("picture.png")',
        ]
        return "\n".join(lines)


class ShapesModels:
    """The embedded world, whose models come with a loader of their own."""

    tags = ("flux", "shapes")

    def licence(self, hub_id: str | None, *, shipped: bool) -> Licence | None:
        """Return this package's licence for the base that comes with it."""
        return Licence("apache-2.0") if shipped else None

    def complete(self, folder: Path, *, shift: float | None, num_steps: int) -> None:
        """Add `shapes_pipeline.py`, which samples without this package, and its settings, shapes_pipeline.json."""
        from g2rpo.policies.shapes import Shapes
        from g2rpo.shapes.captions import VOCABULARY

        with as_file(files("g2rpo.shapes") / "standalone.py") as loader:
            shutil.copyfile(loader, folder / "shapes_pipeline.py")
        settings = {
            "vocabulary": VOCABULARY,
            "shift": Shapes.shift if shift is None else shift,
            "num_inference_steps": num_steps,
        }
        (folder / "shapes_pipeline.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")

    def example(self, example: Example) -> str:
        """Return code for the loader."""
        return "\n".join(
            [
                "from shapes_pipeline import ShapesPipeline",
                "",
                'pipeline = ShapesPipeline.from_pretrained(".")',
                f"(picture,) = pipeline({_quoted(example.prompt)}, num_inference_steps={example.num_steps}, seed=0)",
                'picture.save("picture.png")',
            ]
        )


def _quoted(value: Any) -> str:
    """Return a value as Python code, a text between double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


_HUB = "https://huggingface.co"

PUBLISHERS: Mapping[str, Publisher] = {
    "shapes": ShapesModels(),
    "flux1": DiffusersModels(
        "FluxPipeline",
        ("flux",),
        even_levels=True,
        licences={
            "black-forest-labs/FLUX.1-dev": Licence(
                "other",
                "flux-1-dev-non-commercial-license",
                f"{_HUB}/black-forest-labs/FLUX.1-dev/blob/main/LICENSE.md",
            ),
            "black-forest-labs/FLUX.1-schnell": Licence("apache-2.0"),
        },
    ),
    "sd3": DiffusersModels(
        "StableDiffusion3Pipeline",
        ("stable-diffusion-3",),
        even_levels=False,  # the scheduler spaces its own levels from 1 to the shifted 1/1000, and shifts them again
        licences={
            "stabilityai/stable-diffusion-3": Licence(
                "other", "stabilityai-ai-community", "https://stability.ai/license"
            )
        },
    ),
}
