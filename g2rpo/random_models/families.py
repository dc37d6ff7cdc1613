"""The kinds of random models by name, as the command line names them."""

from collections.abc import Callable
from pathlib import Path

from g2rpo.random_models.clip import write_clip_hps
from g2rpo.random_models.flux1 import write_flux1
from g2rpo.random_models.sd3 import write_sd3

FAMILIES: dict[str, Callable[[Path, int], None]] = {
    "flux1": lambda folder, seed: write_flux1(folder, seed=seed, guidance=True),
    "flux1-schnell": lambda folder, seed: write_flux1(folder, seed=seed, guidance=False),
    "sd3": lambda folder, seed: write_sd3(folder, seed=seed, dual_attention=False),
    "sd3.5": lambda folder, seed: write_sd3(folder, seed=seed, dual_attention=True),
    "clip-hps": lambda folder, seed: write_clip_hps(folder, seed=seed),
}
SIZES = ("tiny",)


def write_random_model(family: str, folder: Path, *, size: str, seed: int) -> int:
    """Write a random model of a family and return the bytes that it takes.

    Raises:
        ValueError: If the family or the size is unknown, or if the folder holds anything.
    """
    if family not in FAMILIES:
        raise ValueError(f"A family is one of {', '.join(FAMILIES)}, got {family!r}.")
    if size not in SIZES:
        raise ValueError(
            f"The size of a model on disk is one of {', '.join(SIZES)}, got {size!r}. Transformers of real size are "
            "made in memory: `random_network` of g2rpo.random_models, with flux1_dev_config() or sd35_medium_config()."
        )
    FAMILIES[family](folder, seed)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
