"""Our networks reproduce the published ones from their own weights."""

import pytest
import torch

from gan2shape.checkpoints.published import published_state
from tests.checkpoints import golden

TOLERANCE = 1e-4  # max abs, float32


@pytest.fixture(scope="module", params=["skip", "resnet", "orig"])
def case(request: pytest.FixtureRequest) -> tuple:
    return *golden.networks(request.param), golden.load(f"nvidia_ada_{request.param}_32_io.npz")


def close(ours: torch.Tensor, published: torch.Tensor) -> None:
    torch.testing.assert_close(ours, published, atol=TOLERANCE, rtol=0)


def test_mapping(case: tuple) -> None:
    generator, _, io = case
    w = generator.mapping(io["z"])
    assert generator.n_layers == io["w"].shape[1]
    close(w[:, None].expand_as(io["w"]), io["w"])


def test_image(case: tuple) -> None:
    generator, _, io = case
    close(generator(io["z"]), io["image"])


def test_truncated_image(case: tuple) -> None:
    generator, _, io = case
    close(generator(io["z"], truncation_psi=float(io["truncation"])), io["image_truncated"])


def test_image_of_wplus(case: tuple) -> None:
    generator, _, io = case
    close(generator.synthesis(io["wplus"]), io["image_wplus"])


def test_logits(case: tuple) -> None:
    """Groups of four are strided: with eight images, n and n + 2 belong together."""
    _, discriminator, io = case
    close(discriminator(io["image"][[0, 1, 2, 0]]), io["discriminator_logit4"])
    close(discriminator(io["images8"]), io["discriminator_logit8"])


def test_channels_last_changes_nothing(case: tuple) -> None:
    generator, discriminator, io = case
    close(generator.to(memory_format=torch.channels_last)(io["z"]), io["image"])
    image = io["images8"].contiguous(memory_format=torch.channels_last)
    close(discriminator.to(memory_format=torch.channels_last)(image), io["discriminator_logit8"])


def test_foreign_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="filter"):
        published_state({"synthesis.b8.resample_filter": torch.ones(4, 4) / 16})
