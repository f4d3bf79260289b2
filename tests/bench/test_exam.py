"""The frozen exam and the truth that the ladder takes from it."""

import numpy as np
import pytest
import torch

from gan2shape.bench import exam
from gan2shape.bench.ladder import rung_flat
from gan2shape.bench.score import (
    of_flat,
    score_depth,
    score_mask,
    table_row,
)
from gan2shape.bench.table import OBJECTS_NAME, read_objects
from gan2shape.bench.truth import render_truth, sample_true_lights, true_views
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines
from gan2shape.scene.camera import rotation
from gan2shape.scene.canvas import Canvas, fill_background
from gan2shape.scene.light import light_in_front
from gan2shape.scene.render import render

CATEGORIES = ("car", "head")
FIRST_HASHES = {  # of the splits that every result up to now was measured with
    ("car", "val"): "0788a3625cefb989b6712f1ef058917642a2229e3b08bd6260cb718b85559de7",
    ("car", "test"): "88b4e9ebe3e38c0d26d55842f1b8db06c70b01a2f7481c9c0e1943d18f13028a",
    ("head", "val"): "12ecdfb33969eacabab25058760eb2b9a267167c8d719dae394e61381e1603fe",
    ("head", "test"): "79c76463655594836e12bfa5910a5a0792826d4b7fe381a4ef2d8099c4b6f286",
}


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("split", ["val", "test"])
def test_the_exam_is_the_one_whose_hash_is_stored(category, split):
    arrays = exam.load_split(category, split)
    assert len(arrays["seed"]) == exam.COUNT[split]
    assert arrays["seed"].min() >= 1_000_000
    assert exam.array_hash(arrays) == FIRST_HASHES[category, split]


def test_a_changed_exam_is_refused(tmp_path):
    source = exam.exam_dir() / "car"
    with np.load(source / "val.npz") as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    arrays["depth"][3, 30, 30] += 1
    np.savez(tmp_path / "val.npz", **arrays)
    (tmp_path / "hashes.json").write_text((source / "hashes.json").read_text())
    with pytest.raises(UserError, match="does not match its hash"):
        exam.load_split("car", "val", tmp_path)


def test_a_missing_exam_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no exam"):
        exam.load_split("car", "val", tmp_path)


@pytest.mark.parametrize("broken", ["val.npz", "hashes.json"])
@pytest.mark.parametrize("n_kept", [0, 100])
def test_a_damaged_exam_is_one_sentence(broken, n_kept, tmp_path):
    for name in ("val.npz", "hashes.json"):
        (tmp_path / name).write_bytes((exam.exam_dir() / "car" / name).read_bytes())
    (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:n_kept])
    with pytest.raises(UserError, match="restore both"):
        exam.load_split("car", "val", tmp_path)


def test_a_split_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match="val or test"):
        exam.load_split("car", "../car/val")


def test_stored_depth_is_exact_to_half_a_step():
    depth = torch.linspace(0.86, 1.14, 1001)
    half_step = 0.5 * (exam.DEPTH_HIGH - exam.DEPTH_LOW) / exam.DEPTH_STEPS
    assert (exam.decode_depth(exam.encode_depth(depth)) - depth).abs().max() <= half_step + 1e-7


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_object_is_rebuilt_from_its_seed(category):
    """The zero perturbation under the exam's own light is the exam image; a stored byte may differ by its rounding."""
    item = exam.exam_objects(category, "val", 2)[1]
    truth = render_truth(item, torch.zeros(1, 6), item.light)
    assert (truth.images - item.image).abs().max() < 1.5 / 127.5
    assert (truth.masks - item.mask).abs().max() < 1.5 / 255


def test_lights_lie_in_front_of_both_cameras_and_inside_the_category_s_box():
    rng = torch.Generator().manual_seed(0)
    views = torch.zeros(200, 6)
    views[:, 1] = torch.linspace(-0.5, 0.5, 200)
    lights = sample_true_lights("car", views, rng)
    assert light_in_front(lights, rotation(views[:, :3])).all()
    assert (lights[:, 0] >= 0.3).all()
    assert (lights[:, 0] + lights[:, 1] <= 1.12 + 1e-5).all()


@pytest.mark.parametrize("axis", [0, 1], ids=["pitch", "yaw"])
def test_our_renderer_rotates_the_true_depth_to_where_the_car_is(axis):
    """The ladder's true views have our signs: the true surface, rotated by them, lies where the renders show it."""
    item = exam.exam_objects("car", "val", 1)[0]
    views = torch.zeros(2, 6)
    views[:, axis] = torch.tensor([-0.2, 0.2])
    truth = render_truth(item, views, item.light.expand(2, 4))
    depth = torch.where(item.mask > 0.5, item.depth, item.depth[item.mask > 0.5].max())
    shading = torch.ones(2, 1, *depth.shape[2:])
    canvas = Canvas(item.mask, fill_background(item.image, item.mask))

    def missed(target_views: torch.Tensor) -> float:
        """Mean difference of pictures where the rendered surface is."""
        surface, colour = (map_.expand(2, -1, -1, -1) for map_ in (depth, item.image))
        made = render(surface, colour, shading, target_views, 10.0, canvas)
        return float(((made.image - truth.images).abs().mean(1, keepdim=True) * made.mask).sum() / made.mask.sum())

    assert missed(views) < 0.6 * missed(-views)


def test_true_views_are_the_same_for_the_same_seed():
    item = exam.exam_objects("head", "val", 1)[0]
    first, second = (true_views(item, 3, 5) for _ in range(2))
    assert torch.equal(first.images, second.images)


def test_the_true_depth_scores_zero_and_flat_scores_itself():
    item = exam.exam_objects("head", "val", 1)[0]
    scores = score_depth(item.depth * 1.01, item.depth, item.mask, item.fov_deg)
    assert scores["side"] < 1e-4
    assert scores["mad_deg"] < 0.2
    flat = rung_flat(item, ShapeConfig())
    assert flat["side"] == pytest.approx(flat["side_aligned"])
    assert score_mask(item.mask).sum() < (item.mask > 0.5).sum()


def test_a_row_of_a_table_has_means_and_intervals():
    scores = [{"side": 1.0, "side_aligned": 1.0, "mad_deg": 20.0}, {"side": 3.0, "side_aligned": 2.0, "mad_deg": 30.0}]
    row = table_row("x", "car", "val", "draft", scores)
    assert row["side"] == 2.0
    assert row["n"] == 2
    assert row["side_ci"] == pytest.approx(12.706 * np.sqrt(2) / np.sqrt(2))


def test_a_rows_parts_of_flat_are_means_of_each_objects_own() -> None:
    flats = [{"side": 2.0, "mad_deg": 40.0}, {"side": 1.0, "mad_deg": 20.0}]
    scores = [{"side": 1.0, "side_aligned": 1.0, "mad_deg": 10.0}, {"side": 1.0, "side_aligned": 1.0, "mad_deg": 20.0}]
    row = table_row("x", "car", "val", "draft", [of_flat(*pair) for pair in zip(scores, flats, strict=True)])
    assert row["side_of_flat"] == pytest.approx((0.5 + 1.0) / 2)
    assert row["mad_of_flat"] == pytest.approx((0.25 + 1.0) / 2)


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path) -> None:
    (tmp_path / OBJECTS_NAME).write_text('{"seed": 1, "flat": 2}\n{"seed": 3, "fl')
    append_lines(tmp_path / OBJECTS_NAME, [{"seed": 3, "flat": 4}])
    append_lines(tmp_path / OBJECTS_NAME, [{"seed": 5, "flat": 6}])
    assert read_objects(tmp_path) == {1: {"flat": 2}, 3: {"flat": 4}, 5: {"flat": 6}}
