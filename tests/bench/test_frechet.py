"""The distance of two sets of images from their command's function, with features that a test can foresee."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan2shape.bench import frechet
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.measure.perceptual import PerceptualNetwork
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.checkpoint import convert
from gan2shape.prior.packs import load_pack, make_prior, save_pack

N = 60


class Quadrants(PerceptualNetwork):
    """Mean colours of an image's four quarters: twelve features."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(1, 1))

    def features(self, images: Tensor, n_blocks: int = 1) -> list[Tensor]:
        return [nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)[:, :, None, None]]


@pytest.fixture
def request_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> frechet.FrechetRequest:
    monkeypatch.setattr(frechet, "load_perceptual", lambda device: Quadrants())
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8, n_mapping=2))
    discriminator = Discriminator(DiscriminatorConfig(resolution=16, channels=(8, 6)))
    save_pack(tmp_path / "pack", make_prior(generator, discriminator, {}))
    z = torch.randn(N, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        own = to_uint8(load_pack(tmp_path / "pack").generator(z, 1.0, "const"))
    (tmp_path / "data").mkdir()
    other = np.random.default_rng(0).integers(0, 256, own.shape, dtype=np.uint8)
    np.save(tmp_path / "data" / "images_0.npy", np.concatenate([own, other]))
    return frechet.FrechetRequest(tmp_path / "pack", tmp_path / "data", N, seed=3, device="cpu")


def test_a_generator_is_not_far_from_its_own_samples(request_: frechet.FrechetRequest) -> None:
    row = frechet.run_frechet(request_)
    assert row["n"] == N
    assert row["frechet"] < 1e-3 < row["floor"]  # the floor here: its samples against noise
    assert row["frechet"] < frechet.run_frechet(replace(request_, seed=4))["frechet"]


def test_real_images_are_looked_at_once_for_several_generators(request_: frechet.FrechetRequest, monkeypatch) -> None:
    alone = frechet.run_frechet(request_)
    known = frechet.real_features(request_, 16)
    monkeypatch.setattr(frechet, "real_features", None)
    assert frechet.run_frechet(request_, known=known) == alone


def test_a_checkpoint_is_measured_as_its_pack_and_classes_where_there_are_some(request_, tmp_path) -> None:
    convert(request_.generator, tmp_path / "own.safetensors")
    row = frechet.run_frechet(replace(request_, generator=tmp_path / "own.safetensors"))
    assert row["frechet"] == pytest.approx(frechet.run_frechet(request_)["frechet"], abs=1e-4)
    with pytest.raises(UserError, match="class"):
        frechet.run_frechet(replace(request_, class_index=1))
    torch.manual_seed(1)
    small = {"resolution": 16, "z_dim": 8, "w_dim": 8, "n_mapping": 2}
    generator = Generator(GeneratorConfig(channels=(8, 8, 6), n_classes=3, **small))
    with torch.no_grad():
        generator.mapping.embed.normal_(0, 30)  # zero before anything is learnt
    save_pack(tmp_path / "classes", make_prior(generator, None, {}))
    several = replace(request_, generator=tmp_path / "classes")
    rows = [frechet.run_frechet(replace(several, class_index=index))["frechet"] for index in (None, 0, 2)]
    assert rows[0] == rows[1] != rows[2]


def test_too_few_images_are_named(request_: frechet.FrechetRequest) -> None:
    with pytest.raises(UserError, match="holds 120 images: give --count 120"):
        frechet.run_frechet(replace(request_, count=121))
    with pytest.raises(UserError, match="no covariance"):
        frechet.run_frechet(replace(request_, count=1))
