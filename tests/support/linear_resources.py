"""Stages on a policy of one weight: velocity = weight x + words sigma, and a picture is its latents, three numbers.

So what a stage writes can be derived by hand, and nothing is loaded. The sigmas of four steps are SIGMAS.
"""

import torch
from linear_policy import LinearPolicy
from tiny import tiny_params

from g2rpo.distributed.group import ALONE
from g2rpo.policies.protocol import Condition
from g2rpo.schedule import shifted_sigmas
from g2rpo.trainer import OptimizerSettings, Trainer
from g2rpo.velocity import VelocityField
from stages.contract.declared_stages import POLICY_INPUTS
from stages.contract.executor import Usage
from stages.contract.job import Job
from stages.disk.policy_files import write_policy
from stages.disk.policy_state import write_base
from stages.disk.tables import PROMPTS, TABLES, arrow, read_table, write_shard
from stages.engine.loaded_policy import LoadedPolicy
from stages.engine.trained_policy import Networks, TrainedPolicy

SIGMAS = (1, 6 / 7, 2 / 3, 2 / 5, 0)
TEXTS = {"a": "a circle", "b": "a red circle"}
"""Of two and of three words."""
SEEDS = {"a": 11, "b": 12}


class PaintingLinear(LinearPolicy):
    """A linear policy whose latents are pictures of one pixel; its network is called, so that it may lie in shares."""

    def __init__(self, weight):
        super().__init__(weight)
        self.module._no_split_modules = None

    def velocity(self, latents, sigma, condition):
        return self.module(latents[..., None])[..., 0] + (condition.tensors["c"] * sigma)[:, None]

    def decode(self, latents):
        return latents[:, :, None, None]


class Channel:
    """A reward: one channel of the only pixel."""

    module = None

    def __init__(self, name="red", number=0):
        self.name, self.number = name, number

    def score(self, images, texts):
        return images[:, self.number, 0, 0]


class LinearResources:
    """What a stage asks of the models that a process has loaded; notes the texts to encode and the models needed."""

    def __init__(self, weight=0.0, *rewards):
        self.device = torch.device("cpu")
        self.held = LoadedPolicy(PaintingLinear(weight), lambda: {"weight": torch.tensor([[weight]])})
        self.base, self.rewards = PaintingLinear(weight), {reward.name: reward for reward in rewards}
        self.encoded, self.needed = [], []
        networks = Networks(lambda: self.held, lambda: self.held, lambda: self.held, torch.float32)
        self.learning = TrainedPolicy(networks, ALONE, in_shares=False)

    def sigmas(self, num_steps):
        return shifted_sigmas(num_steps, 2.0)

    def encode(self, texts):
        self.encoded.append([*texts])
        return len(texts)

    def condition(self, texts):
        return Condition({"c": torch.tensor([float(len(text.split())) for text in texts])})

    def field(self, folder, micro_batch, *, averaged=False):
        return VelocityField(self.held.hold(folder, averaged=averaged), micro_batch)

    def base_field(self, micro_batch):
        return VelocityField(self.base, micro_batch)

    def decoder(self):
        return self.held.policy

    def reward(self, name):
        return self.rewards[name]

    def need(self, *models):
        self.needed.append(models)

    def do(self, stage, job):
        stage.load()(job, self)
        return Usage(1.5, 1000)

    def close(self):
        pass


def store_policy(folder, weight, *, average=None):
    """Store a policy that no step has made."""
    settings = OptimizerSettings(0.1, (0.9, 0.999), 0.0, 1.0, None if average is None else 0.5)
    policy = LinearPolicy(weight if average is None else average)
    trainer = Trainer(policy.module, settings)
    torch.nn.init.constant_(policy.module.weight, weight)
    write_policy(folder, trainer)
    return folder


class Workshop:
    """A folder in which stages are run by themselves, one round's tables beside each other, and the base policy."""

    def __init__(self, folder, *overrides, weight=0.0, rewards=()):
        self.folder, self.overrides = folder, overrides
        self.params = tiny_params("rollout.group_size=2", *overrides)
        self.resources = LinearResources(weight, *rewards)
        write_base(folder / "base", "the base")

    def job(self, inputs, outputs, *, number=0, policy=None, stamp="made", **how):
        policies = dict.fromkeys(POLICY_INPUTS, self.folder / (policy or "base"))
        return Job(
            self.params,
            number,
            {name: self.folder / name for name in inputs} | policies,
            {name: self.folder / name for name in outputs},
            stamp,
            **how,
        )

    def give(self, table, shard=0, **columns):
        write_shard(self.folder / table, shard, TABLES[table], arrow(TABLES[table], columns), stamp="given")

    def give_prompts(self):
        """The prompt of two words in shard 0, that of three in shard 1."""
        for shard, name in enumerate(TEXTS):
            columns = {"text": [TEXTS[name]], "split": ["train"], "metadata": ["{}"], "noise_seed": [SEEDS[name]]}
            rows = arrow(PROMPTS, {"prompt_id": [name], **columns})
            write_shard(self.folder / "prompts", shard, PROMPTS, rows, stamp="given")

    def read(self, table):
        return read_table(self.folder / table)

    def rows(self, table):
        """The rows of a table by the values of its key."""
        return {tuple(row[name] for name in TABLES[table].key): row for row in self.read(table).to_pylist()}
