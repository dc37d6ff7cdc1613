"""The held-out prompts of an evaluation, with fixed noise.

The noise hangs on the caption alone, not on the run: so two runs, and two rounds of one run, start from the same.
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
        ValueError: If the split has fewer captions than asked for.
    """
    chosen = params.evaluate
    texts = prompt_list(params, chosen.split)
    if chosen.num_prompts > len(texts):
        raise ValueError(
            f"evaluate.num_prompts: at most the {len(texts)} captions of split {chosen.split} can be asked for, "
            f"got {chosen.num_prompts}. Lower it (report.num_prompts for the report), or give a longer list."
        )
    spread = [index * len(texts) // chosen.num_prompts for index in range(chosen.num_prompts)]
    rows = [(index, number) for number in range(chosen.num_noises) for index in spread]
    return HeldOut(
        ids=[prompt_id(chosen.split, index, number) for index, number in rows],
        texts=[texts[index] for index, _ in rows],
        seeds=[position_seed("held out", texts[index], number) for index, number in rows],
    )
