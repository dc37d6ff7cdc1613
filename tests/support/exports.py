"""Tiny runs that are exported, and what our own sampling paints with them."""

import re

import torch
from damage import bring_to_the_end
from rounds import new_run
from tiny import ROOT

from g2rpo.random_models import write_random_model
from g2rpo.sampler import complete
from stages.engine.loaded_models import LoadedModels
from stages.params.file import load_params

PROMPT = "a red fox in the snow"
BY_JPEG = (
    "run.rounds=1",
    "resources.device=cpu",
    f"prompts.path={ROOT / 'presets/prompts'}",
    "score.rewards=[jpeg]",
    "integrate.reward_weights={jpeg: 1.0}",
    "evaluate.rewards=[jpeg]",
    "evaluate.choose_by=jpeg",
    "evaluate.num_prompts=2",
    "evaluate.num_pictures=2",
    "report.num_prompts=2",
    "update.learning_rate=1e-2",
)


def train_tiny(preset, model, folder, *overrides):
    """A run of a preset on a small random model, trained by the JPEG reward; its parameters and resources with it."""
    write_random_model(model, folder, size="tiny", seed=0)
    made = new_run(load_params(ROOT / preset, [*BY_JPEG, f"policy.path={folder}", *overrides]))
    bring_to_the_end(*made)
    return made


def painted(run, params, policy_round, texts, noise):
    """Pictures of the policy after so many rounds, as it is judged, in [0, 1], in four steps."""
    resources = LoadedModels(params)
    field = resources.field(run.policy_folder(policy_round), 8, averaged=True)
    finished = complete(
        field,
        noise,
        resources.condition(texts),
        rows=torch.arange(len(noise)),
        starts=[0] * len(noise),
        sigmas=resources.sigmas(4),
        granularities=[1],
        rule="even",
    )
    return field.policy.decode(finished.latents[:, 0])


def code_of(folder):
    """The Python code of a model card."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return code


def run_card(folder, monkeypatch):
    """Run the code of a model card in its folder; return what it has named."""
    monkeypatch.chdir(folder)
    named = {}
    exec(compile(code_of(folder), folder / "README.md", "exec"), named)
    return named
