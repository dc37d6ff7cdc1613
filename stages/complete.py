"""Stage `complete`: the ODE completes every branch, once per granularity."""

import numpy as np
import pyarrow as pa
import torch

from g2rpo.diversity import group_diversity
from g2rpo.sampler import complete
from g2rpo.velocity import VelocityField
from stages.contract.job import Job
from stages.disk.foreign_keys import check_parents
from stages.disk.tables import COMPLETIONS, DIVERSITY, arrow, tensor, write_shard
from stages.engine.loaded_models import LoadedModels


def run(job: Job, resources: LoadedModels) -> None:
    """Write the completions, one shard per shard of transitions."""
    resources.encode(job.texts())
    for shard in job.pending_like("transitions", "completions", "diversity"):
        field = resources.field(job.inputs["behaviour_policy"], job.params.complete.micro_batch)
        _run_shard(job, resources, field, shard)


def _run_shard(job: Job, resources: LoadedModels, field: VelocityField, shard: int) -> None:
    settings = job.params.complete
    prompts, transitions = job.read("prompts", shard), _last_steps(job.read("transitions", shard))
    ids = prompts["prompt_id"].to_pylist()
    row_of = {name: row for row, name in enumerate(ids)}
    owners = transitions["prompt_id"].to_pylist()
    device = field.policy.device
    completed = complete(
        field,
        torch.from_numpy(tensor(transitions, "next_latents")).to(device),
        resources.condition(prompts["text"].to_pylist()),
        rows=torch.tensor([row_of[name] for name in owners], device=device),
        starts=[step + 1 for step in transitions["step"].to_pylist()],
        sigmas=resources.sigmas(job.params.rollout.num_steps),
        granularities=settings.granularities,
        rule=settings.stride_rule,
    )
    each = len(settings.granularities)
    completions = arrow(
        COMPLETIONS,
        {
            "prompt_id": [name for name in owners for _ in range(each)],
            "window": np.repeat(transitions["window"].to_numpy(), each),
            "branch": np.repeat(transitions["branch"].to_numpy(), each),
            "granularity": np.tile(settings.granularities, len(owners)),
            "evaluations": completed.evaluations.flatten().cpu().numpy(),
            "latents": completed.latents.flatten(0, 1).cpu().numpy(),
        },
    )
    check_parents(completions, COMPLETIONS, {"transitions": transitions})
    spent = field.evaluations
    write_shard(job.outputs["completions"], shard, COMPLETIONS, completions, stamp=job.stamp, evaluations=spent)
    diversity = _diversity(completions, completed.latents.flatten(0, 1))
    check_parents(diversity, DIVERSITY, {"completions": completions})
    write_shard(job.outputs["diversity"], shard, DIVERSITY, diversity, stamp=job.stamp)


def _diversity(completions: pa.Table, latents: torch.Tensor) -> pa.Table:
    """Return the diversity of each group of completions, in the order of their first rows."""
    keys = list(zip(*(completions[name].to_pylist() for name in DIVERSITY.key), strict=True))
    heads = list(dict.fromkeys(keys))
    number_of = {head: number for number, head in enumerate(heads)}
    values = group_diversity(latents, torch.tensor([number_of[key] for key in keys], device=latents.device))
    columns = dict(zip(DIVERSITY.key, zip(*heads, strict=True), strict=True))
    return arrow(DIVERSITY, columns | {"value": values.cpu().numpy()})


def _last_steps(transitions: pa.Table) -> pa.Table:
    """Return the last stochastic step of each branch: where its completion begins."""
    keys = zip(*(transitions[name].to_pylist() for name in ("prompt_id", "window", "branch")), strict=True)
    last = {key: row for row, key in enumerate(keys)}  # a group's steps are in order
    return transitions.take(list(last.values()))
