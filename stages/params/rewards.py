"""The section `rewards` of params.yaml: rewards that need weights or a server, one record per kind."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.params.addresses import Address
from stages.params.names import Text, TokenVariable
from stages.params.section import ConfigSource, Count, CountOrNone, Effect, FileSource, Positive, Section, Source


class HpsParams(Section):
    """Human Preference Score v2.1, arXiv:2306.09341: about 0.2 to 0.4."""

    kind: Literal["hps"]
    """Human Preference Score."""
    backend: Literal["clip", "hpsv2"]
    """`clip`: converted to transformers, in this process. `hpsv2`: the published package, in its own folder and
    process."""
    weights: FileSource
    """The checkpoint, HPS_v2.1_compressed.pt of xswu/HPSv2."""
    clip: ConfigSource | None
    """Configuration and tokenizer of its architecture, laion/CLIP-ViT-H-14-laion2B-s32B-b79K, for the backend
    `clip`; else null."""
    folder: Annotated[Text | None, Effect.NONE]
    """Folder that `g2rpo setup hps` made, for the backend `hpsv2`; else null."""

    @model_validator(mode="after")
    def _backend_has_what_it_needs(self) -> Self:
        if (self.clip is not None, self.folder is not None) != (self.backend == "clip", self.backend == "hpsv2"):
            raise ValueError(
                "rewards: hps with the backend clip requires clip and no folder, with the backend hpsv2 a folder that "
                f"`g2rpo setup hps` made and no clip; got backend {self.backend}, clip {self.clip and self.clip.path}, "
                f"folder {self.folder}. Set the one, and the other to null."
            )
        return self


class ClipScoreParams(Section):
    """Cosine similarity of picture and text in a CLIP model, in [-1, 1]."""

    kind: Literal["clip_score"]
    """CLIP score."""
    weights: Source
    """A CLIP model; apple/DFN5B-CLIP-ViT-H-14 in the paper."""


class PickScoreParams(Section):
    """PickScore, arXiv:2305.01569: about 18 to 24; the paper's tables divide it by 100."""

    kind: Literal["pick_score"]
    """PickScore."""
    weights: Source
    """yuvalkirstain/PickScore_v1."""
    processor: ConfigSource
    """Tokenizer and picture processor, laion/CLIP-ViT-H-14-laion2B-s32B-b79K."""


class ImageRewardParams(Section):
    """ImageReward v1.0, arXiv:2304.05977: standardised, about -2 to 2."""

    kind: Literal["image_reward"]
    """ImageReward."""
    weights: FileSource
    """ImageReward.pt."""
    config: FileSource
    """med_config.json."""
    tokenizer: ConfigSource
    """Tokenizer of bert-base-uncased."""


class AestheticParams(Section):
    """LAION's improved aesthetic predictor: about 1 to 10. It does not read the prompt."""

    kind: Literal["aesthetic"]
    """Aesthetic score."""
    weights: FileSource
    """The head, sac+logos+ava1-l14-linearMSE.pth."""
    clip: Source
    """openai/clip-vit-large-patch14."""


class JpegParams(Section):
    """JPEG compressibility, arXiv:2305.13301: minus the kilobytes of the JPEG. It needs no model."""

    kind: Literal["jpeg"]
    """JPEG compressibility."""
    quality: Annotated[int, Field(ge=1, le=95)]
    """Quality of the JPEG; 95 in the paper."""


class RemoteParams(Section):
    """A scorer behind HTTP, such as `g2rpo serve-reward`: docs/remote-reward.md."""

    kind: Literal["remote"]
    """A scorer behind HTTP."""
    url: Annotated[Address, Effect.NONE]
    """Address of the server, without a login, such as http://127.0.0.1:8000."""
    model: Text
    """Name of the model that must answer."""
    revision: Text
    """Revision of the model; a server with another one is refused."""
    batch: Annotated[Count, Effect.NONE]
    """Pictures per request."""
    retries: Annotated[CountOrNone, Effect.NONE]
    """Further attempts after a request fails for a temporary reason."""
    timeout: Annotated[Positive, Effect.NONE]
    """Seconds per attempt, from the connection to the last byte of the reply."""
    token_env: Annotated[TokenVariable | None, Effect.NONE]
    """Environment variable that holds the bearer token, G2RPO_TOKEN_ and a name of capitals; null: no token."""


RewardParams = Annotated[
    HpsParams | ClipScoreParams | PickScoreParams | ImageRewardParams | AestheticParams | JpegParams | RemoteParams,
    Field(discriminator="kind"),
]
