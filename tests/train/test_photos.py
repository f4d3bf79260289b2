"""`gan2shape train --images`: what becomes of a folder of photos, and what a training of them leaves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gan2shape.build.generator_pack import build_generator
from gan2shape.build.generator_plan import GeneratorBuildRequest
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.nn.small_networks import small_discriminator, small_generator
from gan2shape.prior.checkpoint import load_generator
from gan2shape.prior.made import find_made
from gan2shape.train import photos as photos_module
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.photos import shards_of_photos
from tests.build.test_generator_pack import SMALL, known_masks

runner = CliRunner()
SIZE = 32
RED, BLUE = (200, 30, 40), (20, 60, 220)
FEW = ("batch=8", "precision=fp32", "n_threads=1", "report_kimg=0.008")


def disc(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    """A white disc on black, uint8 [H, W]."""
    rows, columns = np.mgrid[:height, :width]
    return (((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2) * 255).astype(np.uint8)


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three pictures that can be used, and three that cannot."""
    folder = tmp_path / "photos"
    folder.mkdir()
    wide = np.zeros((60, 120, 3), np.uint8)
    wide[:], wide[:, 30:90] = BLUE, RED  # the centre square is red
    Image.fromarray(wide).save(folder / "a.png")
    cut = np.full((90, 200, 4), 255, np.uint8)
    cut[..., :3], cut[..., 3] = RED, disc(90, 200, 150, 40, 20)
    Image.fromarray(cut).save(folder / "b.png")
    Image.fromarray(np.full((20, 20), 40_000, np.uint16)).save(folder / "c.tif")
    Image.fromarray(wide).save(folder / "d.jpg")
    (folder / "d.jpg").write_bytes((folder / "d.jpg").read_bytes()[:300])
    (folder / "e.png").write_text("no picture")
    Image.fromarray(wide[:4, :4]).save(folder / "f.png")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def test_photos_become_square_and_bad_ones_are_named(photos, tmp_path) -> None:
    found = shards_of_photos(photos, tmp_path / "shards", SIZE)
    assert (found.n_images, found.n_masked, found.n_enlarged) == (3, 1, 1)
    assert sorted(found.failures) == ["d.jpg", "e.png", "f.png"]
    assert all(name in why for name, why in found.failures.items())
    images = ShardedImages(tmp_path / "shards", SIZE).fetch(np.arange(3))
    assert (images[0] == RED).all(), "the centre square"
    inside = (np.abs(images[1].astype(int) - RED) < 10).all(-1)
    rows, columns = np.nonzero(inside.any(1))[0], np.nonzero(inside.any(0))[0]
    for first, last in ((rows[0], rows[-1]), (columns[0], columns[-1])):  # of usual size, in the middle
        assert last + 1 - first == pytest.approx(0.7 * SIZE, abs=2)
        assert (first + last + 1) / 2 == pytest.approx(SIZE / 2, abs=1)
    assert np.abs(images[1][0].astype(int) - 127.5).max() <= 1, "grey around it"
    assert images[2].max() - images[2].min() <= 1


def test_masks_cut_objects_out_and_photos_without_one_are_left_out(photos, tmp_path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(disc(60, 120, 45, 30, 12)).save(masks / "a.jpg")
    Image.fromarray(disc(10, 10, 5, 5, 3)).save(masks / "c.png")  # of another size
    found = shards_of_photos(photos, tmp_path / "shards", SIZE, masks)
    assert (found.n_images, found.n_masked) == (1, 1)
    assert "no mask" in found.failures["b.png"]
    assert "make them equal" in found.failures["c.tif"]
    (image,) = ShardedImages(tmp_path / "shards", SIZE).fetch(np.arange(1))
    assert np.abs(image[SIZE // 2, SIZE // 2].astype(int) - RED).max() < 10
    assert np.abs(image[0].astype(int) - 127.5).max() <= 1


def test_photos_are_read_once_and_shards_of_others_are_kept(photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(photos_module, "SHARD", 2)
    first = shards_of_photos(photos, tmp_path / "shards", SIZE)
    assert len(list((tmp_path / "shards").glob("images_*.npy"))) == 2
    monkeypatch.setattr(photos_module, "read_photo", lambda *given: pytest.fail("read again"))
    assert shards_of_photos(photos, tmp_path / "shards", SIZE) == first
    with pytest.raises(UserError, match="other photos, or of another size"):
        shards_of_photos(photos, tmp_path / "shards", 64)
    (photos / "g.png").write_bytes((photos / "a.png").read_bytes())
    with pytest.raises(UserError, match="other photos"):
        shards_of_photos(photos, tmp_path / "shards", SIZE)


def test_shards_of_an_interrupted_call_are_made_anew(photos, tmp_path) -> None:
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards" / "images_00007.npy", np.zeros((5, SIZE, SIZE, 3), np.uint8))
    shards_of_photos(photos, tmp_path / "shards", SIZE)
    assert len(ShardedImages(tmp_path / "shards", SIZE)) == 3


def test_photos_become_a_generator_and_that_becomes_a_pack(photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    narrow = (
        "generator={resolution: 32, channels: [4, 4, 4, 4], z_dim: 8, w_dim: 8, n_mapping: 2}",
        "discriminator={resolution: 32, channels: [4, 4, 4]}",
    )
    arguments = ["train", "--images", str(photos), "--size", "32", "--out", str(tmp_path / "mine"), "--device", "cpu"]
    result = runner.invoke(app, [*arguments, "--kimg", "0.016", *FEW, *narrow])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "3 photos can be used, 1 of them cut out" in result.stderr
    assert "d.jpg" in result.stderr
    prior = load_generator(tmp_path / "mine")
    assert prior.card["training"]["kimg"] == 0.016
    assert prior.resolution == 32
    settings = (*SMALL, "resolution=64")
    known_masks(tmp_path / "mine", 32)
    request = GeneratorBuildRequest(tmp_path / "mine", "car", device="cpu", settings=settings)
    built = build_generator(request)
    assert tuple(built.seconds) == ("mask", "scene", "card"), "its own encoder is used"
    made = find_made(tmp_path / "mine")
    assert sorted(made.networks) == ["mask", "scene"]
    assert made.calibration.light_gain == (-0.15, 0.15)  # the category's
    run = ["run", "--generator", str(tmp_path / "mine"), "--preset", "instant", "--image", str(photos / "b.png")]
    result = runner.invoke(app, [*run, "--out", str(tmp_path / "run"), "--device", "cpu"])
    assert result.exit_code == 0, (result.output, result.exception)
    assert "Shapes begin at the depth network of the pack" in result.stderr
    assert (tmp_path / "run" / "mesh.glb").is_file()


BAD = {
    "no folder": (["--images", "nowhere"], "nowhere is not a file"),
    "no pictures": (["--images", "empty"], "--images empty is a folder without pictures"),
    "none usable": (["--images", "bad"], "None of the 1 pictures in bad can be used; the first: the image bad/a.png"),
    "address": (["--images", "https://x.org/photos"], "nothing is downloaded"),
    "size": (["--images", "bad", "--size", "48"], "--size 48 does not work"),
    "both": (["--images", "bad", "--data", "empty"], "exclude each other"),
    "neither": ([], "nothing to learn from"),
    "size alone": (["--data", "empty", "--size", "32"], "belongs to --images"),
    "size of a grown pack": (["--images", "bad", "--grow", "p", "--size", "32"], "--size does not go with --grow"),
    "masks alone": (["--data", "empty", "--masks", "empty"], "belongs to --images"),
    "masks": (["--images", "bad", "--masks", "nowhere"], "--masks nowhere is not a folder"),
    "labels": (["--images", "bad", "--labels"], "photos have no classes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_one_sentence_and_leave_nothing(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "bad"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bad" / "a.png").write_text("no picture")
    result = runner.invoke(app, ["train", "--out", "out", "--device", "cpu", *BAD[name][0]])
    assert result.exit_code == 2, (result.output, result.exception)
    assert BAD[name][1] in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_small_networks_have_the_widths_of_the_bundled_packs() -> None:
    assert (small_generator(64), small_discriminator(64)) == (GeneratorConfig(), DiscriminatorConfig())
    assert small_discriminator(32).channels == (128, 128, 96)
    assert small_discriminator(128).channels == (128, 128, 96, 48, 48)
    assert small_generator(32).channels == (128, 128, 96, 48)
    assert small_generator(128).channels == (128, 128, 96, 48, 16, 16)
