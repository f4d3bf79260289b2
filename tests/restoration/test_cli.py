"""The verbs of the 2D half on a tiny pack: files, photos of any size, folders, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import gan2shape.api_restore_files as files
from gan2shape.cli import app
from gan2shape.export.inputs import Framing
from gan2shape.restoration.tasks import Damage
from tests.tiny_pack import write_tiny_pack

SIZE = 16


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_pack(tmp_path_factory.mktemp("pack"), "car", SIZE)


def photo(path: Path, width: int, height: int, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 4, width // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


def call(pack: Path, *words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*words, "--generator", str(pack), "--steps", "4"] if words[0] in (
        "restore", "invert") else [*words, "--generator", str(pack)])  # fmt: skip
    return result.exit_code, result.stdout, result.stderr


def test_a_photo_is_restored_in_its_place(pack: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", 64, 48)
    hole = np.zeros((48, 64), np.uint8)
    hole[10:20, 20:30] = 255
    Image.fromarray(hole).save(tmp_path / "hole.png")
    out = tmp_path / "out"
    code, stdout, _ = call(pack, "restore", str(path), "--task", "inpaint", "--method", "w", "--mask",
                           str(tmp_path / "hole.png"), "--out", str(out), "--json")  # fmt: skip
    assert code == 0
    assert json.loads(stdout.splitlines()[-1])["verb"] == "restore"
    before, after = (np.asarray(Image.open(p)) for p in (path, out / "photo.png"))
    assert after.shape == before.shape
    changed = (before != after).any(-1)
    assert changed[11:19, 21:29].mean() > 0.5
    assert not changed[hole == 0].any()  # everything around the hole is the photo, bit for bit
    numbers = json.loads((out / "metrics.json").read_text())
    assert (numbers["task"], numbers["degraded_here"]) == ("inpaint", False)
    assert "psnr_db" not in numbers["numbers"]
    assert "<script" not in (out / "report.html").read_text()


def test_a_clean_picture_is_degraded_and_compared(pack: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "clean.png", SIZE, SIZE)
    words = ("--task", "superres", "--factor", "2", "--method", "brgm", "--degrade", "--out", str(tmp_path / "out"))
    code, _, _ = call(pack, "restore", str(path), *words)
    assert code == 0
    assert Image.open(tmp_path / "out" / "given.png").size == (8, 8)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["numbers"]["psnr_db"] > 0


def test_a_folder_is_restored_and_a_second_call_does_what_is_left(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(3):
        photo(tmp_path / "in" / f"p{i}.png", SIZE, SIZE, i)
    words = ("restore", str(tmp_path / "in"), "--task", "colorize", "--method", "w", "--out", str(tmp_path / "out"))
    assert call(pack, *words)[0] == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_dir()) == ["p0", "p1", "p2"]
    (tmp_path / "out" / "p1" / "metrics.json").unlink()
    code, _, stderr = call(pack, *words)
    assert code == 0
    assert "2 of 3 pictures were restored before" in stderr


@pytest.mark.parametrize(("method", "n_calls"), [("w", 1), ("dgp", 3)])  # dgp learns weights for each picture
def test_pictures_of_a_folder_are_solved_together_and_come_out_as_alone(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, n_calls: int
) -> None:
    (tmp_path / "in").mkdir()
    paths = [photo(tmp_path / "in" / f"p{i}.png", SIZE, SIZE, i) for i in range(3)]
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    solve, counts = files.restore_images, []
    monkeypatch.setattr(files, "restore_images", lambda images, *a, **k: counts.append(1) or solve(images, *a, **k))
    words = ("--task", "superres", "--factor", "2", "--degrade", "--method", method)
    code, _, stderr = call(pack, "restore", str(tmp_path / "in"), *words, "--out", str(tmp_path / "out"))
    assert (code, len(counts)) == (0, n_calls)
    assert "Passed over" in stderr
    assert "broken.png" in stderr
    for path in paths[1:]:
        alone = tmp_path / f"alone-{path.stem}"
        assert call(pack, "restore", str(path), *words, "--out", str(alone))[0] == 0
        for name in ("given.png", "restored.png"):
            a, b = (np.asarray(Image.open(at / name)).astype(int) for at in (alone, tmp_path / "out" / path.stem))
            assert np.abs(a - b).max() <= 1
        a, b = (json.loads((at / "metrics.json").read_text()) for at in (alone, tmp_path / "out" / path.stem))
        assert a["numbers"]["psnr_db"] == pytest.approx(b["numbers"]["psnr_db"], abs=0.05)


def test_only_pictures_with_the_same_hole_are_solved_together() -> None:
    holes = [torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), None, None, None]
    picture = files.InputImage(torch.zeros(1, 3, 4, 4), None, (4, 4), Framing(0.0, 0.0, 4.0))
    jobs = [files.Job(Path(), Path(), picture, Damage("inpaint", kept=kept)) for kept in holes]
    assert [[jobs.index(job) for job in some] for some in files.batches(iter(jobs), 2)] == [[0, 1], [2], [3, 4], [5]]


def test_an_inversion_leaves_a_latent_that_a_run_can_read(pack: Path, tmp_path: Path) -> None:
    from gan2shape.checkpoints.latents import read_latent

    path = photo(tmp_path / "photo.png", SIZE, SIZE)
    code, _, _ = call(pack, "invert", str(path), "--space", "W+ + N", "--out", str(tmp_path / "out"))
    assert code == 0
    assert read_latent(tmp_path / "out" / "latent.npz", 6, 8).shape == (1, 6, 8)


def test_two_pictures_are_morphed_and_one_is_jittered(pack: Path, tmp_path: Path, monkeypatch) -> None:
    from dataclasses import replace

    import gan2shape.api_restore as api
    from gan2shape.restoration.methods import load_method

    monkeypatch.setattr(api, "load_method", lambda *words: replace(load_method(*words), steps_factor=0.02))
    a, b = (photo(tmp_path / f"{name}.png", SIZE, SIZE, i) for i, name in enumerate("ab"))
    assert call(pack, "morph", str(a), str(b), "--count", "3", "--out", str(tmp_path / "m"))[0] == 0
    assert Image.open(tmp_path / "m" / "morph.png").size[0] > 3 * 192
    assert call(pack, "jitter", str(a), "--out", str(tmp_path / "j"))[0] == 0
    assert (tmp_path / "j" / "jitter.png").is_file()


def test_a_box_says_what_is_inverted(pack: Path, tmp_path: Path) -> None:
    """The pack knows no usual place of objects: the square is the one that holds the box, at its own pixels."""
    path, out = photo(tmp_path / "photo.png", 64, 32), tmp_path / "out"
    words = ("invert", str(path), "--align", "box", "--box", "40,4,20,24", "--out", str(out))
    assert call(pack, *words)[0] == 0
    square = Image.open(path).crop((32, 0, 64, 32)).resize((SIZE, SIZE), Image.Resampling.BOX)
    given = np.asarray(Image.open(out / "given.png")).astype(int)
    assert np.abs(given - np.asarray(square)).max() <= 1


def test_a_mask_says_what_is_inverted(pack: Path, tmp_path: Path) -> None:
    path, out = photo(tmp_path / "photo.png", 64, 32), tmp_path / "out"
    mask = np.zeros((32, 64), np.uint8)
    mask[4:28, 40:60] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    words = ("invert", str(path), "--object-mask", str(tmp_path / "mask.png"), "--out", str(out))
    assert call(pack, *words)[0] == 0
    boxed = tmp_path / "boxed"
    call(pack, "invert", str(path), "--align", "box", "--box", "40,4,20,24", "--out", str(boxed))
    assert (out / "given.png").read_bytes() == (boxed / "given.png").read_bytes()
    numbers = json.loads((out / "metrics.json").read_text())["numbers"]
    assert numbers["object_psnr_db"] > 0


def test_what_lies_outside_the_prior_is_said(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gan2shape.api_align as align
    from gan2shape.core.records import Verdict

    path = photo(tmp_path / "photo.png", SIZE, SIZE)
    monkeypatch.setattr(align, "verdicts_of", lambda *_: [Verdict("outside", "", {})])
    code, _, stderr = call(pack, "invert", str(path), "--out", str(tmp_path / "out"))
    assert code == 0
    assert "outside what the prior knows" in stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["verdict"] == "outside"


def test_every_method_says_how_long_it_will_take(pack: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", SIZE, SIZE)
    for number, method in enumerate(("w", "tv", "dip", "pti")):
        words = ("restore", str(path), "--method", method, "--out", str(tmp_path / str(number)))
        assert "This will take about" in call(pack, *words)[2]


def test_a_distribution_leaves_its_draws(pack: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "photo.png", SIZE, SIZE)
    words = ("restore", str(path), "--task", "inpaint", "--method", "brgmvi", "--out", str(tmp_path / "out"))
    assert call(pack, *words)[0] == 0
    width, height = Image.open(tmp_path / "out" / "draws.png").size
    assert width > 5 * height
    assert "draws.png" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(("words", "sentence"), [
    (["restore", "IN", "--task", "colourise"], "did you mean colorize"),
    (["restore", "IN", "--task", "colorize", "--method", "dpgx"], "unknown method"),
    (["restore", "IN", "--task", "superres", "--factor", "3"], "does not divide"),
    (["restore", "missing.png"], "is not a file"),
    (["restore", "IN", "--task", "colorize", "--mask", "IN"], "belongs to inpaint"),
    (["invert", "IN", "--space", "V"], "unknown space"),
    (["invert", "IN", "--align", "eyes"], "unknown alignment"),
    (["invert", "IN", "--align", "box"], "needs either --box"),
    (["invert", "IN", "--align", "box", "--box", "1,2,3"], "is no box"),
    (["invert", "IN", "--align", "box", "--box", "90,90,3,3"], "lies outside the picture"),
    (["invert", "IN", "--align", "box", "--box", "inf,2,3,4"], "have to be finite"),
    (["invert", "IN", "--align", "box", "--box=-50,2,10,4"], "lies outside the picture"),
    (["invert", "IN", "--box", "1,2,3,4"], "belongs to --align box"),
    (["restore", "IN", "--features", "none.pt"], "is not a file"),
    (["restore", "IN", "--task", "superres:inf"], "takes no such number"),
    (["restore", "IN", "--task", "deblur", "--strength", "500"], "leaves nothing"),
    (["restore", "IN", "--task", "deblur", "--factor", "4"], "--factor belongs to --task superres"),
    (["restore", "IN", "--task", "superres", "--strength", "4"], "give --factor"),
    (["restore", "IN", "--method", "gpen", "--steps", "5"], "is one pass"),
    (["restore", "IN", "--method", "tv", "--features", "efficientnet"], "compares no features"),
])  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(pack: Path, tmp_path: Path, words: list[str], sentence: str) -> None:
    path = photo(tmp_path / "photo.png", SIZE, SIZE)
    code, _, stderr = call(pack, *(str(path) if word == "IN" else word for word in words), "--out", str(tmp_path / "o"))
    assert code == 2
    assert sentence in stderr
    assert not (tmp_path / "o").exists()


def test_a_result_never_replaces_its_input(pack: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "restored.png", SIZE, SIZE)
    before = path.read_bytes()
    code, _, stderr = call(pack, "restore", str(path), "--out", str(tmp_path))
    assert code == 2
    assert "would be replaced" in stderr
    assert path.read_bytes() == before
    for verb, name in (("jitter", "jitter.png"), ("restore", "draws.png")):
        path = photo(tmp_path / name, SIZE, SIZE)
        code, _, stderr = call(pack, verb, str(path), "--out", str(tmp_path))
        assert (code, "would be replaced" in stderr) == (2, True), name
