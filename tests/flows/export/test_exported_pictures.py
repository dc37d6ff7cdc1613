"""What is exported paints what was judged: by plain diffusers, by the code of its card, from MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import mlflow.diffusers
import numpy as np
import pytest
import torch
from damage import bring_to_the_end
from diffusers import DiffusionPipeline, FluxPipeline, StableDiffusion3Pipeline
from exports import PROMPT, code_of, painted, run_card, train_tiny
from mlflow.tracking import MlflowClient
from PIL import Image
from rounds import new_run
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import tiny_params
from typer.testing import CliRunner

from flows.cli.app import app
from flows.export.policy import export_run
from flows.export.registry import Registration
from g2rpo.rewards.pictures import to_uint8
from g2rpo.seeding import noise
from stages.engine.loaded_models import LoadedModels
from stages.sources.base_model import base_folder
from stages.texts.lists import prompt_list

FLUX = {"height": 64, "width": 64, "guidance_scale": 3.5, "max_sequence_length": 77, "num_inference_steps": 4}
SD3 = {"height": 64, "width": 64, "guidance_scale": 4.5, "max_sequence_length": 77}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        folder = tmp_path_factory.mktemp("exports")
        environment.setenv("G2RPO_HOME", str(folder / "store"))
        yield folder


@pytest.fixture(scope="module")
def flux_lora(home):
    """Two rounds, so that the average that is judged is not what was trained last."""
    return train_tiny("presets/tiny-flux.yaml", "flux1", home / "flux1", "rollout.shift=2.0", "run.rounds=2")


@pytest.fixture(scope="module")
def sd3_lora(home):
    return train_tiny("presets/tiny-sd3.yaml", "sd3.5", home / "sd3.5", "rollout.shift=2.0")


@pytest.fixture(scope="module")
def flux_full(home):
    model = home / "flux1-schnell"
    given = ("policy.lora=null", "policy.guidance=null", "update.learning_rate=1e-3")
    return train_tiny("presets/tiny-flux.yaml", "flux1-schnell", model, *given)


@pytest.fixture(scope="module")
def shapes(home):
    made = new_run(tiny_params("run.rounds=1", "update.learning_rate=1e-2"))
    bring_to_the_end(*made)
    return made


@pytest.fixture(scope="module")
def exported(home):
    """Exports a run once in each format."""

    def export(made, chosen=None):
        out = home / f"{made[0].key}-{chosen}"
        if not out.exists():
            export_run(made[0].key, out, chosen)
        return out

    return export


def start(made):
    """Noise of one picture, packed as the pipeline of the family wants it."""
    return noise([7], made[2].decoder().latent_shape)


def by_pipeline(pipeline, latents, call):
    with torch.no_grad():
        return pipeline(PROMPT, latents=latents, output_type="pt", **call).images


def check_it_paints_what_we_paint(made, pipeline, call):
    """The pipeline paints our pictures from the same noise, and not the base's."""
    run, params, _ = made
    latents = start(made)
    theirs = by_pipeline(pipeline, latents, call)
    ours, base = (painted(run, params, n, [PROMPT], latents) for n in (params.run.rounds, 0))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
    assert (theirs - base).abs().max() > 1e-2


def check_the_card_paints_our_picture(made, named, latents):
    run, params, _ = made
    text = prompt_list(params, params.report.split)[0]
    ours = to_uint8(painted(run, params, params.run.rounds, [text], latents))[0].numpy()
    assert np.abs(np.asarray(named["picture"]).astype(int) - ours).max() <= 1


def drawn(*shape):
    """The noise that a pipeline of diffusers draws from seed 0."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_a_lora_on_plain_diffusers_paints_what_is_judged_with_alpha_twice_the_rank(flux_lora, exported, monkeypatch):
    out = exported(flux_lora)
    with safe_open(out / "pytorch_lora_weights.safetensors", "pt") as file:
        told = json.loads(file.metadata()["lora_adapter_metadata"])
    assert (told["transformer.r"], told["transformer.lora_alpha"]) == (4, 8)
    named = run_card(out, monkeypatch)
    assert isinstance(named["pipeline"], FluxPipeline)
    check_it_paints_what_we_paint(flux_lora, named["pipeline"], FLUX)
    check_the_card_paints_our_picture(flux_lora, named, FluxPipeline._pack_latents(drawn(1, 16, 8, 8), 1, 16, 8, 8))


@pytest.mark.slow
def test_a_registered_lora_is_loaded_by_its_alias_which_the_next_export_takes_over(flux_lora, home, monkeypatch):
    key, uri = flux_lora[0].key, f"sqlite:///{home / 'store' / 'mlflow.db'}"
    for version in (1, 2):
        told = export_run(key, home / f"registered-{version}", registration=Registration("flux", "champion"))
        assert f"models:/flux@champion is version {version} of flux at {uri}" in told
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    registered = client.get_model_version_by_alias("flux", "champion")
    assert int(registered.version) == 2
    assert f"Run {key} after 2 rounds; tuning: jpeg " in registered.description
    assert client.get_run(registered.run_id).data.tags["g2rpo.run_key"] == key
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    loaded = mlflow.diffusers.load_model("models:/flux@champion")
    pipeline = FluxPipeline.from_pretrained(loaded.base_model)
    pipeline.load_lora_weights(loaded.adapter_path)
    assert "shift=2.0, use_dynamic_shifting=False" in code_of(Path(loaded.adapter_path).parent / "card")
    levels = {"shift": 2.0, "use_dynamic_shifting": False}
    pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **levels)
    check_it_paints_what_we_paint(flux_lora, pipeline, FLUX)


def test_an_earlier_round_is_exported_by_its_number_where_it_is_kept(flux_lora, exported, home):
    key = flux_lora[0].key
    files = [exported(flux_lora), home / "first", home / "second"]
    for number in (1, 2):
        export_run(key, files[number], number=number)
    last, first, second = (load_file(folder / "pytorch_lora_weights.safetensors") for folder in files)
    assert all(torch.equal(last[name], second[name]) for name in last)
    assert any(not torch.equal(last[name], first[name]) for name in last)
    assert "by 1 round of G²RPO" in (files[1] / "README.md").read_text()
    with pytest.raises(ValueError, match="--round: a round whose policy is kept is required, one of 1, 2, got 3"):
        export_run(key, home / "third", number=3)


def test_the_average_that_is_exported_is_not_what_was_trained_last(flux_lora):
    run, params, _ = flux_lora
    networks = [LoadedModels(params).policy(run.policy_folder(2), averaged=which).module for which in (False, True)]
    trained, averaged = ({n: p.detach() for n, p in of.named_parameters() if p.requires_grad} for of in networks)
    assert max((trained[name] - averaged[name]).abs().max() for name in trained) > 1e-3


def test_a_merged_pipeline_has_the_schedule_that_was_trained_for_as_its_own(flux_lora, exported, monkeypatch):
    out = exported(flux_lora, "pipeline")
    pipeline = DiffusionPipeline.from_pretrained(out, dtype=torch.float32)
    assert not [name for name in pipeline.transformer.state_dict() if "lora" in name]
    check_it_paints_what_we_paint(flux_lora, pipeline, FLUX)
    torch.testing.assert_close(pipeline.scheduler.sigmas, flux_lora[2].sigmas(4).float(), atol=1e-7, rtol=0)
    config = json.loads((out / "scheduler/scheduler_config.json").read_text())
    assert (config["shift"], config["use_dynamic_shifting"]) == (2.0, False)
    named = run_card(out, monkeypatch)
    check_the_card_paints_our_picture(flux_lora, named, FluxPipeline._pack_latents(drawn(1, 16, 8, 8), 1, 16, 8, 8))


@pytest.mark.slow
def test_guidance_and_levels_of_stable_diffusion_are_ours_by_the_call_of_the_card(sd3_lora, exported, monkeypatch):
    for chosen in (None, "pipeline"):
        named = run_card(exported(sd3_lora, chosen), monkeypatch)
        assert isinstance(named["pipeline"], StableDiffusion3Pipeline)
        check_the_card_paints_our_picture(sd3_lora, named, drawn(1, 16, 8, 8))
        check_it_paints_what_we_paint(sd3_lora, named["pipeline"], SD3 | {"sigmas": [1, 3 / 4, 2 / 4, 1 / 4]})
        ours = sd3_lora[2].sigmas(4).float()
        torch.testing.assert_close(named["pipeline"].scheduler.sigmas, ours, atol=1e-7, rtol=0)
        named["pipeline"].scheduler.set_timesteps(4)  # what the pipeline takes if it is told no levels
        assert (named["pipeline"].scheduler.sigmas - ours).abs().max() > 0.1


def test_trained_weights_are_a_pipeline_whose_levels_are_the_models_own(flux_full, exported, monkeypatch):
    out = exported(flux_full)
    named = run_card(out, monkeypatch)
    check_it_paints_what_we_paint(flux_full, named["pipeline"], FLUX | {"guidance_scale": 0.0})
    before = base_folder(flux_full[1]) / "scheduler/scheduler_config.json"
    assert (out / "scheduler/scheduler_config.json").read_bytes() == before.read_bytes()


def test_an_exported_pipeline_is_a_base_to_start_from(flux_lora, exported):
    run, params, _ = flux_lora
    out = exported(flux_lora, "pipeline")
    moved = params.with_values({"policy.path": str(out)})
    latents = start(flux_lora)
    first = new_run(moved)[0]
    again, ours = (painted(of, by, n, [PROMPT], latents) for of, by, n in ((first, moved, 0), (run, params, 2)))
    torch.testing.assert_close(again, ours, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_shapes_world_paints_our_pictures_where_nothing_of_ours_can_be_imported(shapes, home):
    run, params, _ = shapes
    out, captions = home / "shapes", ["a red circle", "two blue squares", "a green triangle above a white circle"]
    said = CliRunner().invoke(app, ["export", "--run", run.key, "--to", str(out)])
    assert said.exit_code == 0, said.output
    code = f"""
import sys
for name in ("g2rpo", "stages", "flows"):
    sys.modules[name] = None  # an import of it fails
sys.path.insert(0, "")
import torch
torch.set_num_threads(1)
{code_of(out)}
for number, picture in enumerate(pipeline({captions!r}, num_inference_steps=4, seed=5)):
    picture.save(f"{{number}}.png")
try:
    pipeline("a red dog", seed=0)
except ValueError as error:
    print(error)
"""
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=out, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "of the words a, two, three, and, left" in done.stdout
    latents = noise([5, 6, 7], (16, 48))
    ours, base = (to_uint8(painted(run, params, n, captions, latents)).numpy().astype(int) for n in (1, 0))
    theirs = np.stack([np.asarray(Image.open(out / f"{number}.png")) for number in range(3)])
    assert np.abs(theirs - ours).max() <= 1
    assert np.abs(theirs - base).max() > 10
