"""Packs: what goes in comes out, half precision does not show, bad files end in one sentence."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gan2shape.checkpoints.open import CARD_NAME, PACK_NAME
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.packs import (
    Prior,
    latent_statistics,
    load_pack,
    make_prior,
    save_pack,
)

MIN_PSNR_DB = 50.0  # of images from float16 weights; 8-bit rounding alone is 58.9 dB


@pytest.fixture
def prior() -> Prior:
    generator = Generator(GeneratorConfig(resolution=32, channels=(16, 12, 10, 8), z_dim=8, w_dim=8, noise=True))
    generator.mapping.w_avg.normal_()
    discriminator = Discriminator(DiscriminatorConfig(resolution=32, channels=(16, 12, 10)))
    networks = {"mask_head": {"conv.weight": torch.randn(1, 8, 1, 1), "steps": torch.tensor(3)}}
    made = make_prior(generator, discriminator, {"category": "blobs", "seed": 7})
    return replace(made, networks=networks, network_configs={"mask_head": {"width": 8}})


def test_float32_round_trip_is_exact(prior: Prior, tmp_path: Path) -> None:
    path = save_pack(tmp_path / "blobs", prior, dtype=torch.float32)
    for source in (path, path.parent):
        loaded = load_pack(source)
        for name in ("generator", "discriminator"):
            ours, theirs = getattr(prior, name).state_dict(), getattr(loaded, name).state_dict()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)
            assert not any(p.requires_grad for p in getattr(loaded, name).parameters())
        assert loaded.generator.config == prior.generator.config
        assert loaded.discriminator.config == prior.discriminator.config
        assert torch.equal(loaded.w_mean, prior.w_mean)
        assert torch.equal(loaded.w_cov, prior.w_cov)
        assert torch.equal(loaded.networks["mask_head"]["conv.weight"], prior.networks["mask_head"]["conv.weight"])
        assert int(loaded.networks["mask_head"]["steps"]) == 3
        assert loaded.network_configs == {"mask_head": {"width": 8}}
        assert loaded.card == {"category": "blobs", "seed": 7}


def test_half_precision_does_not_show(prior: Prior, tmp_path: Path) -> None:
    save_pack(tmp_path, prior)
    z = torch.randn(8, 8)
    ours, theirs = prior.generator(z), load_pack(tmp_path).generator(z)
    peak = float(ours.max() - ours.min())
    psnr_db = 20 * torch.log10(peak / (ours - theirs).square().mean().sqrt())
    assert psnr_db > MIN_PSNR_DB


def test_pack_without_discriminator(prior: Prior, tmp_path: Path) -> None:
    save_pack(tmp_path, replace(prior, discriminator=None, networks={}, network_configs={}))
    loaded = load_pack(tmp_path)
    assert loaded.discriminator is None
    assert loaded.networks == {}


def test_latent_statistics_of_a_linear_mapping() -> None:
    """One layer without nonlinearity: z is nearly white, so cov(w) = W W^T / fan_in."""
    generator = Generator(GeneratorConfig(resolution=8, channels=(4, 4), z_dim=64, w_dim=3, n_mapping=1))
    layer = generator.mapping.fc0
    layer.activate, layer.weight_gain = False, 1.0
    layer.weight.data.normal_()
    layer.bias.data.copy_(torch.tensor([1.0, 2.0, 3.0]) / layer.bias_gain)
    mean, covariance = latent_statistics(generator)
    expected = layer.weight @ layer.weight.t()
    torch.testing.assert_close(mean, torch.tensor([1.0, 2.0, 3.0]), atol=0.25, rtol=0)
    torch.testing.assert_close(covariance, expected.detach(), atol=2.0, rtol=0.05)


def test_bad_packs_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_pack(tmp_path / "nowhere")
    (tmp_path / PACK_NAME).write_bytes(b"not a pack")
    with pytest.raises(UserError, match="damaged or no pack"):
        load_pack(tmp_path)
    save_file({"x": torch.zeros(1)}, tmp_path / PACK_NAME)
    with pytest.raises(UserError, match="version"):
        load_pack(tmp_path)


def test_card_is_readable(prior: Prior, tmp_path: Path) -> None:
    save_pack(tmp_path, prior)
    assert '"category": "blobs"' in (tmp_path / CARD_NAME).read_text(encoding="utf-8")
