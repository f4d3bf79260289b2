"""What the pack-building script adds to a pack that is there."""

import shutil
from pathlib import Path

import numpy as np
import torch

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.resources import pack_dir
from gan2shape.prior.packs import load_pack
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.pretrain import PretrainConfig
from gan2shape.synth.dataset import prerender, to_uint8
from scripts.build_pack import add_scene, first_images


def rendered(folder: Path) -> Path:
    """Six cars in two shards."""
    prerender("car", 6, 0, folder, shard=4, workers=1)
    return folder


def test_the_first_images_come_in_their_order_and_as_they_are(tmp_path) -> None:
    folder = rendered(tmp_path)
    stored = np.concatenate([np.load(folder / f"images_{number:05d}.npy") for number in (0, 1)])
    images = first_images(folder, 5)
    assert images.shape == (5, 3, 64, 64)
    assert np.array_equal(to_uint8(images), stored[:5])
    assert len(first_images(folder, 100)) == 6


def test_scene_networks_travel_in_the_pack_and_leave_the_rest_as_it_was(tmp_path) -> None:
    pack = shutil.copytree(pack_dir("car"), tmp_path / "car")
    before = load_pack(pack)
    plan = PretrainConfig(n_objects=3, n_fit_objects=2, n_fit=2, n_joint=1, fit_batch=2, batch=2, keep_every=2)
    add_scene("car", pack, tmp_path / "state.pt", plan, rendered(tmp_path / "data"))
    after = load_pack(pack)
    networks = pretrained_networks(after, compose(ShapeConfig, "car", "draft"))
    assert networks is not None
    assert after.card["pretraining"]["n_joint"] == 1
    assert {k: v for k, v in after.card.items() if k != "pretraining"} == {
        k: v for k, v in before.card.items() if k != "pretraining"
    }
    for name, tensor in before.generator.state_dict().items():
        assert torch.equal(tensor, after.generator.state_dict()[name]), name
    torch.testing.assert_close(after.w_cov, before.w_cov)
