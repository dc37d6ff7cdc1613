"""Parameters of tiny runs on small random models, which are written once a session."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tiny import ROOT

from g2rpo.random_models import write_random_model
from stages.params.file import load_params

_FOLDER = TemporaryDirectory(prefix="g2rpo-random-")


@cache
def random_model(family: str) -> Path:
    """The folder of a small random model; nobody may change it."""
    folder = Path(_FOLDER.name) / family
    write_random_model(family, folder, size="tiny", seed=0)
    return folder


def overrides(family: str = "flux1") -> list[str]:
    """Where the models of presets/tiny-*.yaml lie in this session."""
    clip = random_model("clip-hps")
    source = f"{{path: {clip}, revision: null}}"
    weights = f"{{path: {clip}, revision: null, file: HPS_v2.1_compressed.pt}}"
    return [
        f"policy.path={random_model(family)}",
        f"rewards.hps={{kind: hps, backend: clip, weights: {weights}, clip: {source}, folder: null}}",
        f"prompts.path={ROOT / 'presets/prompts'}",
    ]


PRESETS = {"flux1": ROOT / "presets/tiny-flux.yaml", "sd3.5": ROOT / "presets/tiny-sd3.yaml"}


def tiny_latent_params(family: str = "flux1", *more: str):
    """The parameters of a preset, with its models where they lie in this session."""
    return load_params(PRESETS[family], [*overrides(family), *more])
