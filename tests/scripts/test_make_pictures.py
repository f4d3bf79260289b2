"""Contact sheets: samples in order, the median and the worst, every row with the same columns."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan2shape.core.config import RenderConfig
from gan2shape.core.images import SheetLayout
from gan2shape.core.requests import REQUEST_NAME, RunRequest

ROOT = Path(__file__).resolve().parents[2]
SIZE = 16
RENDER = RenderConfig(resolution=SIZE)


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "scripts" / "make_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_scene(path: Path, grey: float, with_truth: bool) -> Path:
    """A hump in front of a sheet; the input is plain grey, so that a row is known by its first picture."""
    at = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    inside = (at[None, :] ** 2 + at[:, None] ** 2 < 0.5)[None, None]
    depth = (1.02 - 0.05 * inside).astype(np.float32)
    arrays = {
        "image": np.full((1, 3, SIZE, SIZE), grey, np.float32),
        "mask": inside.astype(np.float32),
        "depth": depth,
        "albedo": np.zeros((1, 3, SIZE, SIZE), np.float32),
        "light": np.array([[0.5, 0.5, 0.0, -0.3]], np.float32),
    }
    if with_truth:
        arrays |= {"true_depth": depth, "true_mask": arrays["mask"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_bench(folder: Path, errors: list[float]) -> Path:
    """A finished `bench shape` folder with these SIDEs after the last of two stages."""
    lines = []
    for i, error in enumerate(errors):
        scores = {"flat": {"side": 9.0}, "stage 1": {"side": -error}, "stage 2": {"side": error}, "observation": {}}
        lines.append(json.dumps({"seed": 1000 + i, **scores}))
        write_scene(folder / f"{1000 + i}.npz", 0.1 * i, with_truth=True)
    (folder / "objects.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("errors", "median", "worst"),
    [([3.0, 1.0, 2.0], 1002, 1000), ([0.4, 0.9, 0.1, 0.7], 1003, 1001), ([1.0], 1000, 1000), ([2.0, 2.0], 1001, 1001)],
)
def test_median_and_worst_of_the_last_stage(script, errors, median, worst, tmp_path):
    rows = script.exam_rows(write_bench(tmp_path, errors))
    assert [int(row.path.stem) for row in rows] == [median, worst]
    assert rows[0].name == f"median: SIDE {sorted(errors)[len(errors) // 2]:.2f}"
    assert rows[1].name == f"worst: SIDE {max(errors):.2f}"


def test_a_sheet_has_a_row_for_each_file_and_captions(script, tmp_path):
    rows = script.exam_rows(write_bench(tmp_path, [3.0, 1.0, 2.0]))
    made = script.whole_sheet(rows, RENDER)
    width, gap, label = script.TILE_PX, SheetLayout.gap_px, SheetLayout.label_px
    n_columns = 2 + 2 + 4 + 2  # input and truth, depth and normals, shape, photo
    assert made.shape == (2 * (width + label + gap) - gap, n_columns * (width + gap) - gap, 3)
    below = width + label + gap
    for row, grey in ((0, 0.2), (1, 0.0)):  # objects 1002 and 1000 by their input
        tile = made[row * below : row * below + width, :width]
        assert (tile == round((grey + 1) * 127.5)).all()
        assert (made[row * below + width : row * below + width + label, :width] < 200).any(), "a caption"


def test_rows_without_truth_show_no_true_depth(script, tmp_path):
    path = write_scene(tmp_path / "scene.npz", 0.0, with_truth=False)
    names = list(script.row_tiles(path, RENDER))
    photo = ["photo -30°", "photo +30°"]
    assert names == ["input", "depth", "normals", *(f"shape {yaw:+d}°" for yaw in (-40, -20, 20, 40)), *photo]
    other = write_scene(tmp_path / "other.npz", 0.0, with_truth=True)
    with pytest.raises(SystemExit, match="do not mix"):
        script.whole_sheet([script.Row("a", path), script.Row("b", other)], RENDER)


def test_seeds_are_shown_in_order_and_missing_ones_are_made(script, tmp_path, monkeypatch):
    requested = []

    def job(request: RunRequest, report) -> None:
        requested.append(request.seed)
        write_scene(request.out / "scene.npz", 0.1 * request.seed, with_truth=False)
        (request.out / REQUEST_NAME).write_text(json.dumps(asdict(request), default=str))

    monkeypatch.setattr(script, "run_request", job)
    rows = script.seed_rows(tmp_path, "car", "smoke")
    assert requested == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [row.path.parent.name for row in rows] == [f"seed-{seed}" for seed in range(8)]
    with pytest.raises(SystemExit, match="another run"):
        script.seed_rows(tmp_path, "car", "draft")
    (tmp_path / "seed-1" / script.MADE_BY_NAME).write_text("weights: of yesterday\n")
    assert [row.path for row in script.seed_rows(tmp_path, "car", "smoke")] == [row.path for row in rows]
    assert requested == [0, 1, 2, 3, 4, 5, 6, 7, 1], "what other weights have made is made anew"


def test_the_command_writes_a_picture(script, tmp_path, monkeypatch):
    bench = write_bench(tmp_path / "bench", [1.0, 2.0])
    arguments = ["make_pictures.py", "--exam", str(bench), "--out", str(tmp_path / "new" / "sheet.png")]
    monkeypatch.setattr("sys.argv", arguments)
    monkeypatch.setattr(script, "RenderConfig", lambda: RENDER)
    script.main()
    with Image.open(tmp_path / "new" / "sheet.png") as opened:
        assert opened.mode == "RGB"
    monkeypatch.setattr("sys.argv", [*arguments[:2], str(tmp_path / "nothing"), *arguments[3:]])
    with pytest.raises(SystemExit, match="no scores"):
        script.main()
