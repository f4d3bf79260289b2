"""Where `scripts/blender_scene.py` puts camera and light, against the project's own camera and light; Blender itself is
not needed.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.export.bundle import scene_description
from gan2shape.export.mesh import gltf_axes
from gan2shape.scene.camera import focal_px
from gan2shape.scene.light import light_direction
from scripts import blender_scene
from tests.export.objects import FOV_DEG, bundle


@pytest.fixture(scope="module")
def scene() -> dict:
    return json.loads(json.dumps(scene_description(bundle(32, light=torch.tensor([[0.4, 0.6, 0.5, -0.8]])))))


def seen(scene: dict, gltf_point: np.ndarray) -> np.ndarray:
    """Pixel of a glTF point through Blender's camera, which looks along its -Z with +Y up."""
    camera = blender_scene.camera_of(scene)
    rotation = np.array(camera["rotation"])
    local = rotation.T @ (np.array(blender_scene.to_blender(gltf_point)) - np.array(camera["location"]))
    focal = camera["lens_mm"] / blender_scene.SENSOR_MM * camera["resolution"]
    centre = camera["resolution"] / 2
    return np.array([centre + focal * local[0] / -local[2], centre - focal * local[1] / -local[2]])


def test_the_camera_sees_each_point_where_the_photo_has_it(scene) -> None:
    points = torch.tensor([[0.0, 0.0, 1.0], [0.05, 0.0, 0.95], [0.0, 0.06, 1.05], [-0.04, -0.03, 0.9]])
    focal = focal_px(32, FOV_DEG)
    for point, gltf in zip(points, gltf_axes(points).numpy().astype(float), strict=True):
        x, y, z = point.tolist()
        assert seen(scene, gltf.tolist()) == pytest.approx([16 + focal * x / z, 16 + focal * y / z], abs=1e-4)


def test_rotations_are_rotations(scene) -> None:
    for made in (blender_scene.camera_of(scene), blender_scene.light_of(scene)):
        rotation = np.array(made["rotation"])
        assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
    straight_down = np.array(blender_scene.looking([0.0, 0.0, -1.0], [0.0, 0.0, 1.0]))
    assert straight_down @ [0, 0, -1] == pytest.approx([0, 0, -1])


def test_the_sun_shines_from_where_the_light_is(scene) -> None:
    light = blender_scene.light_of(scene)
    shines = np.array(light["rotation"]) @ [0, 0, -1]
    x, y, z = light_direction(torch.tensor([[0.4, 0.6, 0.5, -0.8]]))[0].tolist()
    towards = blender_scene.to_blender([x, -y, -z])  # glTF's axes: y up, z to the viewer
    assert -shines == pytest.approx(towards)
    assert towards[2] > 0  # from above is from above
    assert (light["sun"], light["world"]) == pytest.approx((0.6 * math.pi, 0.4))


def test_it_needs_nothing_but_python() -> None:
    text = Path(blender_scene.__file__).read_text(encoding="utf-8")
    head = text.split("def ")[0]
    assert "import gan2shape" not in text
    assert "import bpy" not in head
