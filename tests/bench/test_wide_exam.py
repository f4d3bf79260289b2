"""The later exams: whole, rebuilt from seeds, apart from what is trained on, and scored at their own resolution."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.bench import exam
from gan2shape.bench.groups import HEADING_BINS, groups_of, heading_bin, heading_deg
from gan2shape.bench.requests import BenchRequest, named_split
from gan2shape.bench.score import score_depth, score_object_depth
from gan2shape.bench.table import clusters_of, make_rows, run_table
from gan2shape.build.kinds import exam_kinds
from gan2shape.core.errors import UserError
from gan2shape.scene.light import normals_from_depth
from gan2shape.synth.natural import distance_of
from gan2shape.synth.registry import EXAM_ONLY, get_category
from gan2shape.synth.render import render_object, turntable_view
from gan2shape.synth.shape_assets import shape_settings

CATEGORIES = ("building", "car2", "face")
ALL = [(category, split) for category in CATEGORIES for split in exam.SPLITS]
FIRST = [(category, split) for category in ("car", "head") for split in ("val", "test")]
LIMIT_BYTES = 20_000_000


def assert_rebuilt(category: str, split: str, indices: list[int]) -> None:
    """What the seeds draw now is what is stored, up to rounding and the codec's version."""
    stored, made = exam.load_split(category, split), exam.make_split(category, split, indices)
    for name in set(made) & {"seed", "style", *exam.LABELS}:
        assert (made[name] == stored[name][indices]).all(), name
    for name in set(made) & {"view", "light", "background", "fov_deg"}:
        np.testing.assert_allclose(made[name], stored[name][indices], atol=1e-5)
    images = exam.images_of(made).astype(int) - exam.images_of(stored)[indices]
    mask = made["mask"].astype(int) - stored["mask"][indices]
    depth = made["depth"].astype(int) - stored["depth"][indices]
    inside = (made["mask"] == 255) & (stored["mask"][indices] == 255)
    assert np.abs(images).mean() < 0.2
    assert (np.abs(mask) > 1).mean() < 1e-4
    assert (np.abs(depth[inside]) > 3).mean() < 1e-3


@pytest.mark.parametrize(("category", "split"), ALL)
def test_a_split_is_the_one_whose_hash_is_stored(category, split):
    arrays = exam.load_split(category, split)
    assert len(arrays["seed"]) == exam.COUNT[split]
    assert arrays["seed"].min() >= 1_000_000
    assert exam.images_of(arrays).shape == (exam.COUNT[split], 128, 128, 3)
    assert arrays["depth"].dtype == np.uint16


def test_the_whole_exam_is_small():
    assert sum(path.stat().st_size for path in exam.exam_dir().rglob("*") if path.is_file()) < LIMIT_BYTES


@pytest.mark.parametrize("split", exam.SPLITS)
@pytest.mark.parametrize("category", CATEGORIES)
def test_an_object_is_rebuilt_from_its_seed(category, split):
    assert_rebuilt(category, split, [exam.COUNT[split] - 1])


@pytest.mark.slow
@pytest.mark.parametrize(("category", "split"), FIRST + ALL)
def test_every_object_is_rebuilt_from_its_seed(category, split):
    assert_rebuilt(category, split, list(range(exam.COUNT[split])))


def test_an_exam_of_another_version_is_refused(monkeypatch):
    later = replace(get_category("car"), version=2)
    monkeypatch.setattr(exam, "get_category", lambda name: later)
    with pytest.raises(UserError, match="version 1 of these objects and the seeds draw version 2"):
        exam.load_split("car", "val")


def test_natural_objects_are_the_plain_ones_under_another_camera():
    plain, natural = exam.load_split("face", "val"), exam.load_split("face", "natural-val")
    np.testing.assert_array_equal(natural["seed"], plain["seed"][:32])
    np.testing.assert_array_equal(natural["view"], plain["view"][:32])
    np.testing.assert_array_equal(natural["age"], plain["age"][:32])
    assert natural["fov_deg"].min() > 10
    assert natural["fov_deg"].max() < 30
    assert (plain["fov_deg"] == 10).all()


@pytest.mark.parametrize("category", ["building", "car2"])
def test_cross_family_objects_are_made_from_what_no_training_draws(category):
    settings = shape_settings(category)
    for half in ("val", "test"):
        held_out = set(exam.load_split(category, f"cross-{half}")["base"])
        assert held_out == {settings.family(name) for name in settings.held_out}
        assert not held_out & set(settings.trained)
        assert not held_out & set(exam.load_split(category, half)["base"])


def test_twins_count_as_one_base_mesh():
    settings = shape_settings("building")
    assert settings.family("gazebo_thrift_shop") == settings.family("gazebo_salon") == "gazebo_salon"
    assert settings.family("gazebo_school") == "gazebo_school"


def test_a_category_without_shapes_kept_apart_says_so():
    with pytest.raises(UserError, match="No shapes of car are kept"):
        exam.spec_of("car", "cross-val")
    assert set(EXAM_ONLY) == set(CATEGORIES)


def test_a_depth_of_half_the_resolution_is_enlarged_about_pixel_centres():
    """A slanted plane, sampled at the centres of 64 pixels, scores as well as itself at 128."""

    def plane(size: int) -> torch.Tensor:
        x = (torch.arange(size) + 0.5) / size
        return (0.95 + 0.1 * x).expand(1, 1, size, size).contiguous()

    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 8:-8, 8:-8] = 1
    scores = score_depth(plane(64), plane(128), mask, 10.0)
    assert scores["side"] < 1e-4
    assert scores["mad_deg"] < 0.05
    shifted = plane(64).roll(1, -1)
    assert score_depth(shifted, plane(128), mask, 10.0)["side"] < 0.1  # a shift is a constant on a plane
    assert score_depth(plane(128), plane(64), mask[..., ::2, ::2], 10.0)["side"] < 1e-4


def test_normals_of_a_natural_image_are_taken_where_the_camera_stood():
    """A sphere seen at 30 degrees: z - D + 1 with the true field of view gives the sphere's own normals."""
    fov, radius, size = 30.0, 0.05, 128
    away = distance_of(fov)
    focal = size / 2 / np.tan(np.deg2rad(fov / 2))
    axis = ((torch.arange(size, dtype=torch.float64) + 0.5) - size / 2) / focal
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    a, b, c = x**2 + y**2 + 1, -2 * away, away**2 - radius**2
    root = b**2 - 4 * a * c
    z = torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / (2 * a), away)
    expected = torch.stack([x * z, y * z, z - away]) / radius
    depth, mask = (z - away + 1)[None, None].float(), (root > 3e-4)[None, None].float()
    made = normals_from_depth(depth + distance_of(fov) - 1, fov)[0]
    inside = mask[0, 0] > 0
    assert (made * expected.float()).sum(0)[inside].clamp(-1, 1).acos().rad2deg().mean() < 2
    off = depth.clone()
    off[..., : size // 2] += 0.002
    assert score_depth(depth, depth, mask, fov)["mad_deg"] < 0.05
    assert score_depth(off, depth, mask, fov)["side"] > 0.05


def test_an_object_seen_at_half_the_resolution_keeps_its_depth_and_colour():
    item = exam.exam_objects("face", "cross-val", 1)[0]
    small = exam.seen_at(item, 64)
    assert small.image.shape[-1] == small.depth.shape[-1] == 64
    assert small.image.mean().item() == pytest.approx(item.image.mean().item(), abs=1e-4)
    inside = small.mask > 0.999
    again = render_object(item.mesh(), item.view, item.light, 64, item.fov_deg, tuple(item.background.tolist()))
    assert (small.image - again.image)[inside.expand(-1, 3, -1, -1)].abs().mean() < 0.02
    both = inside & again.hit
    assert (small.depth - again.depth)[both].abs().median() < 5e-5
    assert exam.seen_at(item, 128) is item


def test_limits_of_what_a_prior_knows_are_rated_on_the_exam_at_the_pack_s_size():
    for category in ("face", "car"):
        kinds = exam_kinds(category, 64, 2)
        assert [kind.name for kind in kinds] == ["exam, val", "exam, test"]
        assert all(kind.images.shape == (2, 3, 64, 64) for kind in kinds)
    assert exam_kinds("face", 32, 2) == exam_kinds("car", 128, 2) == []


def test_faces_are_also_scored_on_their_skin_alone():
    item = exam.exam_objects("face", "val", 1)[0]
    wrong = torch.where(item.skin, item.depth, item.depth + 0.01 * torch.rand(item.depth.shape))
    scores = score_object_depth(item, wrong)
    assert scores["side"] > 0.1
    assert scores["side_skin"] < 1e-4
    assert "side_skin" not in score_object_depth(exam.exam_objects("car2", "val", 1)[0], torch.ones(1, 1, 64, 64))


@pytest.mark.parametrize("azimuth_deg", [-170.0, -40.0, 0.0, 10.0, 64.0, 90.0, 140.0])
def test_the_heading_is_how_far_the_object_is_turned(azimuth_deg):
    item = exam.exam_objects("car2", "val", 1)[0]
    item = replace(item, view=turntable_view(np.deg2rad(azimuth_deg), np.deg2rad(20.0), np.deg2rad(4.0))[None])
    assert heading_deg(item) == pytest.approx(abs(azimuth_deg), abs=0.1)
    low, high = map(int, heading_bin(item).split("-"))
    assert low <= abs(azimuth_deg) <= high


def test_groups_part_the_objects():
    items = exam.exam_objects("face", "val", 64)
    for grouping in ("heading", "ancestry", "sex", "age"):
        groups = groups_of(items, grouping)
        assert sorted(i for group in groups for i in group.indices) == list(range(64))
        assert len(groups) > 1
    headings = groups_of(exam.exam_objects("car2", "val", 64), "heading")
    assert [group.name for group in headings] == [f"heading {name}" for name in HEADING_BINS]
    with pytest.raises(UserError, match="nothing stored by 'base': group by heading, style, ancestry, sex, age"):
        groups_of(items, "base")


def test_intervals_of_cross_family_splits_are_over_base_meshes():
    items = exam.exam_objects("car2", "cross-val", 32)
    clusters = clusters_of(items)
    assert set(clusters) == set(shape_settings("car2").held_out)
    assert clusters_of(exam.exam_objects("car2", "val", 2)) is None
    value = {name: float(i) for i, name in enumerate(sorted(set(clusters)))}
    scores = [{"flat": {"side": value[one], "side_aligned": 1.0, "mad_deg": 1.0}} for one in clusters]
    (row,) = make_rows(scores, "car2", "cross-val", "draft", clusters)
    assert row["side_ci"] == pytest.approx(0.5)


def test_a_split_may_name_its_category():
    request = BenchRequest(None)
    assert named_split(request, "face-natural-test") == (BenchRequest("face"), "natural-test")
    assert named_split(BenchRequest("face"), "cross-val") == (BenchRequest("face"), "cross-val")
    with pytest.raises(UserError, match="belongs to face, not to car"):
        named_split(BenchRequest("car"), "face-test")


def test_baselines_need_no_pack_and_the_rest_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("gan2shape.bench.table.MEAN_DEPTH_OBJECTS", 4)
    request = BenchRequest("building", count=3)
    with pytest.raises(UserError, match="no pack of building to measure: make one with `gan2shape build building`"):
        run_table(request, "val", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    rows = run_table(request, "val", tmp_path, by=("heading",), only_baselines=True)
    names = [row["method"] for row in rows if "group" not in row]
    assert names == ["flat", "mean depth", "scaled ellipsoid"]
    assert all(np.isfinite(row["side"]) and row["n"] == 3 for row in rows if "group" not in row)
    assert sum(row["n"] for row in rows if row.get("group") and row["method"] == "flat") == 3
    assert run_table(request, "val", tmp_path, by=("heading",), only_baselines=True) == rows
