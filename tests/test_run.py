"""The whole command on a generator that has learnt nothing: every file appears.

The shapes mean nothing here; what is tested is the way from the command line to files.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from typer.testing import CliRunner

from gan2shape.cli import app
from gan2shape.core.requests import OUTPUT_NAMES
from tests.prior.test_open import FORMATS, checkpoint
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

FILES = "mesh.glb mesh_lit.glb depth.png scene.npz scene.json config.yaml request.json report.html normal.png"
STRIPS = [f"strip_{what}_{how}.png" for what in ("rotate", "relight") for how in ("3d", "gan")]
QUICK = [*SMALL, *FEW_STEPS, "n_stages=1", "invert.n_starts=2", "invert.n_tracks=1", "initial.slants_deg=[10.0]"]
SIZE = 32
runner = CliRunner()


@pytest.fixture(scope="module")
def packs(tmp_path_factory) -> Path:
    """A folder with an untrained pack for cars."""
    return write_tiny_pack(tmp_path_factory.mktemp("weights"), "car", SIZE, bare=True).parent


def gan2shape(*arguments: object):
    """`gan2shape run --preset smoke` with few steps."""
    return runner.invoke(app, ["run", "--preset", "smoke", "--device", "cpu", *map(str, arguments), *QUICK])


@pytest.fixture
def inputs(tmp_path_factory) -> Path:
    """Images of several kinds with one mask."""
    folder = tmp_path_factory.mktemp("inputs")
    pixels = np.random.default_rng(0).integers(0, 255, (70, 64, 3), np.uint8)
    mask = np.zeros((70, 64), np.uint8)
    mask[20:50, 16:48] = 255
    Image.fromarray(pixels).save(folder / "rgb.png")
    Image.fromarray(pixels[..., 0]).save(folder / "grey.png")
    Image.fromarray(np.dstack([pixels, mask])).save(folder / "rgba.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(mask).save(folder / "mask.png")
    Image.fromarray(mask[3:67]).save(folder / "square.png")
    return folder


def test_sample_to_files_and_the_same_again(packs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs))
    for name in ("first", "second"):
        result = gan2shape("--seed", 3, "--out", tmp_path / name, "--json")
        assert result.exit_code == 0, result.output
        payload = json.loads(result.stdout.splitlines()[-1])
        assert all(Path(path).is_file() for path in payload["files"].values())
        assert set(FILES.split()) | set(STRIPS) <= {path.name for path in (tmp_path / name).iterdir()}
        assert {path.name for path in (tmp_path / name).iterdir()} == set(OUTPUT_NAMES)
    for name in ("mesh.glb", "depth.png", "scene.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes(), name


@pytest.mark.slow
def test_the_published_preset_works_at_the_bundled_generator_s_resolution(packs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs))
    quick = ["steps_scale=0.001", "steps.batch=2", "n_stages=1"]
    arguments = ["run", "--preset", "paper", "--device", "cpu", "--out", str(tmp_path / "run"), *quick]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "run" / "depth.png").size == (SIZE, SIZE)


def test_finished_run_is_resumed_to_the_same_files(packs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs))
    assert gan2shape("--seed", 4, "--out", tmp_path / "run").exit_code == 0
    before = (tmp_path / "run" / "depth.png").read_bytes()
    again = runner.invoke(app, ["run", "--resume", str(tmp_path / "run"), "--device", "cpu"])
    assert again.exit_code == 0, again.output
    assert (tmp_path / "run" / "depth.png").read_bytes() == before


@pytest.mark.parametrize("name", ["rgb.png", "grey.png", "rgba.png", "deep.png"])
def test_images_of_every_kind_run(name: str, packs, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(packs))
    masked = [] if name == "rgba.png" else ["--mask", inputs / "mask.png"]
    result = gan2shape("--image", inputs / name, *masked, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "run" / "scene.npz", allow_pickle=False) as scene:
        assert 0.1 < scene["mask"].mean() < 0.5  # the mask that was given, not everything
    photo = np.asarray(Image.open(tmp_path / "run" / "input_full.png"))  # with the mask as its last channel
    texture = trimesh.load_mesh(tmp_path / "run" / "mesh.glb").visual.material.baseColorTexture
    assert photo.shape == (64, 64, 4)
    inside = photo[..., 3] == 255
    inside[:, [16, 47]] = inside[[17, 46]] = False  # what may mix object and background
    assert np.array_equal(np.asarray(texture.convert("RGB"))[inside], photo[inside][:, :3])


@pytest.mark.parametrize("name", FORMATS)
def test_custom_generators_of_every_format_run(name: str, inputs, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    arguments = ["-g", checkpoint(name, tmp_path), "--category", "car"]
    mask = inputs / "square.png"
    result = gan2shape(*arguments, "--mask", mask, "--out", tmp_path / "run", "--json")
    assert result.exit_code == 0, result.output
    assert "This will take about" in result.stderr
    assert any("own discriminator" in note for note in json.loads(result.stdout.splitlines()[-1])["notes"])
    with np.load(tmp_path / "run" / "scene.npz", allow_pickle=False) as scene:
        assert scene["depth"].shape[-2:] == (32, 32)
    again = gan2shape(*arguments, "--latent", tmp_path / "run" / "scene.npz", "--mask", mask, "--out",
                      tmp_path / "again")  # fmt: skip
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again" / "depth.png").read_bytes() == (tmp_path / "run" / "depth.png").read_bytes()
