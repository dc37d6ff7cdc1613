"""Small random models in the real classes and file formats, so that whatever loads real weights runs without a hub."""

from g2rpo.random_models.clip import write_clip_hps
from g2rpo.random_models.families import write_random_model
from g2rpo.random_models.flux1 import flux1_dev_config, write_flux1
from g2rpo.random_models.sd3 import sd35_medium_config, write_sd3
from g2rpo.random_models.weights import random_network

__all__ = [
    "flux1_dev_config",
    "random_network",
    "sd35_medium_config",
    "write_clip_hps",
    "write_flux1",
    "write_random_model",
    "write_sd3",
]
