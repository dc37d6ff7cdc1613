"""Weights that somebody else made: one tensor for each name of a network, or nothing is loaded."""

import json
import shutil
import struct

import pytest
import torch
from diffusers.models import AutoencoderKL, FluxTransformer2DModel
from random_bases import random_model
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from g2rpo.model_files.weights import (
    file_shapes,
    load_network,
    load_tokenizer,
    read_tensors,
    stored_shapes,
)

KINDS = {
    "transformer": FluxTransformer2DModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": T5EncoderModel,
}


@pytest.fixture
def component(tmp_path):
    def copied(name):
        return shutil.copytree(random_model("flux1") / name, tmp_path / name)

    return copied


def weights_of(folder):
    (path,) = folder.glob("*.safetensors")
    return path


def rewrite(folder, change):
    path = weights_of(folder)
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def middle(tensors):
    """A weight that is no shared one."""
    return sorted(name for name in tensors if "shared" not in name)[3]


def header(path, **tensors):
    """A file of safetensors of this header alone."""
    text = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


def load(name, folder):
    return load_network(KINDS[name], folder, dtype=torch.float32)


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_network_is_loaded_bit_for_bit(name):
    folder = random_model("flux1") / name
    network, stored = load(name, folder), load_file(weights_of(folder))
    own = network.state_dict()
    assert stored.keys() <= own.keys()
    assert all(torch.equal(own[key], tensor) for key, tensor in stored.items())


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_tensor_is_refused_with_its_name(name, component):
    folder = component(name)
    lost = middle(load_file(weights_of(folder)))
    rewrite(folder, lambda tensors: tensors.pop(lost))
    with pytest.raises(ValueError, match=f"missing: {lost}. Name weights and config of the same model"):
        load(name, folder)


@pytest.mark.parametrize("name", KINDS)
def test_a_renamed_tensor_is_missing_and_left_over(name, component):
    folder = component(name)
    lost = middle(load_file(weights_of(folder)))
    rewrite(folder, lambda tensors: tensors.update({"renamed.weight": tensors.pop(lost)}))
    with pytest.raises(ValueError, match=f"missing: {lost}; left over: renamed.weight"):
        load(name, folder)


@pytest.mark.parametrize("name", KINDS)
def test_a_tensor_of_another_shape_is_refused(name, component):
    folder = component(name)
    rewrite(folder, lambda tensors: tensors.update({middle(tensors): torch.zeros(3, 3)}))
    with pytest.raises(ValueError, match=f"{KINDS[name].__name__}"):
        load(name, folder)


def test_a_shared_embedding_is_stored_once_and_is_not_missing(component):
    folder = component("text_encoder_2")
    assert "encoder.embed_tokens.weight" not in load_file(weights_of(folder))
    network = load("text_encoder_2", folder)
    assert network.encoder.embed_tokens.weight is network.shared.weight
    rewrite(folder, lambda tensors: tensors.pop("shared.weight"))
    with pytest.raises(ValueError, match="missing: "):
        load("text_encoder_2", folder)


def test_pickled_weights_are_refused_with_a_remedy(component):
    folder = component("text_encoder")
    torch.save(load_file(weights_of(folder)), folder / "pytorch_model.bin")
    weights_of(folder).unlink()
    with pytest.raises(
        ValueError, match=r"got pytorch_model.bin, which is pickled and could run code. Take a revision"
    ):
        load("text_encoder", folder)


def test_the_configuration_of_another_class_is_refused(component):
    for name, other, key in (("vae", "transformer", "_class_name"), ("text_encoder", "text_encoder_2", "model_type")):
        with pytest.raises(ValueError, match=f"{key} .* is required in .*config.json, got"):
            load(other, component(name))


def test_a_configuration_larger_than_the_weights_is_refused_before_memory_is_taken(component):
    folder = component("text_encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2**20, "intermediate_size": 2**20}))
    with pytest.raises(ValueError, match="Weights of [0-9,]{16,} numbers are required"):
        load("text_encoder", folder)


@pytest.mark.parametrize("value", ["many", -4, [], {"a": 1}])
@pytest.mark.parametrize(("name", "key"), [("text_encoder", "hidden_size"), ("transformer", "num_attention_heads")])
def test_a_configuration_that_makes_no_network_is_refused_in_words(component, name, key, value):
    folder = component(name)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(ValueError, match=f"required in {folder}"):
        load(name, folder)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, "cannot be read as such"),
        ({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}, "cannot be read as such"),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "cannot be read as such"),
        ({"a": {"dtype": "Q9", "shape": [1], "data_offsets": [0, 4]}}, "cannot be read as such"),
        ({"a": {"dtype": "F32", "shape": [], "data_offsets": [4, 0]}}, "cannot be read as such"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, tensors, message):
    header(tmp_path / "model.safetensors", **tensors)
    with pytest.raises(ValueError, match=message):
        file_shapes(tmp_path / "model.safetensors")


def test_a_hole_of_ten_to_the_twelve_numbers_is_refused_by_its_header(tmp_path):
    path = tmp_path / "model.safetensors"
    header(path, a={"dtype": "U8", "shape": [10**12], "data_offsets": [0, 10**12]})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 10**12)
    with pytest.raises(ValueError, match="At most 200,000,000,000 numbers are required in .*, got 1,000,000,000,000"):
        file_shapes(path)


def test_an_index_of_shards_names_files_of_its_own_folder_alone(component):
    folder = component("text_encoder")
    for named in ("../../id_rsa", "/etc/passwd", "lost.safetensors", 7):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": named}}))
        with pytest.raises(ValueError, match="names of the shards in"):
            stored_shapes(folder)
    for named in ([], {}, None):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
        with pytest.raises(ValueError, match="names of the shards in"):
            stored_shapes(folder)


def test_linked_weights_are_refused(component, tmp_path):
    folder = component("vae")
    weights_of(folder).rename(tmp_path / "elsewhere")
    (folder / "diffusion_pytorch_model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="must lie in its own folder"):
        load("vae", folder)


def test_tensors_are_read_by_their_required_shapes_and_finite(tmp_path):
    path = tmp_path / "words.safetensors"
    save_file({"words": torch.ones(2, 3)}, path)
    assert torch.equal(read_tensors(path, tmp_path, like={"words": (2, 3)})["words"], torch.ones(2, 3))
    for like in ({"words": (3, 2)}, {"other": (2, 3)}, {"words": (2, 3), "more": (1,)}, {}):
        with pytest.raises(ValueError, match="other names or shapes are required in .*words.safetensors, got"):
            read_tensors(path, tmp_path, like=like)
    for value in (float("nan"), float("inf")):
        save_file({"words": torch.tensor([1.0, value])}, path)
        with pytest.raises(ValueError, match="Finite weights are required in .*, got others in words"):
            read_tensors(path, tmp_path)


def test_a_tokenizer_is_read_and_a_broken_or_linked_one_is_refused(component, tmp_path):
    first, second = component("tokenizer"), component("tokenizer_2")
    assert load_tokenizer(CLIPTokenizer, first)("a red cat")["input_ids"]
    assert load_tokenizer(T5Tokenizer, second)("a red cat")["input_ids"]
    config = json.loads((first / "tokenizer_config.json").read_text())
    for key, name in (("vocab_file", "/etc/hostname"), ("fast_tokenizer_files", ["../x/tokenizer.1.0.json"])):
        (first / "tokenizer_config.json").write_text(json.dumps(config | {key: name}))
        with pytest.raises(ValueError, match=f"tokenizer_config.json: {key} must name a file beside it, got "):
            load_tokenizer(CLIPTokenizer, first)
    (second / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ValueError, match="A tokenizer of the class T5Tokenizer is required in .*tokenizer_2, got"):
        load_tokenizer(T5Tokenizer, second)
    (second / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match=r"A JSON object is required in .*tokenizer.json"):
        load_tokenizer(T5Tokenizer, second)
    (first / "merges.txt").rename(tmp_path / "elsewhere")
    (first / "merges.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="must lie in its own folder"):
        load_tokenizer(CLIPTokenizer, first)
