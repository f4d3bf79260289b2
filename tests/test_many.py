"""A folder of images as one job: what is done, skipped, done anew, and listed as failed."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import gan2shape.api_batches as api_batches
from gan2shape.api import reconstruct
from gan2shape.api_batches import _Work
from gan2shape.api_edit import open_run
from gan2shape.cli import app
from gan2shape.cli_many import images_and_settings
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.core.many import (
    JOURNAL_NAME,
    Item,
    ManyRequest,
    find_images,
    is_one_file,
    items_of,
    job_name,
    read_journal,
)
from gan2shape.core.requests import RunRequest
from gan2shape.prior.open import open_prior
from gan2shape.shape.batch import in_one_pass, is_one_pass
from gan2shape.shape.photos import read_framed
from gan2shape.viewer.gallery import gallery_of
from tests.shape.test_photos import car, write_photo
from tests.tiny_pack import FEW_STEPS, SMALL, disc_mask, write_tiny_pack

SIZE = 32
FEW = {"mesh.glb", "depth.png", "input.png", "normal.png", "scene.npz", "scene.json"}
runner = CliRunner()


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A folder with an untrained pack for cars."""
    return write_tiny_pack(tmp_path_factory.mktemp("weights"), "car", SIZE).parent


@pytest.fixture
def photos(tmp_path, weights, monkeypatch) -> Path:
    """Four images with alpha, two of one name, and one that is no picture."""
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(weights))
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    alpha = (disc_mask(SIZE)[0, 0].numpy() * 255).astype(np.uint8)
    for name in ("a.png", "b #1.png", "c.png", "c.webp"):
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(np.dstack([pixels, alpha])).save(folder / name, lossless=True)
    (folder / "broken.jpg").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no picture")
    return folder


def many(*arguments: object, preset: str = "instant"):
    words = ["run", "--device", "cpu", "--preset", preset, *map(str, arguments), "--json", *SMALL]
    return runner.invoke(app, words)


def payload(result) -> dict:
    return json.loads(result.stdout.splitlines()[-1])


def test_a_folder_is_run_once_and_gone_on_with(photos, tmp_path) -> None:
    out = tmp_path / "out"
    first = many("--image", photos, "--out", out)
    assert first.exit_code == 3, first.output
    assert payload(first)["n_done"] == 4
    assert list(payload(first)["failures"]) == ["broken.jpg"]
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert {"a", "b #1"} < folders
    assert len([name for name in folders if re.fullmatch(r"c-[0-9a-f]{12}", name)]) == 2
    assert len(folders) == 4  # nothing is left of the one that failed
    assert all({path.name for path in (out / name).iterdir()} == FEW for name in folders)

    written = {path: path.stat().st_mtime_ns for path in out.glob("*/mesh.glb")}
    again = many("--image", photos, "--out", out)
    assert payload(again)["n_done"] == 0
    assert payload(again)["n_skipped"] == 4
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/mesh.glb")} == written

    with Image.open(photos / "a.png") as picture:
        picture.rotate(180).save(photos / "a.png")
    changed = many("--image", photos, "--out", out)
    assert (payload(changed)["n_done"], payload(changed)["n_skipped"]) == (1, 3)
    assert "1 are done anew" in changed.stderr
    (photos / "broken.jpg").unlink()
    other = many("--image", photos, "--out", out, "initial.network_depth_scale=1.3")
    assert other.exit_code == 0, other.output
    assert (payload(other)["n_done"], payload(other)["n_skipped"]) == (4, 0)


def test_the_page_links_what_is_there_and_lists_what_failed(photos, tmp_path) -> None:
    many("--image", photos, "--out", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.count("<article") == 4
    assert 'src="b%20%231/input.png"' in page
    assert "broken.jpg" in page
    assert "is not a picture" in page
    assert str(photos) not in page + (tmp_path / "out" / JOURNAL_NAME).read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script", page)
    links = re.findall(r'(?:src|href)="([^"#]+)"', page)
    from urllib.parse import unquote

    assert all((tmp_path / "out" / unquote(link)).exists() for link in links)


def test_a_batch_gives_what_each_image_gives_alone(photos, tmp_path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.pad(np.full((12, 16), 255, np.uint8), ((8, 12), (4, 12)))).save(masks / "a.png")
    many("--image", photos, "--out", tmp_path / "out", "--mask", masks)
    alone = many("--image", photos / "a.png", "--mask", masks / "a.png", "--out", tmp_path / "alone")
    assert alone.exit_code == 0, alone.output
    with np.load(tmp_path / "out" / "a" / "scene.npz") as one, np.load(tmp_path / "alone" / "scene.npz") as other:
        assert one["mask"].sum() == 12 * 16
        for name in one.files:
            np.testing.assert_allclose(one[name], other[name], atol=2e-4, err_msg=name)


def test_networks_see_the_batch_at_once_with_given_and_predicted_masks(weights, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(weights))
    generator, config = open_prior("car", preset="instant", overrides=SMALL, device="cpu")
    assert is_one_pass(generator, config)
    assert not is_one_pass(generator, replace(config, n_stages=1))
    assert not is_one_pass(generator, replace(config, initial=replace(config.initial, fusion_yaws_deg=(10.0,))))
    images = list(torch.rand(3, 3, SIZE, SIZE).mul(2).sub(1).split(1))
    masks = [disc_mask(SIZE), None, disc_mask(SIZE).flip(-1).roll(3, -1)]
    made = in_one_pass(images, masks, generator, config)
    assert isinstance(made[1], UserError)  # an untrained mask head sees no object anywhere
    for index in (0, 2):
        alone = reconstruct(images[index], mask=masks[index], generator=generator, config=config)
        assert torch.equal(made[index].observation.mask, masks[index])
        for name in ("depth", "light"):
            found, wanted = getattr(made[index].scene, name), getattr(alone.scene, name)
            torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-5)


def test_an_image_of_a_job_opens_as_a_run_does(photos, tmp_path, weights) -> None:
    out = tmp_path / "out"
    many("--image", photos, "--out", out)
    made = open_run(out / "a", "cpu")
    with np.load(out / "a" / "scene.npz") as stored:
        np.testing.assert_allclose(made.scene.depth, stored["depth"], atol=1e-4)
        np.testing.assert_allclose(made.scene.light, stored["light"], atol=1e-4)
    assert made.figures.keys() >= {"inversion_psnr_db"}
    assert set(gallery_of(out).runs) == {path.name for path in out.iterdir() if path.is_dir()}
    edited = runner.invoke(app, ["edit", str(out / "a"), "--yaw", "9", "--mode", "3d", "--device", "cpu", "--out",
                                 str(tmp_path / "edit")])  # fmt: skip
    assert edited.exit_code == 0, edited.output
    over = runner.invoke(app, ["edit", str(out / "a"), "--yaw", "9", "--mode", "3d", "--out", str(out / "b #1")])
    assert "holds a run" in over.stderr
    with pytest.raises(UserError, match="name the folder of one"):
        open_run(out)
    resumed = runner.invoke(app, ["run", "--resume", str(out)])
    assert resumed.exit_code == 2
    assert "give the command that began it again" in resumed.stderr

    (out / "a").rename(tmp_path / "a")
    with pytest.raises(UserError, match=r"input\.png"):
        open_run(tmp_path / "a")
    with np.load(out / "b #1" / "scene.npz") as stored:
        changed = {**stored, "depth": stored["depth"] + 0.01}
    np.savez(out / "b #1" / "scene.npz", **changed)
    with pytest.raises(UserError, match="other weights"):
        open_run(out / "b #1", "cpu")


def test_an_interrupt_loses_the_image_at_work(photos, tmp_path, monkeypatch) -> None:
    out, export = tmp_path / "out", api_batches.metrics
    seen = []

    def stop(made):
        seen.append(made)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return export(made)

    monkeypatch.setattr(api_batches, "metrics", stop)
    assert many("--image", photos, "--out", out).exit_code == 130
    assert sum(row["status"] == "done" for row in read_journal(out).values()) == 2
    assert (out / "index.html").read_text(encoding="utf-8").count("<article") == 2
    monkeypatch.setattr(api_batches, "metrics", export)
    again = payload(many("--image", photos, "--out", out))
    assert (again["n_done"], again["n_skipped"]) == (2, 2)


ODD_NAMES = ("...png", "..png", "con.png", "NUL.tar.png", "a?.png", "x..png", "new\nline.png", "e" * 249 + ".png",
             "車" * 80 + ".png")  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_folder_is_inside_the_job_and_may_be_so_called_anywhere(name: str, tmp_path) -> None:
    """`...png` has the stem `..`: its files would lie in the folder above."""
    (tmp_path / name).write_bytes(name.encode())
    (item,) = items_of(ManyRequest(RunRequest("car"), (tmp_path / name,)), "settings")
    (tmp_path / "job" / item.folder).mkdir(parents=True)
    assert [path.name for path in (tmp_path / "job").iterdir()] == [item.folder]
    assert item.folder.partition(".")[0].casefold() not in ("con", "nul", "")
    assert not set(item.folder) & set('<>:"/\\|?*\n')
    assert item.folder == item.folder.rstrip(". ")
    assert len(item.folder.encode()) < 255


def test_other_presets_run_each_image_with_every_file(photos, tmp_path) -> None:
    quick = ("n_stages=0", "initial.fusion_yaws_deg=[]", *FEW_STEPS)
    result = many("--image", photos / "a.png", "--image", photos / "broken.jpg", "--out", tmp_path / "out", *quick,
                  preset="draft")  # fmt: skip
    assert result.exit_code == 3, result.output
    assert (tmp_path / "out" / "a" / "report.html").is_file()
    assert 'href="a/report.html"' in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_page_of_someone_else_is_kept(photos, tmp_path) -> None:
    (photos / "index.html").write_text("mine")
    result = many("--image", photos, "--out", photos)
    assert result.exit_code == 2
    assert "another index.html" in result.stderr
    assert (photos / "index.html").read_text() == "mine"
    assert not (photos / JOURNAL_NAME).exists()


def test_words_of_a_shell_that_expands_patterns(photos) -> None:
    paths = [str(path) for path in sorted(photos.glob("*.png"))]
    images, settings = images_and_settings([Path(paths[0])], [*paths[1:], "n_stages=0"])
    assert [str(path) for path in images] == paths
    assert settings == ("n_stages=0",)
    assert images_and_settings(None, ["n_stages=0"]) == ((), ("n_stages=0",))


def test_which_images_are_meant(photos) -> None:
    assert [path.name for path in find_images([photos])] == ["a.png", "b #1.png", "broken.jpg", "c.png", "c.webp"]
    assert len(find_images([photos / "*.png", photos / "a.png"])) == 3
    assert is_one_file([photos / "a.png"])
    assert is_one_file([photos / "missing.png"])
    assert not is_one_file([photos])
    assert not is_one_file([photos / "*.png"])
    assert job_name([photos]) == job_name([photos / "*.png"]) == "photos"
    for bad in (photos / "*.tif", photos / "missing", photos.parent / "nothing" / "*.png"):
        with pytest.raises(UserError):
            find_images([bad])


def test_masks_belong_to_images_of_their_name(photos, tmp_path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    request = ManyRequest(RunRequest("car"), (photos / "a.png", photos / "c.png"), masks)
    with pytest.raises(UserError, match="no mask named as an image"):
        items_of(request, "")
    Image.new("L", (8, 8)).save(masks / "a.tif")
    first, second = items_of(request, "")
    assert first.mask == masks / "a.tif"
    assert second.mask is None
    assert first.key != items_of(replace(request, masks=None), "")[0].key
    assert first.key != items_of(request, "other")[0].key
    Image.new("L", (8, 8)).save(masks / "a.png")
    with pytest.raises(UserError, match=r"a\.png"):
        items_of(request, "")
    with pytest.raises(UserError, match="not a folder"):
        items_of(replace(request, masks=masks / "a.png"), "")


def test_a_strange_picture_of_a_batch_is_looked_through_for_its_object(tmp_path) -> None:
    pytest.importorskip("cv2")
    generator, config = open_prior("car", preset="instant", device="cpu")
    photo, _ = write_photo(tmp_path, car(1))
    Image.fromarray(to_uint8(car(2).image[0])).save(tmp_path / "known.png")
    request, names = RunRequest("car", preset="instant", out=tmp_path / "out"), (photo.name, "known.png")
    items = [Item(tmp_path / name, None, name, "") for name in names]
    with ThreadPoolExecutor(2) as pool:
        work = _Work(request, generator, config, pool)
        (of_photo, found), (of_known, other) = work.made([future.result() for _, future in work.reading(items)])
    alone = read_framed(photo, config.render.resolution, generator)
    assert torch.equal(of_photo.mask, alone.mask)
    assert torch.equal(found.observation.image, alone.image)
    assert found.verdict.level != "outside"
    assert of_known.mask is None
    assert other.verdict.level == "inside"


def test_a_strange_picture_that_goes_away_stays_as_it_was_seen(tmp_path) -> None:
    generator, config = open_prior("car", preset="instant", device="cpu")
    photo, _ = write_photo(tmp_path, car(1))
    item = Item(tmp_path / photo.name, None, photo.name, "")
    with ThreadPoolExecutor(1) as pool:
        work = _Work(RunRequest("car", preset="instant", out=tmp_path / "out"), generator, config, pool)
        read = [future.result() for _, future in work.reading([item])]
        photo.unlink()
        ((seen, made),) = work.made(read)
        (row,) = work.rows(work.writing([(seen, made)], 0.0))
    assert seen is read[0]
    assert made.verdict.level == "outside"
    assert row["status"] == "failed"
    assert "cannot be read again" in row["error"]
