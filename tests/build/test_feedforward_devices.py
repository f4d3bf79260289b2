"""Trainings of feed-forward networks on a pretended device: nothing mixes devices, and what they leave is usable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.build import alae, classics, encoders, icgan, restorers
from gan2shape.build.text_pair import TextPlan, measure_text_pair, train_text_pair
from gan2shape.edit.text import asking, open_text_pair, train_mapper
from gan2shape.nn.voxel_networks import config_at
from gan2shape.prior.packs import Prior
from gan2shape.train.image_source import ImageSource, image_source
from gan2shape.train.voxel_gan import VoxelPlan, train_voxel_gan
from tests.devices import DEVICE, IS_POSSIBLE, pretended_device
from tests.edit.test_text import CARS, painted
from tests.shape.tiny import SIZE, tiny_generator, with_encoder
from tests.test_device_discipline import on_device
from tests.train.test_classes import conditional

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="this torch offers no backend in Python")
FEW = {"n_steps": 2, "batch": 4}


def moved() -> Prior:
    """A tiny prior on the pretended device."""
    return on_device(with_encoder(tiny_generator())).prior


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    folder = tmp_path_factory.mktemp("shards")
    pictures = np.random.default_rng(0).integers(0, 255, (16, SIZE, SIZE, 3), dtype=np.uint8)
    np.save(folder / "images_00000.npy", pictures)
    return image_source("car", 16, SIZE, folder / "x", folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", encoders.KINDS)
def test_encoders(kind: str, source: ImageSource, tmp_path: Path) -> None:
    plan = replace(encoders.KINDS[kind], **FEW, task="superres:4", own_share=0.5)
    with pretended_device():
        assert encoders.train_encoder(kind, moved(), source, plan, tmp_path, precision="fp32").is_file()


@pytest.mark.parametrize("kind", ["glean", "gfpgan", "gpen"])
def test_restorers(kind: str, source: ImageSource, tmp_path: Path) -> None:
    plan = replace(restorers.KINDS[kind], **FEW)
    with pretended_device():
        assert restorers.train_restorer(kind, moved(), source, plan, tmp_path, precision="fp32").is_file()


@pytest.mark.parametrize("kind", classics.KINDS)
def test_classics(kind: str, source: ImageSource, tmp_path: Path) -> None:
    few = {"batch": 4, "n_error_steps": 1, "n_adversarial_steps": 2, "width": 8, "n_blocks": 1}
    plan = replace(classics.KINDS[kind], **few)
    with pretended_device():
        metric = moved().discriminator
        files = classics.train_classic(kind, source, plan, tmp_path, metric, device=DEVICE, precision="fp32")
    assert all(path.is_file() for path in files.values())


@pytest.mark.slow
def test_alae(source: ImageSource, tmp_path: Path) -> None:
    plan = replace(alae.KINDS["alae"], **FEW)
    with pretended_device():
        assert alae.train_alae(moved(), source, plan, tmp_path, precision="fp32")["encoder"].is_file()


def test_icgan(source: ImageSource, tmp_path: Path) -> None:
    torch.manual_seed(0)
    prior, plan = conditional(3), replace(icgan.KINDS["icgan"], **FEW)
    size = prior.generator.config.resolution
    folder = tmp_path / "shards"
    folder.mkdir()
    np.save(folder / "images_0.npy", np.zeros((8, size, size, 3), np.uint8))
    np.save(folder / "labels_0.npy", np.arange(8, dtype=np.uint8) % 3)
    (folder / "shards.json").write_text('{"classes": ["a", "b", "c"]}')
    labelled = image_source("car", 8, size, folder / "x", folder, labelled=True)
    with pretended_device():
        prior.generator.to(DEVICE)
        prior = replace(prior, w_mean=prior.w_mean.to(DEVICE), w_cov=prior.w_cov.to(DEVICE))
        assert icgan.train_icgan(prior, labelled, plan, tmp_path, precision="fp32").is_file()


def test_voxels(tmp_path: Path) -> None:
    voxels = (torch.rand(8, 8, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    plan = VoxelPlan(resolution=8, n_objects=8, n_steps=2, batch=4)
    with pretended_device():
        made = train_voxel_gan(voxels, plan, config_at(8), tmp_path, {}, device=DEVICE, precision="fp32")
    assert made.is_file()


def test_pairs_of_pictures_and_sentences(tmp_path: Path) -> None:
    """Trained there, measured there, and followed by a mapper that waits for nothing."""
    plan = TextPlan(n_steps=2, batch=8)
    with pretended_device() as watch:
        path = train_text_pair(CARS, painted(60), plan, tmp_path, device=DEVICE)
        prior = moved()
        pair = open_text_pair(path, prior)
        assert measure_text_pair(pair, CARS, painted(60, seed=1))["n"] > 0
        asks = asking("a blue car", pair)
        waits = []
        for n_steps in (1, 4):
            watch.noted.clear()
            train_mapper(asks, prior, n_steps=n_steps)
            waits.append(len(watch.noted))
    assert waits[0] == waits[1]
