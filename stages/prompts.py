"""Stage `prompts`: the prompts of a round, and the noise that each starts from.

Each epoch visits every caption of the split once, in an order that the seed determines. The noise index of a
prompt is its epoch, so a repeated caption has another noise.
"""

from g2rpo.positions import position_seed
from stages.contract.job import Job
from stages.disk.tables import PROMPTS, arrow, write_shard
from stages.engine.loaded_models import LoadedModels
from stages.texts.draws import draw, prompt_id
from stages.texts.lists import full_list


def run(job: Job, resources: LoadedModels) -> None:
    """Write the prompts of the round, `prompts.shard_size` per shard."""
    settings = job.params.prompts
    captions, seed = full_list(job.params, settings.split), job.params.run.seed
    first = job.round_number * settings.num_prompts
    drawn = [draw(len(captions.texts), first + slot, seed) for slot in range(settings.num_prompts)]
    parts = [drawn[i : i + settings.shard_size] for i in range(0, len(drawn), settings.shard_size)]
    for shard in job.pending(range(len(parts)), "prompts"):
        ids = [prompt_id(settings.split, caption, noise) for caption, noise in parts[shard]]
        columns = {
            "prompt_id": ids,
            "text": [captions.texts[caption] for caption, _ in parts[shard]],
            "split": [settings.split] * len(ids),
            "metadata": [captions.metadata[caption] for caption, _ in parts[shard]],
            "noise_seed": [position_seed("noise", seed, job.round_number, name) for name in ids],
        }
        write_shard(job.outputs["prompts"], shard, PROMPTS, arrow(PROMPTS, columns), stamp=job.stamp)
