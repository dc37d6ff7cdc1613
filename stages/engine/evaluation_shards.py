"""The shards of an evaluation: for each number of steps, one per micro-batch of held-out prompts."""

from stages.contract.job import Job
from stages.params.record import Params


def pending(job: Job) -> list[int]:
    """Return the shards to make: for each number of steps, one per `evaluate.micro_batch` prompts."""
    parts = shard_parts(job.params)
    with_pictures = [shard for shard, (_, part) in enumerate(parts) if kept_rows(job.params, part)]
    return sorted({*job.pending(range(len(parts)), "evaluations"), *job.pending(with_pictures, "pictures")})


def shard_parts(params: Params) -> list[tuple[int, slice]]:
    """Return the number of steps and the rows of each shard."""
    settings = params.evaluate
    starts = range(0, settings.num_prompts * settings.num_noises, settings.micro_batch)
    return [(steps, slice(at, at + settings.micro_batch)) for steps in settings.num_steps for at in starts]


def kept_rows(params: Params, part: slice) -> list[int]:
    """Return the rows whose pictures are kept: the first rows hold each caption once, with its first noise."""
    num_prompts = params.evaluate.num_prompts
    count = min(params.evaluate.num_pictures, num_prompts)
    return [row for row in (index * num_prompts // count for index in range(count)) if part.start <= row < part.stop]
