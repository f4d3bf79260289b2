"""Voxels from the command and from Python: files, rows, and one sentence for what is missing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan2shape import api_voxels
from gan2shape.api_voxels import VoxelRequest, bench_voxels, complete_run, sample_voxels
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.voxel_networks import VoxelGanConfig
from gan2shape.scene.camera import focal_px
from gan2shape.synth.voxels import voxel_set
from gan2shape.train.voxel_gan import VoxelPlan, train_voxel_gan

pytest.importorskip("skimage", reason="extra `voxels` is not installed")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voxels")
    voxels = voxel_set("head", list(range(100_000, 100_008)), 8)
    config, plan = VoxelGanConfig(resolution=8, z_dim=4, channels=(8,)), VoxelPlan(n_steps=60, batch=8, lr=5e-3)
    return train_voxel_gan(voxels, plan, config, folder, {"category": "head"}, precision="fp32")


def test_samples_are_closed_meshes(network: Path, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    made = sample_voxels(VoxelRequest(tmp_path, "head", network, "cpu"), count=2)
    for index in range(2):
        assert trimesh.load(made.files[f"sample_{index}"], force="mesh").is_watertight
    with np.load(made.files["volumes"]) as stored:
        assert stored["occupancy"].shape == (2, 8, 8, 8)
    assert made.files["sheet"].is_file()


def test_a_run_s_depth_map_is_completed(network: Path, tmp_path: Path) -> None:
    n, fov, radius = 32, 10.0, 0.05
    slope = (torch.arange(n) + 0.5 - n / 2) / focal_px(n, fov)
    square = slope[None].square() + slope[:, None].square()
    mask = square < radius**2
    depth = torch.where(mask, 1 - (radius**2 - square).clamp_min(0).sqrt(), torch.tensor(1.1))
    run = tmp_path / "run"
    run.mkdir()
    arrays = {"depth": depth.numpy(), "mask": mask.float().numpy(), "fov_deg": np.float32(fov)}
    np.savez(run / "scene.npz", **arrays)
    made = complete_run(VoxelRequest(tmp_path / "out", "head", network, "cpu"), run)
    assert {"heading_deg", "pitch_deg", "data_term"} == set(made.metrics)
    with np.load(made.files["volume"]) as stored:
        occupancy, joined, known = (stored[name] for name in ("occupancy", "joined", "known"))
    assert set(np.unique(joined[known])) <= {0.0, 1.0}
    np.testing.assert_array_equal(joined[~known], occupancy[~known])
    assert made.files["mesh"].is_file()


def test_rows_compare_hidden_voxels_with_the_mean_shape(network: Path, tmp_path: Path) -> None:
    rows = bench_voxels(VoxelRequest(tmp_path, "head", network, "cpu"), count=3)
    assert [row["row"] for row in rows] == ["3D-GAN", "mean shape"]
    assert all(0 <= row["hidden_iou"] <= 1 and row["n"] == 3 for row in rows)
    assert rows[0]["gain"] == pytest.approx(rows[0]["hidden_iou"] - rows[1]["hidden_iou"])
    assert json.loads((tmp_path / "rows.json").read_text())["rows"] == rows


def test_training_from_the_command(tmp_path: Path) -> None:
    arguments = "voxels train --category car --device cpu --json n_objects=2 n_steps=1 batch=2 resolution=16".split()
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "net")])
    assert result.exit_code == 0, result.output
    payload = json.loads(result.stdout.splitlines()[-1])
    assert Path(payload["files"]["network"]).is_file()
    refused = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "net"), "gate=0.5"])
    assert refused.exit_code == 2


def test_what_is_missing_is_named(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="train with `gan2shape voxels train --category head`"):
        sample_voxels(VoxelRequest(tmp_path / "out", "head"))
    with pytest.raises(UserError, match="is no finished run"):
        complete_run(VoxelRequest(tmp_path / "out", "head", network, "cpu"), tmp_path)
    monkeypatch.setattr("gan2shape.export.voxel_meshes.find_spec", lambda name: None)
    with pytest.raises(UserError, match="scikit-image"):
        api_voxels.sample_voxels(VoxelRequest(tmp_path / "out", "head", network, "cpu"))
