"""What confidence is read from, and where a run has it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape import api
from gan2shape.core.errors import UserError
from gan2shape.nn.confidence import (
    CONFIDENCE_NAME,
    ConfidenceConfig,
    ConfidenceNetwork,
    confidence_beside,
    load_confidence,
    save_confidence,
)
from gan2shape.prior.masked_generator import masked_generator
from gan2shape.prior.packs import load_pack
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.confidence import (
    FARTHEST_PX,
    MIRRORED,
    centred,
    confidence_of,
    distance_to_outline,
    evidence_maps,
)
from tests.tiny_pack import SMALL, disc_mask, write_tiny_pack

SIZE = 32


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A pack whose confidence network has learnt nothing."""
    folder = write_tiny_pack(tmp_path_factory.mktemp("packs"), "car", SIZE)
    torch.manual_seed(3)
    network = ConfidenceNetwork(ConfidenceConfig(len(MIRRORED), SIZE, (8, 8, 8)))
    save_confidence(folder / CONFIDENCE_NAME, network)
    return folder


@pytest.fixture(scope="module")
def made(pack):
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    given = {"mask": disc_mask(SIZE), "generator": masked_generator(load_pack(pack))}
    return api.reconstruct(image, **given, overrides=(*SMALL, "n_stages=0", "invert.n_steps=2"))


def test_distance_to_the_outline_of_a_square():
    inside = torch.zeros(1, 1, 12, 12)
    inside[..., 3:10, 2:9] = 1  # seven pixels wide
    distance = distance_to_outline(inside)[0, 0]
    assert distance[6, 5] == 4  # its middle
    assert distance[3, 2] == 1
    assert distance[0, 0] == 0
    assert distance_to_outline(torch.ones(1, 1, 4, 4)).unique().item() == FARTHEST_PX


def test_centred_maps_have_no_mean_and_nothing_outside():
    inside = disc_mask(SIZE)
    found = centred(torch.rand(1, 1, SIZE, SIZE) + 3, inside)
    assert float(found.sum()) == pytest.approx(0, abs=1e-3)
    assert not found[inside == 0].any()


def test_a_mirrored_picture_has_mirrored_evidence(made):
    torch.manual_seed(0)
    known = pretrained_networks(made.generator.prior, made.config)
    images, seen = torch.rand(2, 2, 3, SIZE, SIZE)
    masks, depth = disc_mask(SIZE).repeat(2, 1, 1, 1), 1 + 0.02 * torch.rand(2, 1, SIZE, SIZE)
    given = [images, seen, masks, depth]
    maps = evidence_maps(*given, known, made.config)
    mirrored = evidence_maps(*(one.flip(-1) for one in given), known, made.config)
    signs = torch.tensor(MIRRORED)[:, None, None]
    assert maps.shape == (2, len(MIRRORED), SIZE, SIZE)
    torch.testing.assert_close(mirrored, (maps * signs).flip(-1), atol=2e-4, rtol=1e-4)


def test_depth_itself_tells_nothing_by_its_mean_distance(made):
    known = pretrained_networks(made.generator.prior, made.config)
    image, mask = made.observation.image, made.observation.mask
    near, far = (evidence_maps(image, image, mask, made.scene.depth + d, known, made.config) for d in (0.0, 1e-3))
    torch.testing.assert_close(near, far, atol=2e-2, rtol=1e-2)


def test_a_run_writes_its_confidence(made, tmp_path):
    assert made.confidence.shape == made.scene.depth.shape
    assert 0 < float(made.confidence.min()) < float(made.confidence.max()) < 1
    made.export(tmp_path)
    with np.load(tmp_path / "scene.npz") as stored:
        assert np.array_equal(stored["confidence"], made.confidence.numpy())
    assert (tmp_path / "confidence.png").is_file()
    assert "Where depth can be trusted" in (tmp_path / "report.html").read_text()


def test_without_a_network_nothing_is_claimed(made, tmp_path):
    prior, seen = made.generator.prior, made.target.image
    given = (made.observation.image, seen, made.observation.mask, made.scene.depth)
    assert confidence_of(*given, replace(prior, confidence=None), made.config) is None
    from_ellipsoid = replace(made.config, initial=replace(made.config.initial, use_depth_network=False))
    assert confidence_of(*given, prior, from_ellipsoid) is None
    replace(made, confidence=None).export(tmp_path)
    with np.load(tmp_path / "scene.npz") as stored:
        assert "confidence" not in stored.files
    assert not (tmp_path / "confidence.png").exists()
    assert "Where depth can be trusted" not in (tmp_path / "report.html").read_text()
    assert confidence_beside(tmp_path) is None


def test_expected_errors_become_confidence():
    network = ConfidenceNetwork(ConfidenceConfig(len(MIRRORED), 16, (8, 8)))
    torch.nn.init.zeros_(network.last.weight)
    network.last.bias.data = torch.tensor([0.0, 3.0, -3.0, 1.0])  # log of error / usual error, of four pixels
    found = network.confidence(torch.randn(1, len(MIRRORED), 16, 16))[0, 0]
    expected = 1 / (1 + torch.tensor([[0.0, 3.0], [-3.0, 1.0]]).exp())
    torch.testing.assert_close(found, expected.repeat(8, 8))


def test_a_damaged_file_is_one_sentence(pack, tmp_path):
    (tmp_path / CONFIDENCE_NAME).write_text("no network")
    with pytest.raises(UserError, match=r"damaged.*--only confidence"):
        confidence_beside(tmp_path)
    network = load_confidence(pack / CONFIDENCE_NAME)
    network.unit.fill_(float("nan"))
    with pytest.raises(UserError, match="damaged"):
        load_confidence(save_confidence(tmp_path / "nan.safetensors", network))
