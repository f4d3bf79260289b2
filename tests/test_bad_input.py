"""Bad input, through the command: one sentence on stderr, exit code 2, and every folder as it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from gan2shape.cli import app
from gan2shape.core.locks import locked
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.mask_head import MaskHead, head_config
from gan2shape.prior.packs import make_prior, save_pack
from tests.tiny_pack import SMALL

QUICK = ["n_stages=1", "steps.n_projection=[2]", "steps.n_collect=4", "steps.n_joint=[2]", "steps.batch=2"]
QUICK += [*SMALL, "invert.n_steps=2", "invert.n_starts=2", "invert.n_tracks=1", "initial.slants_deg=[0.0]"]
GENERATOR = GeneratorConfig(channels=(8, 8, 8, 8, 8), z_dim=8, w_dim=8, n_mapping=2)
DISCRIMINATOR = DiscriminatorConfig(channels=(8, 8, 8, 8))
SIZE = (64, 70)  # width and height of the images
runner = CliRunner()


@pytest.fixture(scope="module")
def packs(tmp_path_factory) -> Path:
    """Folders of weights for cars: whole ones and one for every kind of damage. Nothing is trained."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    prior = make_prior(Generator(GENERATOR), Discriminator(DISCRIMINATOR), {"category": "car"})
    whole = save_pack(folder / "whole" / "car", prior)
    data, tensors = whole.read_bytes(), load_file(whole)
    from safetensors import safe_open

    with safe_open(whole, framework="pt") as stream:
        metadata = stream.metadata()
    for name, content in (("half", data[: len(data) // 2]), ("empty", b""), ("text", b"not weights\n" * 1000)):
        (folder / name / "car").mkdir(parents=True)
        (folder / name / "car" / whole.name).write_bytes(content)
    lacking = {name: tensor for name, tensor in tensors.items() if not name.startswith("statistics/")}
    other = {name: t[:1].contiguous() if name.endswith("weight") else t for name, t in tensors.items()}
    for name, changed in (("lacking", lacking), ("other shapes", other)):
        (folder / name / "car").mkdir(parents=True)
        save_file(changed, folder / name / "car" / whole.name, metadata)
    (folder / "card" / "car").mkdir(parents=True)
    (folder / "card" / "car" / whole.name).write_bytes(data)
    (folder / "card" / "car" / "card.json").write_text('{"category":')
    (folder / "none").mkdir()
    save_pack(folder / "blind" / "car", blind(prior))
    return folder


def blind(prior):
    """The same with a mask head that sees no object anywhere."""
    head = MaskHead(head_config(prior.generator))
    with torch.no_grad():
        head.last.weight.zero_()
        head.last.bias.fill_(-9.0)
    return replace(prior, networks={"mask": head.state_dict()}, network_configs={"mask": vars(head.config)})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Images, masks and latents, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("inputs")
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(folder / "good.png")
    Image.fromarray(pixels).save(folder / "good.jpg")
    for name in ("good.png", "good.jpg"):
        data = (folder / name).read_bytes()
        (folder / f"half-{name}").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("not a picture\n" * 100)
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("RGBA", SIZE, (90, 90, 90, 0)).save(folder / "clear.png")
    Image.new("L", SIZE).save(folder / "black.png")
    Image.new("L", SIZE, 120).save(folder / "dim.png")
    around = np.full(SIZE[::-1], 255, np.uint8)
    around[20:50, 20:45] = 0
    Image.fromarray(around).save(folder / "around.png")
    Image.new("L", (32, 32), 255).save(folder / "small.png")
    np.save(folder / "long.npy", np.zeros((1, 7), np.float32))
    np.save(folder / "nan.npy", np.full((1, GENERATOR.w_dim), np.nan, np.float32))
    return folder


GOOD = ["--image", "@good.png"]  # an argument that begins with @ names one of the inputs
BAD = {  # name: (arguments, part of the sentence, which weights)
    "category": (["--category", "cra"], "did you mean car?", "whole"),
    "preset": (["--preset", "smok"], "did you mean smoke?", "whole"),
    "key": (["n_stage=2"], "did you mean n_stages?", "whole"),
    "nested key": (["steps.n_jont=2"], "did you mean steps.n_joint?", "whole"),
    "value": (["n_stages=many"], "n_stages", "whole"),
    "kind of depth": (["ablation.depth=mesh"], "network or pyramid", "whole"),
    "resolution": (["render.resolution=128"], "leave it at 64", "whole"),
    "device": (["--device", "quantum"], "quantum", "whole"),
    "missing image": (["--image", "@no.png"], "not a file", "whole"),
    "text as image": (["--image", "@text.png"], "not a picture", "whole"),
    "empty image": (["--image", "@empty.png"], "empty file", "whole"),
    "truncated PNG": (["--image", "@half-good.png"], "damaged or truncated", "whole"),
    "truncated JPEG": (["--image", "@half-good.jpg"], "damaged or truncated", "whole"),
    "one pixel": (["--image", "@one.png"], "1 x 1 pixels", "whole"),
    "all transparent": (["--image", "@clear.png"], "is empty", "whole"),
    "black mask": ([*GOOD, "--mask", "@black.png"], "is empty", "whole"),
    "dim mask": ([*GOOD, "--mask", "@dim.png"], "the same everywhere (47 %)", "whole"),
    "inverted mask": ([*GOOD, "--mask", "@around.png"], "seems to be inverted", "whole"),
    "mask of another size": ([*GOOD, "--mask", "@small.png"], "32 x 32 pixels", "whole"),
    "truncated mask": ([*GOOD, "--mask", "@half-good.png"], "damaged or truncated", "whole"),
    "no object": (GOOD, "No object was found", "blind"),  # found after the inversion only
    "picture as latent": (["--latent", "@good.png"], "is an image: give it as --image", "whole"),
    "latent of another size": (["--latent", "@long.npy"], "latent", "whole"),
    "latent that is not finite": (["--latent", "@nan.npy"], "finite", "whole"),
    "no weights": ([], "no weights", "none"),
    "half the weights": ([], "damaged", "half"),
    "empty weights": ([], "damaged", "empty"),
    "text as weights": ([], "damaged", "text"),
    "weights without statistics": ([], "damaged", "lacking"),
    "weights of other shapes": ([], "damaged", "other shapes"),
    "damaged card": ([], "card", "card"),
    "no step at once": (["steps.batch=0"], "above 0", "whole"),
    "no number": (["views.yaw_sd_deg=nan"], "not a finite number", "whole"),
    "backwards": (["steps.lr=-1"], "above 0", "whole"),
    "no slant": (["initial.slants_deg=[]"], "slants_deg is empty", "whole"),
    "no lens": (["render.fov_deg=0"], "between 0 and 90", "whole"),
    "more tracks than starts": (["invert.n_starts=2", "invert.n_tracks=3"], "n_tracks", "whole"),
    "no width": (["networks.encoder_channels=[]"], "need a width", "whole"),
    "too many widths": (["networks.encoder_channels=[4,4,4,4,4,4,4]"], "too many for", "whole"),
    "pyramid without a resolution": (
        ["ablation.depth=pyramid", "ablation.pyramid_resolutions=[128]"],
        "smaller ones",
        "whole",
    ),
    "no such albedo": (["networks.albedo=paint"], "quotient or network", "whole"),
    "fewer than no stages": (["n_stages=-1"], "negative", "whole"),
}


def smoke(*arguments: str, out: Path):
    """`gan2shape run --preset smoke` with few steps."""
    preset = [] if "--preset" in arguments else ["--preset", "smoke"]
    device = [] if "--device" in arguments else ["--device", "cpu"]
    quick = [one for one in QUICK if one.split("=")[0] not in {given.split("=")[0] for given in arguments}]
    return runner.invoke(app, ["run", *preset, *device, *arguments, "--out", str(out), *quick])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_leaves_everything_as_it_was(name, packs, inputs, tmp_path, monkeypatch) -> None:
    arguments, hint, weights = BAD[name]
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / weights))
    arguments = [str(inputs / one[1:]) if one.startswith("@") else one for one in arguments]
    used = tmp_path / "used"
    used.mkdir()
    for file in ("config.yaml", "request.json", "state.safetensors", "mesh.glb"):
        (used / file).write_text("of an earlier run")
    before = contents(used)
    for out in (tmp_path / "new" / "deep", used):
        result = smoke(*arguments, out=out)
        assert result.exit_code == 2, (result.output, result.exception)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("gan2shape: ")
        assert hint in line
        assert contents(used) == before
        assert [path.name for path in tmp_path.iterdir()] == ["used"]


def beside_its_outputs(kind: str, folder: Path, inputs: Path) -> tuple[list[str], str]:
    """Arguments whose input has the name of an output, and the --out that holds it; the folder is the working one."""
    good = (inputs / "good.png").read_bytes()
    (folder / "input.png").write_bytes(good)
    if kind == "mask":
        Image.new("L", SIZE, 255).save(folder / "mask.png")
        (folder / "input.png").rename(folder / "photo.png")
        return ["--image", "photo.png", "--mask", "mask.png"], "."
    if kind == "latent":
        np.savez(folder / "scene.npz", latent=np.zeros((1, GENERATOR.w_dim), np.float32))
        return ["--latent", "scene.npz"], str(folder)
    if kind == "link to the image":
        (folder / "photo.png").symlink_to(folder / "input.png")
        return ["--image", "photo.png"], "."
    if kind == "link to the folder":
        (folder / "elsewhere").symlink_to(folder, target_is_directory=True)
        return ["--image", "input.png"], "elsewhere"
    return ["--image", "input.png"], {"here": ".", "nowhere": "", "absolute": str(folder), "around": "../work"}[kind]


KINDS = ("here", "nowhere", "absolute", "around", "mask", "latent", "link to the image", "link to the folder")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_never_replaces_its_inputs(kind: str, packs, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    arguments, out = beside_its_outputs(kind, folder, inputs)
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for more in ([], ["--dry-run"]):
        result = smoke(*arguments, *more, out=out)
        assert result.exit_code == 2, (result.output, result.exception)
        (line,) = result.stderr.splitlines()
        assert ("has no value" if kind == "nowhere" else "would be replaced by the run's own") in line
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_an_input_of_another_name_may_lie_in_the_folder(packs, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    data = (inputs / "good.png").read_bytes()
    (tmp_path / "photo.png").write_bytes(data)
    assert smoke("--image", str(tmp_path / "photo.png"), out=tmp_path).exit_code == 0
    assert (tmp_path / "photo.png").read_bytes() == data


def test_a_folder_in_which_another_run_works_is_left_alone(packs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    (tmp_path / "config.yaml").write_text("of another run")
    with locked(tmp_path):
        before = contents(tmp_path)
        result = smoke("--seed", "0", out=tmp_path)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "is in use by another run" in line
        assert contents(tmp_path) == before


@pytest.mark.parametrize("below", [".", "folder"])
def test_a_place_that_cannot_be_written_is_found_first(below, packs, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    (tmp_path / "file").write_text("x")
    result = smoke(*(str(inputs / w[1:]) if w[0] == "@" else w for w in GOOD), out=tmp_path / "file" / below)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "choose another folder with --out" in line
    assert contents(tmp_path) == {"file": b"x"}


@pytest.mark.parametrize("n_projection", [10, 2])  # where it is not E that explodes, step 3 does
def test_a_loss_that_explodes_is_one_sentence_and_leaves_nothing(n_projection, packs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    arguments = ("steps.lr=1e30", f"steps.n_projection=[{n_projection}]", "steps.n_joint=[9]")
    result = smoke("--seed", "0", *arguments, out=tmp_path / "run")
    assert result.exit_code == 2, (result.output, result.exception)
    assert "lower steps.lr" in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_resumed_stays_what_it_was(packs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    run = tmp_path / "run"
    assert smoke("--seed", "0", out=run).exit_code == 0
    before = contents(run)
    resume = ["run", "--resume", str(run), "--device", "cpu"]
    other = runner.invoke(app, [*resume, "steps.n_joint=[3]"])
    assert (other.exit_code, contents(run)) == (2, before)
    assert "other settings" in other.stderr
    (run / "state.safetensors").write_bytes(before["state.safetensors"][:1000])
    before = contents(run)
    damaged = runner.invoke(app, resume)
    assert (damaged.exit_code, contents(run)) == (2, before)
    assert "damaged" in damaged.stderr
    assert json.loads(before["request.json"])["seed"] == 0


OLD_RUNS = {  # (what the configuration lost, what it had instead), fields that the request lacks
    "renamed section": (("initial:", "prior_shape:"), ()),
    "missing key": (("n_stages: 1\n", ""), ()),
    "no YAML": ((":", ""), ()),
    "request without later fields": (("", ""), ("generator", "features", "class_index")),
}


@pytest.mark.parametrize("name", OLD_RUNS)
def test_a_run_of_another_version_is_refused(name, packs, tmp_path, monkeypatch) -> None:
    """Its configuration has other keys, or its request other fields; its overrides may not exist any more."""
    change, missing = OLD_RUNS[name]
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs / "whole"))
    run = tmp_path / "run"
    assert smoke("--seed", "0", out=run).exit_code == 0
    assert runner.invoke(app, ["run", "--resume", str(run), "--device", "cpu"]).exit_code == 0
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert change[0] in config
    (run / "config.yaml").write_text(config.replace(*change), encoding="utf-8")
    request = json.loads((run / "request.json").read_text(encoding="utf-8"))
    request["overrides"] += ["prior_shape.relief=0.2"]
    for field in missing:
        del request[field]
    (run / "request.json").write_text(json.dumps(request), encoding="utf-8")
    before = contents(run)
    for more in ([], ["--dry-run"]):
        result = runner.invoke(app, ["run", "--resume", str(run), "--device", "cpu", *more])
        assert (result.exit_code, contents(run)) == (2, before), (result.output, result.exception)
        (line,) = result.stderr.splitlines()
        assert "version" in line
