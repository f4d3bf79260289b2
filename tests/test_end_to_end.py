"""The whole method on packs of random weights at three resolutions: finite, of the right shapes, files written.

The shapes mean nothing here.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from gan2shape.api import reconstruct
from gan2shape.shape.initialize import DEPTH_NETWORK
from gan2shape.shape.reconstruct import Reconstruction
from tests.tiny_pack import FEW_STEPS, SMALL, disc_mask, write_tiny_pack

PICTURES = ("input", "recon", "depth", "normal", "albedo", "shading", "mask")


def run(size: int, preset: str, **given) -> Reconstruction:
    return reconstruct(mask=disc_mask(size), preset=preset, device="cpu", overrides=(*SMALL, *FEW_STEPS), **given)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize(("category", "preset"), [("car", "draft"), ("head", "full")])
def test_a_sample_becomes_finite_maps_and_files(size: int, category: str, preset: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path / "weights"))
    write_tiny_pack(tmp_path / "weights", category, size)
    made = run(size, preset, category=category, seed=1)
    assert made.names == ((DEPTH_NETWORK,) if preset == "draft" else (DEPTH_NETWORK, "stage 1"))
    files = made.export(tmp_path / "run")
    with np.load(files["scene_npz"], allow_pickle=False) as scene:
        shapes = {name: scene[name].shape for name in ("image", "mask", "depth", "albedo", "normal", "view", "light")}
        assert all(np.isfinite(scene[name]).all() for name in scene.files)
        assert scene["depth"].std() > 0
        assert np.abs(scene["depth"] - 1).max() < 0.5
    map_shapes = {"image": 3, "mask": 1, "depth": 1, "albedo": 3, "normal": 3}
    assert shapes == {name: (1, n, size, size) for name, n in map_shapes.items()} | {"view": (1, 6), "light": (1, 4)}
    for name in PICTURES:
        assert Image.open(tmp_path / "run" / f"{name}.png").size == (size, size), name
    assert (tmp_path / "run" / "mesh.glb").read_bytes()[:4] == b"glTF"
    assert json.loads(files["scene_json"].read_text())["camera"]["size_px"] == size
    assert {"mesh_lit", "report", "config", "strip_rotate_3d", "strip_relight_gan"} <= set(files)


def test_an_image_of_another_resolution_is_explained_at_the_generators(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    write_tiny_pack(tmp_path, "car", 32)
    image = torch.rand(1, 3, 80, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = run(80, "draft", category="car", image=image)
    assert made.observation.image.shape == (1, 3, 32, 32)
    assert made.observation.mask.shape == (1, 1, 32, 32)
    assert made.scene.depth.isfinite().all()
