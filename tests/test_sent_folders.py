"""Folders of results are sent to people: nothing in them tells where files lay or who took the photo, and a run goes on
where its photo, mask and generator lie elsewhere by now.
"""

import base64
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gan2shape.cli import app
from gan2shape.core.requests import REQUEST_NAME
from tests.nn.test_feature_metric import Two, script
from tests.prior.test_open import checkpoint
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

HOME, CAMERA = "home-of-somebody", "SECRETCAM"
QUICK = [*SMALL, *FEW_STEPS, "n_stages=1", "invert.n_starts=2", "invert.n_tracks=1", "initial.slants_deg=[10.0]",
         "mesh.formats=[obj,ply,stl]"]  # fmt: skip
runner = CliRunner()


def inside(data: bytes) -> Iterator[bytes]:
    """A file and, unpacked, whatever files it holds: arrays, text of pictures, pictures in pages and meshes."""
    yield data
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            for name in packed.namelist():
                yield from inside(packed.read(name))
    for found in re.finditer(rb"base64,([A-Za-z0-9+/=]{40,})", data):
        yield from inside(base64.b64decode(found[1]))
    starts = {found.start() for found in re.finditer(rb"\x89PNG\r\n|\xff\xd8\xff", data)}
    for start in starts:
        with Image.open(io.BytesIO(data[start:])) as opened:
            opened.load()
            yield repr(opened.info).encode()
            assert not opened.getexif()


def telling(folder: Path) -> set[str]:
    """Files that name the home or the camera, in any encoding."""
    needles = [word.encode(code) for word in (HOME, CAMERA) for code in ("utf-8", "utf-16-le", "utf-32-le")]
    parts = ((path, part) for path in folder.rglob("*") if path.is_file() for part in inside(path.read_bytes()))
    return {path.name for path, part in parts if any(needle in part for needle in needles)}


def write_inputs(home: Path) -> None:
    """A photo of a camera that says who it is, its mask, and a mask for a generator's samples."""
    home.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = CAMERA, 6
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(home / "photo.jpg", exif=exif, comment=CAMERA, quality=90)
    mask = np.zeros((120, 90), np.uint8)  # upright
    mask[30:80, 20:70] = 255
    Image.fromarray(mask).save(home / "mask.png")
    Image.fromarray(mask[:90]).save(home / "square.png")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A folder with a photo, masks, a pack and a generator."""
    folder = tmp_path_factory.mktemp("x") / HOME
    write_inputs(folder)
    write_tiny_pack(folder / "weights", "car", 32, bare=True)
    return folder


@pytest.fixture(autouse=True)
def cache(home, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(home / "weights"))
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def gan2shape(*words: object):
    """`gan2shape run --preset smoke` with few steps."""
    return runner.invoke(app, ["run", "--preset", "smoke", "--device", "cpu", *map(str, words), *QUICK])


def resume(run: Path, *words: object):
    return runner.invoke(app, ["run", "--resume", str(run), "--device", "cpu", *map(str, words)])


def same_files(before: dict[str, bytes], run: Path) -> bool:
    """Whether every file is what it was, but for the seconds that steps took."""
    after = contents(run)
    return before.keys() == after.keys() and all(
        before[name] == after[name] for name in before if name not in ("report.html", "state.safetensors")
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_search_finds_what_it_looks_for(tmp_path) -> None:
    write_inputs(tmp_path / "a")
    np.savez_compressed(tmp_path / "a" / "arrays.npz", text=np.array(f"/x/{HOME}/photo.jpg"))
    page = base64.b64encode((tmp_path / "a" / "arrays.npz").read_bytes()).decode()
    (tmp_path / "a" / "page.html").write_text(f"<a href='data:;base64,{page}'>")
    (tmp_path / "a" / "photo.jpg").unlink()
    assert telling(tmp_path / "a") == {"arrays.npz", "page.html"}


def test_a_run_from_a_photo_tells_nothing_and_goes_on_without_it(home, tmp_path, monkeypatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(home, tmp_path / HOME)
    own = tmp_path / HOME
    result = gan2shape("--image", own / "photo.jpg", "--mask", own / "mask.png", "--out", run)
    assert result.exit_code == 0, result.output
    assert telling(run) == set()
    assert json.loads((run / REQUEST_NAME).read_text())["image"] == "photo.jpg"
    before = contents(run)
    shutil.rmtree(own)
    monkeypatch.chdir(run)
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.jpg")  # of the same name, elsewhere
    again = resume(run)
    assert again.exit_code == 0, again.output
    assert same_files(before, run)


def test_a_photo_with_the_name_of_an_output_is_no_hindrance(home, tmp_path, monkeypatch) -> None:
    run = tmp_path / "run"
    Image.open(home / "photo.jpg").save(tmp_path / "input.png")
    result = gan2shape("--image", tmp_path / "input.png", "--mask", home / "mask.png", "--out", run, "n_stages=0")
    assert result.exit_code == 2, result.output  # upright, the mask has another size
    shutil.copy(home / "photo.jpg", tmp_path / "input.png")
    result = gan2shape("--image", tmp_path / "input.png", "--mask", home / "mask.png", "--out", run)
    assert result.exit_code == 0, result.output
    monkeypatch.chdir(run)
    assert resume(Path()).exit_code == 0


def test_a_latent_and_a_mask_of_it_are_kept(home, tmp_path) -> None:
    run, latent, mask = tmp_path / "run", tmp_path / "w.npy", tmp_path / "square.png"
    np.save(latent, np.random.default_rng(0).normal(size=(1, 8)).astype(np.float32) * 0.1)
    shutil.copy(home / "square.png", mask)
    generator = home / "weights" / "car"
    result = gan2shape("-g", generator, "--latent", latent, "--mask", mask, "--out", run)
    assert result.exit_code == 0, result.output
    before = contents(run)
    latent.unlink()
    mask.unlink()
    assert resume(run).exit_code == 0
    assert same_files(before, run)


def test_a_lost_input_is_one_sentence(home, tmp_path) -> None:
    run = tmp_path / "run"
    assert gan2shape("--image", home / "photo.jpg", "--mask", home / "mask.png", "--out", run).exit_code == 0
    whole = (run / "given.npz").read_bytes()
    for data in (None, whole[:400]):
        (run / "given.npz").unlink(missing_ok=True)
        if data is not None:
            (run / "given.npz").write_bytes(data)
        result = resume(run)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "given.npz is" in line


@pytest.mark.slow
def test_a_custom_generator_is_found_by_its_contents(home, cache, tmp_path) -> None:
    """By the note in the user's cache; where it has moved, by the path that is given anew, and from then on again."""
    run, mine = tmp_path / "run", tmp_path / HOME / "mine.pt"
    mine.parent.mkdir()
    shutil.copy(checkpoint("rosinality.pt", tmp_path), mine)
    shutil.copy(home / "square.png", mine.parent)
    words = ("-g", mine, "-c", "car", "--seed", 1, "--mask", mine.parent / "square.png", "--out", run)
    result = gan2shape(*words)
    assert result.exit_code == 0, result.output
    assert telling(run) == set()
    assert json.loads((run / REQUEST_NAME).read_text())["generator"] == "mine.pt"
    before = contents(run)
    assert resume(run).exit_code == 0
    assert same_files(before, run)
    moved = tmp_path / "far" / "elsewhere.pt"
    moved.parent.mkdir()
    mine.rename(moved)
    shutil.rmtree(mine.parent)
    lost = resume(run)
    assert lost.exit_code == 2
    assert "mine.pt, is not known to lie anywhere here: give its file with `gan2shape run --resume" in lost.stderr
    other = tmp_path / "other.pt"
    other.write_bytes(moved.read_bytes() + b"x")
    wrong = resume(run, "--generator", other)
    assert wrong.exit_code == 2
    assert "other contents" in wrong.stderr
    assert same_files(before, run)
    assert resume(run, "--generator", moved).exit_code == 0
    assert resume(run).exit_code == 0
    assert json.loads((run / REQUEST_NAME).read_text())["generator"] == "elsewhere.pt"
    before[REQUEST_NAME] = (run / REQUEST_NAME).read_bytes()
    assert same_files(before, run)
    shutil.rmtree(cache)
    shutil.copy(moved, tmp_path / "elsewhere.pt")  # beside the run, under its own name
    edited = runner.invoke(app, ["edit", str(run), "--yaw", "5", "--out", str(tmp_path / "edit"), "--device", "cpu"])
    assert edited.exit_code == 0, edited.output


def test_features_are_code_and_are_taken_from_no_sent_folder(home, cache, tmp_path) -> None:
    run, features = tmp_path / "run", tmp_path / HOME / "features.pt"
    features.parent.mkdir()
    script(Two(), features)
    words = ("-g", home / "weights" / "car", "--seed", 1, "--mask", home / "square.png", "--features", features)
    result = gan2shape(*words, "--out", run)
    assert result.exit_code == 0, result.output
    assert telling(run) == set()
    assert resume(run).exit_code == 0
    note = next(path for path in cache.iterdir() if "features.pt" in path.read_text())
    note.unlink()
    shutil.copy(features, run / "features.pt")
    plain = json.loads((run / REQUEST_NAME).read_text())
    for named in (features.name, str(features), str(run / "features.pt")):
        (run / REQUEST_NAME).write_text(json.dumps({**plain, "features": named}))
        result = resume(run)
        assert result.exit_code == 2, result.output
        assert "--features FILE" in result.stderr
    assert resume(run, "--features", features).exit_code == 0


def test_a_bundled_run_takes_no_generator(home, tmp_path) -> None:
    assert gan2shape("--seed", 1, "--out", tmp_path / "run").exit_code == 0
    result = resume(tmp_path / "run", "--generator", home / "weights" / "car")
    assert result.exit_code == 2
    assert "has no --generator of its own" in result.stderr


@pytest.mark.parametrize("preset", ["instant", "smoke"])
def test_a_job_of_many_tells_nothing(preset, home, tmp_path, monkeypatch) -> None:
    weights = write_tiny_pack(tmp_path / HOME / "weights", "car", 32)
    photos = tmp_path / HOME / "photos"
    write_inputs(photos)
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "square.png").unlink()
    (tmp_path / HOME / "masks").mkdir()
    (photos / "mask.png").rename(tmp_path / HOME / "masks" / "photo.png")
    words = ["run", "--generator", str(weights), "--image", str(photos), "--mask", str(tmp_path / HOME / "masks")]
    words += ["--preset", preset, "--device", "cpu", "--out", str(tmp_path / "out"), *SMALL, *FEW_STEPS, "n_stages=0"]
    words += ["initial.fusion_yaws_deg=[]"]
    result = runner.invoke(app, words)
    assert result.exit_code == 3, result.output
    assert telling(tmp_path / "out") == set()
    edited = runner.invoke(app, ["edit", str(tmp_path / "out" / "photo"), "--yaw", "5", "--out", str(tmp_path / "edit"),
                                 "--device", "cpu"])  # fmt: skip
    assert edited.exit_code == 0, edited.output
    assert telling(tmp_path / "edit") == set()
