"""`gan2shape edit` from the command line to files, on a pack that has learnt nothing: what goes on from what."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from gan2shape.api_edit import open_run
from gan2shape.checkpoints.latents import read_latent
from gan2shape.cli import app
from gan2shape.core.images import to_uint8
from gan2shape.edit.controls import LIGHTS, Pose
from gan2shape.edit.effects import project_poses, render_poses
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

SIZE = 32
runner = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a pack, and in `runs` two finished runs of a stage each."""
    folder = tmp_path_factory.mktemp("home")
    write_tiny_pack(folder / "weights", "car", SIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN2SHAPE_WEIGHTS", str(folder / "weights"))
        for seed in (0, 1):
            out = ["--preset", "smoke", "--seed", str(seed), "--out", str(folder / "runs" / f"000{seed}")]
            result = runner.invoke(app, ["run", *out, "--device", "cpu", *SMALL, *FEW_STEPS, "n_stages=1"])
            assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(autouse=True)
def weights(home, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(home / "weights"))


def edit(*arguments: object) -> dict:
    result = runner.invoke(app, ["edit", *map(str, arguments), "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def refused(*arguments: object, verb: str = "edit") -> str:
    result = runner.invoke(app, [verb, *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_finished_run_opens_as_it_ended(home) -> None:
    made = open_run(home / "runs" / "0000", "cpu")
    with np.load(home / "runs" / "0000" / "scene.npz") as arrays:
        assert torch.allclose(made.scene.depth, torch.from_numpy(arrays["depth"]), atol=1e-6)
        assert torch.allclose(made.scene.light, torch.from_numpy(arrays["light"]), atol=1e-6)
        assert torch.equal(made.observation.latent, torch.from_numpy(arrays["latent"]))
    projected = project_poses(made, render_poses(made, [Pose()]), [Pose()], n_refine=0)
    assert torch.allclose(projected.latents, made.observation.latent, atol=1e-6)
    moved = project_poses(made, render_poses(made, [Pose(yaw_deg=20)]), [Pose(yaw_deg=20)], n_refine=0)
    assert not torch.allclose(moved.latents, made.observation.latent, atol=1e-4)


def test_an_edit_goes_on_and_comes_back(home, tmp_path) -> None:
    first = edit(home / "runs" / "0000", "--yaw", 20, "--pitch", -5, "--light-from", "left", "--out", tmp_path / "a")
    assert set(first["files"]) == {"before_after", "effect_3d", "effect_gan", "arrays", "edit"}
    second = edit(tmp_path / "a", "--yaw", 10, "--out", tmp_path / "b")
    assert second["metrics"] == {"yaw_deg": 30.0, "pitch_deg": -5.0, "roll_deg": 0.0}
    page = json.loads((tmp_path / "b" / "edit.json").read_text())
    assert page["pose"]["direction"] == [-1.0, -0.4]
    with np.load(tmp_path / "b" / "edit.npz") as arrays:
        assert arrays["view"][0, 1] == pytest.approx(np.radians(30))
    straight = edit(home / "runs" / "0000", "--yaw", 30, "--pitch", -5, "--light-from", "left", "--out", tmp_path / "c")
    assert latent_of(straight) == pytest.approx(latent_of(second))
    turned = edit(home / "runs" / "0000", "--yaw", 20, "--out", tmp_path / "d")
    back = edit(tmp_path / "d", "--yaw", -20, "--out", tmp_path / "e")
    own = np.load(home / "runs" / "0000" / "scene.npz")["latent"]
    assert latent_of(back) == pytest.approx(own)
    assert latent_of(turned) != pytest.approx(own)
    assert read_latent(Path(back["files"]["arrays"]), 9, 8).shape[-1] == 8


def latent_of(result: dict) -> np.ndarray:
    with np.load(result["files"]["arrays"]) as arrays:
        return arrays["latent"]


def test_an_animation_alone_writes_no_copies_of_the_input(home, tmp_path) -> None:
    run, options = home / "runs" / "0000", ("--animate", "yaw=-5:5", "--frames", 2, "--mode", "3d")
    assert set(edit(run, *options, "--out", tmp_path / "a")["files"]) == {"animation_3d", "arrays", "edit"}
    turned = edit(tmp_path / "a", "--yaw", 5, *options, "--out", tmp_path / "b")["files"]
    assert set(turned) == {"animation_3d", "arrays", "before_after", "edit", "effect_3d"}


def test_run_and_edit_can_be_moved_together(home, tmp_path) -> None:
    shutil.copytree(home / "runs" / "0000", tmp_path / "old" / "run")
    edit(tmp_path / "old" / "run", "--roll", 3, "--out", tmp_path / "old" / "first")
    shutil.move(tmp_path / "old", tmp_path / "new")
    moved = edit(tmp_path / "new" / "first", "--roll", 3, "--mode", "3d", "--out", tmp_path / "new" / "second")
    assert moved["metrics"]["roll_deg"] == 6
    shutil.rmtree(tmp_path / "new" / "run")
    assert "move it back" in refused(tmp_path / "new" / "first", "--out", tmp_path / "x")


def test_latents_of_two_runs_are_mixed(home, tmp_path) -> None:
    own, other = (np.load(home / "runs" / name / "scene.npz")["latent"] for name in ("0000", "0001"))
    towards = ("--towards", home / "runs" / "0001", "--amount", 1)
    whole = edit(home / "runs" / "0000", *towards, "--out", tmp_path / "whole")
    assert latent_of(whole) == pytest.approx(other, abs=1e-5)
    mixed = latent_of(edit(home / "runs" / "0000", *towards, "--layers", "2-3", "--out", tmp_path / "mixed"))
    assert mixed[0, 2] == pytest.approx(other[0], abs=1e-5)
    assert mixed[0, 4] == pytest.approx(own[0], abs=1e-5)
    assert json.loads((tmp_path / "mixed" / "edit.json").read_text())["latent_edits"][0]["layers"] == [2, 3]
    on = edit(tmp_path / "mixed", "--yaw", 10, "--out", tmp_path / "on")  # the latent edit stays
    plain = edit(home / "runs" / "0000", "--yaw", 10, "--out", tmp_path / "plain")
    assert latent_of(on)[0] - latent_of(plain) == pytest.approx(mixed[0] - own, abs=1e-5)


def test_sliders_from_the_verb_move_the_latent(home, tmp_path) -> None:
    made = runner.invoke(app, ["directions", "-c", "car", "--count", "3", "--out", str(tmp_path / "s.json")])
    assert made.exit_code == 0, made.output
    moved = edit(home / "runs" / "0000", "--sliders", tmp_path / "s.json", "--slide", "1=2", "--out", tmp_path / "a")
    slider = json.loads((tmp_path / "s.json").read_text())["sliders"][1]
    own = np.load(home / "runs" / "0000" / "scene.npz")["latent"]
    assert latent_of(moved) - own == pytest.approx(2 * slider["sd"] * np.array([slider["vector"]]), abs=1e-4)
    assert "belongs to --sliders" in refused(home / "runs" / "0000", "--slide", "1=2", "--out", tmp_path / "b")


def test_the_view_or_the_light_of_another_run_is_taken(home, tmp_path) -> None:
    like = ("--like", home / "runs" / "0001", "--take")
    edit(home / "runs" / "0000", *like, "light", "--out", tmp_path / "light")
    pose = json.loads((tmp_path / "light" / "edit.json").read_text())["pose"]
    light = np.load(home / "runs" / "0001" / "scene.npz")["light"][0]
    assert [pose["ambient"], pose["diffuse"], *pose["direction"]] == pytest.approx(light.tolist())
    assert pose["yaw_deg"] == 0
    edit(home / "runs" / "0000", *like, "view", "--out", tmp_path / "view")
    assert json.loads((tmp_path / "view" / "edit.json").read_text())["pose"]["direction"] is None
    edit(home / "runs" / "0000", "--like", home / "runs" / "0001" / "input.png", "--out", tmp_path / "picture")


def test_an_image_is_reconstructed_first(home, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 4), np.uint8)
    pixels[..., 3] = 0
    pixels[8:24, 8:24, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    options = ("-c", "car", "--mode", "3d", "--yaw", 10)
    # The pack is tiny, and so is what the preset asks of it.
    made = edit(tmp_path / "photo.png", *options, "--preset", "smoke", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "source" / "mesh.glb").is_file()
    assert "effect_gan" not in made["files"]
    edit(tmp_path / "photo.png", "--mode", "3d", "--preset", "smoke", "--out", tmp_path / "of-no-category")
    assert edit(tmp_path / "out", "--yaw", 5, "--mode", "3d", "--out", tmp_path / "on")["metrics"]["yaw_deg"] == 15
    assert (tmp_path / "photo.png").read_bytes() == before
    assert "where the edit would be written" in refused(tmp_path / "photo.png", "--out", tmp_path)


def test_what_cannot_be_edited_is_refused_in_a_sentence(home, tmp_path) -> None:
    run = home / "runs" / "0000"
    (tmp_path / "empty").mkdir()
    assert "neither a run" in refused(tmp_path / "empty", "--out", tmp_path / "o")
    assert "holds a run" in refused(run, "--out", run)
    assert "is no light" in refused(run, "--light-from", "moon", "--out", tmp_path / "o")
    assert "too far" in refused(run, "--yaw", 120, "--out", tmp_path / "o")
    assert "Unknown --mode" in refused(run, "--mode", "4d", "--out", tmp_path / "o")
    assert "through the GAN only" in refused(run, "--mode", "3d", "--towards", run, "--out", tmp_path / "o")
    for option in ("--like", "--towards", "--sliders"):
        assert f"{option} gone does not exist" in refused(run, option, "gone", "--out", tmp_path / "o")
    assert "is no animation" in refused(run, "--animate", "yaw=20", "--out", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    (tmp_path / "o").mkdir()
    pair = tmp_path / "o" / "text.safetensors"
    pair.write_bytes(b"a network")
    assert "lies where" in refused(run, "--text", "a van", "--pair", pair, "--out", tmp_path / "o")
    assert [one.name for one in (tmp_path / "o").iterdir()] == [pair.name]
    shutil.copytree(run, tmp_path / "old")
    (tmp_path / "old" / "config.yaml").write_text("category: car\nrelief: 3\n")
    assert "another version" in refused(tmp_path / "old", "--out", tmp_path / "o")
    shutil.copytree(run, tmp_path / "lost")
    (tmp_path / "lost" / "state.safetensors").unlink()
    assert "lost its state" in refused(tmp_path / "lost", "--out", tmp_path / "o")
    shutil.copytree(run, tmp_path / "torn")
    (tmp_path / "torn" / "scene.npz").write_bytes(b"PK torn")
    assert "missing, damaged" in refused(tmp_path / "torn", "--out", tmp_path / "o")
    shutil.copytree(run, tmp_path / "half")
    request = json.loads((tmp_path / "half" / "request.json").read_text())
    request["overrides"] = [*request["overrides"], "n_stages=2"]
    (tmp_path / "half" / "request.json").write_text(json.dumps(request))
    assert "has not ended" in refused(tmp_path / "half", "--out", tmp_path / "o")


def test_weights_that_were_exchanged_are_noticed(home, tmp_path, monkeypatch) -> None:
    edit(home / "runs" / "0000", "--mode", "3d", "--yaw", 5, "--out", tmp_path / "a")
    record = json.loads((tmp_path / "a" / "edit.json").read_text())
    (tmp_path / "a" / "edit.json").write_text(json.dumps({**record, "weights": "0" * 16}))
    assert "made with other weights" in refused(tmp_path / "a", "--out", tmp_path / "b")


def test_a_list_of_views_is_rendered_as_the_library_renders_it(home, tmp_path) -> None:
    rows = [{"name": "side", "yaw_deg": 20}, {"light": "left"}]
    (tmp_path / "views.json").write_text(json.dumps(rows))
    run = home / "runs" / "0000"
    arguments = ["render", str(run), "--views", str(tmp_path / "views.json"), "--light", "above", "--device", "cpu"]
    result = runner.invoke(app, [*arguments, "--mode", "both", "--transparent", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "side_3d.png", "side_gan.png", "0001_3d.png", "0001_gan.png", "renders.json",
    }  # fmt: skip
    made = open_run(run, "cpu")
    ambient, diffuse = made.scene.light[0, :2].tolist()
    expected = made.render(yaw_deg=20.0, light=(ambient, diffuse, *LIGHTS["above"]))
    with Image.open(tmp_path / "out" / "side_3d.png") as picture:
        pixels = np.asarray(picture)
    assert np.array_equal(pixels[..., :3], to_uint8(expected.image[0]))
    assert pixels[..., 3] == pytest.approx(255 * expected.mask[0, 0].numpy(), abs=0.5001)
    listed = json.loads((tmp_path / "out" / "renders.json").read_text())["views"]
    assert listed[1]["light"] == pytest.approx([ambient, diffuse, *LIGHTS["left"]])
    assert "holds a run" in refused(run, "--views", tmp_path / "views.json", "--out", run, verb="render")
