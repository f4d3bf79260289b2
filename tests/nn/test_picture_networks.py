"""Networks without a prior: sizes, what they leave alone, and heads that see what they should."""

import pytest
import torch
from torch.nn import functional as F

from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.picture_networks import (
    DilatedInpainter,
    PatchGlobalDiscriminator,
    PictureConfig,
    SRResNet,
    build_picture_network,
)

CRITIC = DiscriminatorConfig(resolution=32, channels=(8, 8, 8))


@pytest.mark.parametrize("factor", [2, 4])
def test_srresnet_enlarges_and_begins_near_the_bicubic_picture(factor: int) -> None:
    network = build_picture_network(PictureConfig("srresnet", 32, 8, 2, factor))
    assert isinstance(network, SRResNet)
    small = torch.rand(2, 3, 32 // factor, 32 // factor) * 2 - 1
    made = network(small)
    assert made.shape == (2, 3, 32, 32)
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias.zero_()
    torch.testing.assert_close(network(small), F.interpolate(small, scale_factor=float(factor), mode="bicubic"))


def test_the_inpainter_keeps_what_is_known_and_never_looks_into_the_hole() -> None:
    network = build_picture_network(PictureConfig("inpainter", 32, 8, 4))
    assert isinstance(network, DilatedInpainter)
    picture, kept = torch.rand(2, 3, 32, 32) * 2 - 1, torch.ones(2, 1, 32, 32)
    kept[:, :, 10:20, 8:24] = 0.0
    made = network(picture, kept)
    assert torch.equal(made * kept, picture * kept)
    other = torch.where(kept > 0, picture, torch.rand_like(picture))
    assert torch.equal(network(other, kept), made)
    assert float((made * (1 - kept)).abs().max()) <= 1.0


def test_dilation_lets_the_middle_of_a_hole_see_its_rim() -> None:
    """A pixel in the middle of a hole that is half as wide as the picture depends on every corner of the known part."""
    network = build_picture_network(PictureConfig("inpainter", 32, 8, 4))
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    kept = torch.ones(1, 1, 32, 32)
    kept[:, :, 8:24, 8:24] = 0.0
    network(picture, kept)[0, :, 16, 16].sum().backward()
    for row, column in ((4, 4), (4, 27), (27, 4), (27, 27)):
        assert float(picture.grad[0, :, row, column].abs().sum()) > 0


@pytest.mark.parametrize(
    ("heads", "names"), [("global", {"global"}), ("patch", {"patch"}), ("both", {"global", "patch"})]
)
def test_heads_in_use(heads: str, names: set[str]) -> None:
    critic = PatchGlobalDiscriminator(CRITIC, heads)
    logits = critic(torch.randn(4, 3, 32, 32))
    assert set(logits) == names
    for name, shape in (("global", (4, 1)), ("patch", (4, 1, 8, 8))):
        assert name not in logits or logits[name].shape == shape


def test_a_patch_s_logit_sees_its_patch_alone_and_the_global_one_everything() -> None:
    critic = PatchGlobalDiscriminator(CRITIC)
    image = torch.randn(4, 3, 32, 32, requires_grad=True)
    (seen,) = torch.autograd.grad(critic(image)["patch"][0, 0, 0, 0], image)
    reach = seen[0].abs().sum(0)
    assert float(reach[0, 0]) > 0
    assert float(reach[20:, :].sum()) == float(reach[:, 20:].sum()) == 0.0
    (seen,) = torch.autograd.grad(critic(image)["global"][0, 0], image)
    assert float(seen[0, :, -1, -1].abs().sum()) > 0


def test_both_heads_teach_the_shared_block() -> None:
    critic = PatchGlobalDiscriminator(CRITIC)
    shared = next(critic.trunk.b16.parameters())
    logits = critic(torch.randn(4, 3, 32, 32))
    for head in ("global", "patch"):
        (gradient,) = torch.autograd.grad(logits[head].sum(), shared, retain_graph=True)
        assert float(gradient.abs().sum()) > 0


def test_unknown_kinds_and_heads() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        build_picture_network(PictureConfig("other"))
    with pytest.raises(ValueError, match="unknown heads"):
        PatchGlobalDiscriminator(CRITIC, "three")
