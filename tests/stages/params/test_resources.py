import pytest
from refusals import refusal, shipped


def test_resources_are_read_as_they_are_written():
    resources = shipped("resources.device=cuda", "resources.dtype=bfloat16", "resources.attention=flash").resources
    assert (resources.device, resources.dtype, resources.attention) == ("cuda", "bfloat16", "flash")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("resources.device=mps", "resources.device: input should be 'auto', 'cpu' or 'cuda', got 'mps'"),
        ("resources.dtype=float16", "resources.dtype: input should be 'float32' or 'bfloat16', got 'float16'"),
        ("resources.threads=0", "resources.threads: input should be greater than or equal to 1, got 0"),
        ("resources.decode_batch=0", "resources.decode_batch: input should be greater than or equal to 1, got 0"),
        ("resources.compile=1", "resources.compile: input should be a valid boolean, got 1"),
        ("resources.quantise=int4", "resources.quantise: input should be 'int8', got 'int4'"),
        ("resources.between_stages=forget", "resources.between_stages: input should be 'keep' or 'offload'"),
    ],
)
def test_bad_values_are_refused(override, message):
    assert message in refusal(override)
