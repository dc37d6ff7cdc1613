"""The model families by name, and the files that each of them is made of. This file loads no torch."""

from dataclasses import dataclass

from g2rpo.policies.pipeline_folder import INDEX, patterns


@dataclass(frozen=True)
class Family:
    """What is known of a family without loading it.

    Example: `FAMILIES["sd3"].encoder_files` begins with `text_encoder/*.safetensors`.
    """

    policy_files: tuple[str, ...]
    """Patterns, relative to a model's folder, of what the policy's numbers come from."""
    encoders: tuple[str, ...]
    """Subfolders of text encoders and tokenizers; none where they are too small to be worth a cache."""

    @property
    def encoder_files(self) -> tuple[str, ...]:
        """Patterns of what the text encoders' numbers come from."""
        return patterns(*self.encoders)

    @property
    def files(self) -> tuple[str, ...]:
        """Patterns of all that the numbers come from, which is all that need be downloaded."""
        return self.policy_files + self.encoder_files


_KEPT = (INDEX, *patterns("transformer", "vae", "scheduler"))

FAMILIES = {
    "shapes": Family(
        ("transformer/*.safetensors", "transformer/config.json", "words.safetensors"),
        (),
    ),
    "flux1": Family(_KEPT, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")),
    "sd3": Family(
        _KEPT,
        tuple(f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")),
    ),
}
