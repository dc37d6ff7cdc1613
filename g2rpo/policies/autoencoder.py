"""The autoencoder at the end of a latent model, called in chunks, since one call for all would run out of memory."""

import torch
from diffusers.models import AutoencoderKL

from g2rpo.types import Images, Latents


class Autoencoder:
    """Decodes latents (b, c, h / 8, w / 8) to pictures (b, 3, h, w); scale and shift are those of its config."""

    def __init__(self, vae: AutoencoderKL, batch: int) -> None:
        self.module = vae.eval().requires_grad_(False)
        self._batch = batch

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return int(self.module.config["latent_channels"])

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Return pictures in [0, 1], fp32, `batch` latents per call."""
        scale, shift = self.module.config["scaling_factor"], self.module.config["shift_factor"] or 0.0
        weight = next(self.module.parameters())
        parts = [
            self.module.decode((part / scale + shift).to(weight), return_dict=False)[0].float()
            for part in latents.split(self._batch)
        ]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)
