"""The held-out prompts of an evaluation, with fixed noise.

The noise depends on the caption alone, not on the run; so two runs, and two rounds of one run, start from the same.
"""

from dataclasses import dataclass

from g2rpo.positions import position_seed
from stages.params.record import Params
from stages.texts.draws import prompt_id
from stages.texts.lists import prompt_list


@dataclass(frozen=True)
class HeldOut:
    """The fixed prompts of an evaluation. Example: id `test-0007-000`, a text, a seed."""

    ids: list[str]
    texts: list[str]
    seeds: list[int]


def held_out(params: Params) -> HeldOut:
    """Return captions spread evenly over the split, each with its noises.

    Raises:
        ValueError: If the split has too few captions.
    """
    settings = params.evaluate
    texts = prompt_list(params, settings.split)
    if settings.num_prompts > len(texts):
        raise ValueError(
            f"evaluate.num_prompts: at most the {len(texts)} captions of split {settings.split} are possible, "
            f"got {settings.num_prompts}. Lower it (report.num_prompts for the report), or give a longer list."
        )
    spread = [index * len(texts) // settings.num_prompts for index in range(settings.num_prompts)]
    rows = [(index, number) for number in range(settings.num_noises) for index in spread]
    return HeldOut(
        ids=[prompt_id(settings.split, index, number) for index, number in rows],
        texts=[texts[index] for index, _ in rows],
        seeds=[position_seed("held out", texts[index], number) for index, number in rows],
    )
