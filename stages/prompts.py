"""Stage `prompts`: what a round is asked to paint, and from which noise it starts.

Each epoch visits every caption of the split once, in an order that hangs on the seed; the noise index of a
prompt is its epoch, so a caption that comes again comes with another noise.
"""

from g2rpo.positions import position_seed
from stages.contract.job import Job
from stages.disk.tables import PROMPTS, arrow, write_shard
from stages.engine.loaded_models import Resources
from stages.texts.draws import draw, prompt_id
from stages.texts.lists import full_list


def run(job: Job, resources: Resources) -> None:
    """Write the prompts of the round, `prompts.shard_size` a shard."""
    chosen = job.params.prompts
    there, seed = full_list(job.params, chosen.split), job.params.run.seed
    first = job.round_number * chosen.num_prompts
    drawn = [draw(len(there.texts), first + slot, seed) for slot in range(chosen.num_prompts)]
    parts = [drawn[i : i + chosen.shard_size] for i in range(0, len(drawn), chosen.shard_size)]
    for shard in job.pending(range(len(parts)), "prompts"):
        ids = [prompt_id(chosen.split, caption, noise) for caption, noise in parts[shard]]
        columns = {
            "prompt_id": ids,
            "text": [there.texts[caption] for caption, _ in parts[shard]],
            "split": [chosen.split] * len(ids),
            "metadata": [there.metadata[caption] for caption, _ in parts[shard]],
            "noise_seed": [position_seed("noise", seed, job.round_number, name) for name in ids],
        }
        write_shard(job.outputs["prompts"], shard, PROMPTS, arrow(PROMPTS, columns), stamp=job.stamp)
