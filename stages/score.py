"""Stage `score`: every trained reward scores every completed picture, in the reward's own units."""

from stages.contract.job import Job
from stages.disk.tables import REWARDS, write_shard
from stages.engine.loaded_models import LoadedModels
from stages.engine.scoring import scored


def run(job: Job, resources: LoadedModels) -> None:
    """Write the rewards, one shard per shard of completions."""
    for shard in job.pending_like("completions", "rewards"):
        write_shard(job.outputs["rewards"], shard, REWARDS, scored(job, resources, shard), stamp=job.stamp)
