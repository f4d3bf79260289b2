"""`gan2shape run --degraded`: the shape is that of the restored picture, and a resumed run's too."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gan2shape.cli import app
from gan2shape.core.images import to_uint8
from gan2shape.prior.packs import load_pack
from gan2shape.restoration import restore
from gan2shape.restoration.damaged_input import restore_input
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.tasks import Damage, parse_damage
from tests.tiny_pack import FEW_STEPS, SMALL, write_tiny_pack

SIZE = 32
QUICK = ("--preset", "smoke", "--device", "cpu", "n_stages=1", "invert.n_starts=2", "invert.n_tracks=1",
         "initial.slants_deg=[10.0]", *SMALL, *FEW_STEPS)  # fmt: skip


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pack(tmp_path_factory.mktemp("pack"), "car", SIZE, bare=True)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method with a hundredth of its steps."""
    monkeypatch.setattr(restore, "load_variant", lambda *words: replace(load_method(*words), steps_factor=0.01))


def picture(path: Path, width: int, height: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def marked(path: Path, width: int, height: int, box: tuple[int, int, int, int]) -> Path:
    pixels = np.zeros((height, width), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = 255
    Image.fromarray(pixels).save(path)
    return path


def pixels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def run(pack: Path, *words: object):
    return CliRunner().invoke(app, ["run", "--generator", str(pack), *map(str, words)])


def test_a_run_explains_the_restored_picture_and_again_when_resumed(pack: Path, tmp_path: Path) -> None:
    path = picture(tmp_path / "old.png", 8, 8)
    mask = marked(tmp_path / "mask.png", 8, 8, (2, 2, 6, 6))
    out = tmp_path / "run"
    result = run(pack, "--image", path, "--degraded", "superres:4", "--mask", mask, "--out", out, "--json", *QUICK)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert any("restored first" in note for note in told["notes"])
    assert told["metrics"]["restore_s"] > 0
    assert {"restored", "given"} <= set(told["files"])
    given, restored, seen = (pixels_of(out / f"{name}.png") for name in ("given", "restored", "input"))
    assert np.array_equal(given, pixels_of(path))
    assert restored.shape == (SIZE, SIZE, 3)
    assert np.array_equal(seen, restored)
    assert "restored first" in (out / "report.html").read_text(encoding="utf-8")
    stored = json.loads((out / "request.json").read_text())
    assert stored["degraded"] == "superres:4"
    before = (out / "depth.png").read_bytes()
    (out / "depth.png").unlink()
    again = CliRunner().invoke(app, ["run", "--resume", str(out), "--device", "cpu"])
    assert again.exit_code == 0, again.output
    assert (out / "depth.png").read_bytes() == before
    assert np.array_equal(pixels_of(out / "restored.png"), restored)
    assert "restored first" in (out / "report.html").read_text(encoding="utf-8")


def test_what_is_kept_of_an_inpainted_picture_is_the_picture_s_and_the_hole_lies_where_it_was_marked(
    pack: Path, tmp_path: Path
) -> None:
    """Also where the square that is used follows the object to the right end of a wide picture."""
    path = picture(tmp_path / "wide.png", 64, 32)
    mask = marked(tmp_path / "mask.png", 64, 32, (40, 8, 62, 24))
    hole = marked(tmp_path / "hole.png", 64, 32, (44, 10, 52, 20))
    prior = load_pack(pack)
    found = restore_input(path, Damage("inpaint"), hole, mask, prior)
    restored, wide, lost = found.pictures["restored.png"], pixels_of(path), pixels_of(hole)[..., 0] > 0
    differs = [(restored != wide[:, x : x + SIZE]).any(-1) for x in range(SIZE + 1)]
    fits = [x for x in range(SIZE + 1) if not differs[x][~lost[:, x : x + SIZE]].any()]
    assert len(fits) == 1
    assert fits[0] > SIZE // 2  # not the middle square
    assert differs[fits[0]][lost[:, fits[0] : fits[0] + SIZE]].mean() > 0.9


def test_the_image_to_explain_is_the_method_s_result_at_8_bits(pack: Path, tmp_path: Path) -> None:
    path, prior = picture(tmp_path / "old.png", 16, 16), load_pack(pack)
    found = restore_input(path, parse_damage("superres:2"), None, None, prior)
    assert np.array_equal(to_uint8(found.image)[0], found.pictures["restored.png"])
    assert found.image.std() > 0


@pytest.mark.parametrize(("words", "sentence"), [
    (["--image", "IN", "--degraded", "superes:4"], "did you mean superres"),
    (["--image", "IN", "--degraded", "reconstruct"], "is no damage"),
    (["--image", "IN", "--degraded", "inpaint"], "lacks its hole"),
    (["--image", "IN", "--degraded", "colorize", "--hole", "IN"], "belongs to inpaint"),
    (["--image", "IN", "--degraded", "superres:3"], "does not divide"),
    (["--image", "IN", "--hole", "IN"], "belongs to --degraded"),
    (["--image", "IN", "--degraded", "inpaint", "--hole", "no.png"], "is not a file"),
    (["--seed", "1", "--degraded", "colorize"], "belongs to an --image"),
    (["--image", "IN", "--image", "IN", "--degraded", "colorize"], "takes one --image"),
    (["--image", "IN", "--mask", "auto", "--degraded", "colorize"], "name a mask"),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(
    pack: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    path = picture(tmp_path / "old.png", SIZE, SIZE)
    given = [str(path) if word == "IN" else word for word in words]
    if words.count("--image") == 1 and "--mask" not in words:
        given += ["--mask", marked(tmp_path / "mask.png", SIZE, SIZE, (8, 8, 24, 24))]
    result = run(pack, *given, "--out", tmp_path / "run", *QUICK)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_input_is_never_replaced(pack: Path, tmp_path: Path) -> None:
    path = picture(tmp_path / "restored.png", SIZE, SIZE)
    before = path.read_bytes()
    result = run(pack, "--image", path, "--degraded", "colorize", "--out", tmp_path, *QUICK)
    assert result.exit_code == 2
    assert "would be replaced" in result.stderr
    assert path.read_bytes() == before
