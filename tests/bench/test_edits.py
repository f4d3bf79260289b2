"""The benchmark of edits: what true renders it compares with, and its arithmetic on scores that are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.bench.edit_rows import GROUPS, edit_rows
from gan2shape.bench.edits import LIGHT_X, YAW_DEG, Instruments, changes, compared, poses_for, true_renders
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.regressor import Regressor
from gan2shape.measure.attributes import bundled_attributes

# Reads the mean of each channel.
FLAT = Regressor(
    torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), torch.zeros(3), torch.ones(3)
)


@pytest.fixture(scope="module")
def item():
    return exam_objects("head", "val", 1)[0]


def test_the_truth_of_an_unchanged_pose_is_the_exam_image(item) -> None:
    poses = {"own": type(next(iter(poses_for(item).values())))()}
    truth = true_renders(item, poses)
    assert (truth.images - item.image).abs().mean() < 0.01  # the exam's images are rounded to bytes
    (score,) = compared(item.image, item.mask, truth, Instruments(FLAT, attributes=bundled_attributes("head")))
    assert score["psnr_db"] > 40
    assert score["iou"] > 0.99
    assert score["identity"] > 0.99


def test_identity_is_high_for_the_object_in_other_poses_and_low_for_another_one(item) -> None:
    instruments, other = Instruments(FLAT, attributes=bundled_attributes("head")), exam_objects("head", "val", 2)[1]
    truth = true_renders(item, poses_for(item))
    stranger = true_renders(other, poses_for(other))
    scores = {name: compared(seen.images, seen.masks, truth, instruments) for name, seen in
              (("own", replace(truth, images=item.image.expand_as(truth.images))), ("other", stranger))}  # fmt: skip
    own, others = ([one["identity"] for one in scores[name]] for name in ("own", "other"))
    assert min(own) > max(others)
    assert "perceptual" not in scores["own"][0]


def test_the_attribute_network_reads_the_response_of_true_renders(item) -> None:
    poses = poses_for(item)
    truth = true_renders(item, poses)
    read = changes(Instruments(FLAT, attributes=bundled_attributes("head")), truth.images)
    assert math.degrees(read["heading_attributes"]) == pytest.approx(2 * YAW_DEG, abs=8)
    assert read["lx_attributes"] == pytest.approx(2 * LIGHT_X, abs=0.5)


def test_true_renders_turn_and_are_lit_as_asked(item) -> None:
    truth = true_renders(item, poses_for(item))
    names = list(poses_for(item))
    assert math.degrees(float(truth.views[names.index("yaw +"), 1])) == pytest.approx(YAW_DEG)
    left, right = (truth.images[names.index(f"light {side}")].mean(0) for side in ("left", "right"))
    columns = torch.arange(left.shape[-1])
    brighter_left = ((left - right) * item.mask[0, 0])[:, columns < 32].sum()
    assert float(brighter_left) > 0 > float(((left - right) * item.mask[0, 0])[:, columns >= 32].sum())
    assert torch.allclose(truth.lights[names.index("light left"), [0, 1, 3]], item.light[0, [0, 1, 3]], atol=1e-6)
    assert float(truth.lights[names.index("light left"), 2]) == pytest.approx(-LIGHT_X)


def test_changes_are_between_the_opposite_poses() -> None:
    images = torch.zeros(6, 3, 8, 8)
    images[0, 0], images[1, 0], images[2, 1], images[3, 1] = 0.5, -0.25, -0.1, 0.3
    assert changes(Instruments(FLAT), images) == {"heading": pytest.approx(0.75), "lx": pytest.approx(0.4)}


def scored(psnr: float) -> dict:
    ways = {"input": psnr, "inversion": psnr - 1, "effect-3D": psnr + 2, "effect-GAN": psnr + 1}
    poses = {
        pose: {way: {"psnr_db": value} for way, value in ways.items()} for group in GROUPS.values() for pose in group
    }
    return {
        "poses": poses,
        "read": {
            "truth": {"heading": 0.7, "lx": 1.0},
            "effect-3D": {"heading": 0.35, "lx": 0.9},
            "effect-GAN": {"heading": psnr / 20 * 0.7, "lx": 0.5},
        },
        "round trip": {"effect-3D": 20.0, "effect-GAN": 18.0},
        "ms": {"effect-3D": 4.0, "effect-GAN": 90.0, "effect-GAN, E alone": 20.0},
    }


def test_rows_are_paired_and_responses_are_parts_of_the_truths() -> None:
    rows = edit_rows([scored(10.0), scored(20.0), scored(30.0)], "head", "val")
    turned = {row["way"]: row for row in rows if row["pose"] == "yaw"}
    assert turned["effect-3D"]["psnr_db"] == pytest.approx(22)
    assert turned["input"]["psnr_db_ci"] == pytest.approx(4.303 * 10 / np.sqrt(3), rel=1e-3)
    assert turned["effect-3D"]["d_psnr_db"] == pytest.approx([2.0, 0.0], abs=1e-9)
    assert turned["effect-GAN"]["d_psnr_db_3d"] == pytest.approx([-1.0, 0.0], abs=1e-9)
    assert "d_psnr_db" not in turned["inversion"]
    three_d, gan = (row for row in rows if row["pose"] == "all")
    assert (three_d["heading_response"], three_d["lx_response"]) == pytest.approx((0.5, 0.9))
    assert gan["heading_response"] == pytest.approx(1.0)
    assert gan["heading_response_ci"] == pytest.approx(4.303 * 0.5 / np.sqrt(3), rel=1e-3)
    assert (gan["round_trip_psnr_db"], gan["ms"], gan["ms_without_refinement"]) == (18.0, 90.0, 20.0)
