"""Growing a pack to twice its resolution: nothing is lost at the start, and the new blocks learn."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from gan2shape.checkpoints.open import CARD_NAME
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.layers import upsample_bilinear
from gan2shape.prior.packs import Prior, load_pack, make_prior
from gan2shape.train.grow import grown_discriminator, grown_generator, start_grown
from gan2shape.train.state import TrainState, add_encoder, load_networks, new_state
from tests.tiny_pack import write_tiny_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    folder = write_tiny_pack(tmp_path_factory.mktemp("pack"), "car", 16)
    (folder / CARD_NAME).write_text(json.dumps({"category": "car", "training": {"kimg": 0.064}}))
    return folder


def grown(prior: Prior) -> TrainState:
    """The state of a training at twice the pack's resolution."""
    configs = grown_generator(prior.generator.config), grown_discriminator(prior.discriminator.config)
    state = new_state(*configs, 2e-3, 0.99, 0, 16, 0, torch.device("cpu"))
    add_encoder(state, 2e-3, 0.99, 0)
    start_grown(state, prior, 16)
    return state


def test_at_the_start_nothing_is_new(pack) -> None:
    prior = load_pack(pack)
    state = grown(prior)
    assert (state.n_images, state.step) == (64, 4)
    assert state.generator.config.resolution == state.discriminator.config.resolution == 32
    w = prior.generator.mapping(torch.randn(5, 8))
    assert torch.equal(state.generator.mapping.w_avg, prior.generator.w_avg)
    for generator in (state.generator, state.average):
        assert torch.equal(generator.synthesis(w), upsample_bilinear(prior.generator.synthesis(w)))
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    small = F.avg_pool2d(images, 2)
    torch.testing.assert_close(state.discriminator(images), prior.discriminator(small))
    for encoder in (state.encoder, state.encoder_average):
        for ours, theirs in zip(encoder(images), prior.encoder(small), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_a_grown_discriminator_with_unshuffled_pixels_sees_the_area_average_too() -> None:
    torch.manual_seed(0)
    config = DiscriminatorConfig(resolution=16, channels=(8, 6))
    prior = make_prior(
        Generator(GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8)), Discriminator(config)
    )
    state, images = grown(prior), torch.randn(4, 3, 32, 32)
    assert [len(state.discriminator.config.channels), state.discriminator.config.n_from_rgb] == [3, 2]
    torch.testing.assert_close(state.discriminator(images), prior.discriminator(F.avg_pool2d(images, 2)))
    again = grown_discriminator(state.discriminator.config)  # 64 x 64: what grew can grow
    assert (again.resolution, again.n_from_rgb, again.channels) == (64, 3, (8, 6, 6, 6))
    Discriminator(again)(torch.randn(4, 3, 64, 64))


def test_every_new_weight_is_reached_by_a_gradient_once_the_last_have_moved(pack) -> None:
    state = grown(load_pack(pack))
    newest = state.discriminator.b32, state.generator.synthesis.b32
    with torch.no_grad():
        for layer in (newest[0].conv1, newest[0].skip, newest[1].torgb):
            layer.weight.add_(0.1)
    z = torch.randn(4, 8)
    state.discriminator(state.generator(z)).sum().backward()
    for module in newest:
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())


def test_what_cannot_grow_is_named(pack) -> None:
    prior = load_pack(pack)
    with pytest.raises(UserError, match="adds up the colours"):
        grown_generator(replace(prior.generator.config, architecture="orig"))
    configs = grown_generator(prior.generator.config), grown_discriminator(prior.discriminator.config)
    wider = replace(configs[0], channels=(*configs[0].channels[:-1], 12))
    state = new_state(wider, configs[1], 2e-3, 0.99, 0, 16, 0, torch.device("cpu"))
    with pytest.raises(UserError, match="leave their settings out"):
        start_grown(state, prior, 16)


@pytest.fixture
def images(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    np.save(tmp_path / "images" / "images_0.npy", pixels)
    return tmp_path / "images"


def test_train_grow_goes_on_from_the_pack_and_then_from_its_own_checkpoint(pack, images, tmp_path) -> None:
    out, more = tmp_path / "run", ["batch=8", "r1_interval=2", "precision=fp32", "report_kimg=0.008"]
    common = ["train", "--data", str(images), "--out", str(out), "--grow", str(pack), "--device", "cpu", *more]
    found = CliRunner().invoke(app, [*common, "--kimg", "0.08"])
    assert found.exit_code == 0, found.output
    first = load_networks(out)[0]
    assert first.config.resolution == 32
    found = CliRunner().invoke(app, [*common, "--kimg", "0.096", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout.splitlines()[-1])["kimg"] == pytest.approx(0.096)
    second = load_networks(out)[0]
    assert (second.synthesis.b32.torgb.weight != first.synthesis.b32.torgb.weight).any()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--grow", "{pack}", "--start-from", "{pack}"], "leave one of them out"),
        (["--grow", "{data}"], "give the folder of a pack"),
    ],
)
def test_bad_requests_are_one_sentence(pack, images, tmp_path, wrong, sentence) -> None:
    wrong = [word.format(pack=pack, data=images) for word in wrong]
    found = CliRunner().invoke(app, ["train", "--data", str(images), "--out", str(tmp_path / "run"), *wrong])
    assert (found.exit_code, found.stderr.count("\n")) == (2, 1)
    assert sentence in found.stderr
