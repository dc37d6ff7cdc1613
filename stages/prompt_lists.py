"""The texts that prompts are drawn from: the lists of `prompts.path`, else those of the model family."""

from pathlib import Path

from g2rpo.shapes.captions import captions, tokens
from stages.files import value_digest
from stages.params import Params
from stages.tables import TEXTS, arrow, read_table, write_shard


def prompt_list(params: Params, split: str) -> tuple[str, ...]:
    """Return the texts of a split, in their order.

    Raises:
        ValueError: If `prompts.path` has no such list, or the policy cannot read one of its texts.
    """
    if params.prompts.path is None:
        return captions(split)
    folder = Path(params.prompts.path) / split
    if not (folder / "part-00000.parquet").is_file():
        raise ValueError(
            f"prompts.path: a list of the {split} texts is required, got no {folder}. Make the lists by "
            "`g2rpo prompts`, or set prompts.path to null."
        )
    texts = tuple(read_table(folder)["text"].to_pylist())
    tokens(texts)
    return texts


def with_prompts(params: Params, folder: Path) -> Params:
    """Return the parameters with their lists of prompts in another folder."""
    return params.model_copy(update={"prompts": params.prompts.model_copy(update={"path": str(folder)})})


def list_digest(params: Params, split: str) -> str:
    """Return the digest of a split's texts, wherever they lie."""
    return value_digest(prompt_list(params, split))


def write_prompt_lists(params: Params, out: Path) -> dict[str, int]:
    """Write the lists that a run, its evaluations and its report draw from; return their lengths by split."""
    lengths: dict[str, int] = {}
    for split in dict.fromkeys((params.prompts.split, params.evaluate.split, params.report.split)):
        texts = prompt_list(params, split)
        rows = arrow(TEXTS, {"index": range(len(texts)), "text": texts})
        write_shard(out / split, 0, TEXTS, rows, stamp=value_digest(texts))
        lengths[split] = len(texts)
    return lengths
