"""Encoders of rows: shapes of the heads, what each row sees, staged offsets, and what a trunk takes over."""

import pytest
import torch

from gan2shape.nn.discriminator import DiscriminatorConfig, trunk_features
from gan2shape.nn.image_encoder import ImageEncoder, ImageEncoderConfig
from gan2shape.nn.latent_encoder import (
    HEADS,
    LatentCritic,
    LatentEncoder,
    LatentEncoderConfig,
    take_trunk_weights,
    trunk_of,
)
from gan2shape.nn.layers import FullyConnected

TRUNK = DiscriminatorConfig(resolution=32, channels=(12, 12, 8, 8), unshuffle=False)  # maps of 4, 8 and 16 pixels
N_ROWS, W_DIM = 8, 6


def encoder_with(head: str, awake: bool = True) -> LatentEncoder:
    """An encoder whose last layers have learnt something, unless it is not `awake`."""
    channels = 6 if head == "residual" else 3
    trunk = DiscriminatorConfig(resolution=32, channels=TRUNK.channels, unshuffle=False, image_channels=channels)
    encoder = LatentEncoder(LatentEncoderConfig(trunk, N_ROWS, W_DIM, head, width=4, hidden=8))
    encoder.w_mean.normal_()
    if awake:
        for layer in encoder.head.modules():
            if isinstance(layer, FullyConnected):
                torch.nn.init.normal_(layer.weight)
    return encoder.requires_grad_(False)


def images_for(encoder: LatentEncoder, n: int = 2) -> torch.Tensor:
    return torch.randn(n, encoder.config.trunk.image_channels, 32, 32)


@pytest.mark.parametrize("head", HEADS)
def test_an_untrained_encoder_gives_the_mean_of_w_for_every_row(head: str) -> None:
    encoder = encoder_with(head, awake=False)
    rows = encoder(images_for(encoder))
    assert torch.equal(rows, encoder.w_mean.expand(2, N_ROWS, W_DIM))


@pytest.mark.parametrize("head", HEADS)
def test_rows_differ_by_picture_and_where_the_head_lets_them_by_row(head: str) -> None:
    encoder = encoder_with(head)
    rows = encoder(images_for(encoder))
    assert rows.shape == (2, N_ROWS, W_DIM)
    assert not torch.allclose(rows[0], rows[1])
    assert torch.equal(rows, rows[:, :1].expand_as(rows)) == (head == "flat")


def test_coarse_rows_of_the_pyramid_do_not_see_what_only_finer_maps_show() -> None:
    """pSp: rows below 3 from the coarsest map, below 7 from the next, the others from the finest."""
    encoder = encoder_with("fpn")
    maps = encoder.pyramid(images_for(encoder))
    before = encoder.head(maps)
    for changed, first in ((0, 7), (1, 3), (2, 0)):  # fine to coarse: the first row that sees the change
        other = [m + 1.0 if i == changed else m for i, m in enumerate(maps)]
        differs = (encoder.head(other) - before).abs().amax((0, 2)) > 0
        assert differs.tolist() == [row >= first for row in range(N_ROWS)]


def test_offsets_are_set_free_row_by_row() -> None:
    encoder = encoder_with("delta")
    images = images_for(encoder)
    whole = encoder(images)
    for n_free in range(N_ROWS):
        rows = encoder(images, n_free=n_free)
        same = (rows == rows[:, :1]).all(2).all(0)
        assert same.tolist() == [row == 0 or row > n_free for row in range(N_ROWS)]
        assert torch.equal(rows[:, : n_free + 1], whole[:, : n_free + 1])


def test_a_residual_encoder_goes_on_from_the_present_rows() -> None:
    encoder = encoder_with("residual")
    images = torch.randn(2, 3, 32, 32)
    seen = []

    def synthesis(rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows)
        return rows.mean((1, 2)).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)

    rows = encoder.encode(images, synthesis, n_passes=3)
    assert torch.equal(seen[0], encoder.w_mean.expand(2, N_ROWS, W_DIM))  # published: it begins at the mean
    for before, after in zip(list(seen), [*seen[1:], rows], strict=True):
        torch.testing.assert_close(after, encoder(torch.cat([images, synthesis(before)], 1), before))


def test_a_trunk_takes_over_what_fits_and_sees_nothing_in_further_channels_yet() -> None:
    known = ImageEncoder(ImageEncoderConfig(TRUNK, 6, 8))
    for head in ("fpn", "residual"):
        encoder = encoder_with(head)
        take_trunk_weights(encoder.pyramid, known.state_dict())
        images = torch.randn(2, 3, 32, 32)
        expected = trunk_features([getattr(known, name) for name in known.block_names], images)
        further = [torch.randn(2, 3, 32, 32)] if head == "residual" else []
        for ours, theirs in zip(encoder.pyramid(torch.cat([images, *further], 1)), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("resolution", [16, 32, 64, 128])
def test_the_default_trunk_ends_at_four_pixels(resolution: int) -> None:
    encoder = LatentEncoder(LatentEncoderConfig(trunk_of(resolution), 4, W_DIM))
    assert encoder.pyramid(torch.zeros(1, 3, resolution, resolution))[-1].shape[-1] == 4


def test_unknown_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown head"):
        LatentEncoderConfig(TRUNK, N_ROWS, W_DIM, "hyper")


def test_the_latent_critic_judges_each_row_by_itself() -> None:
    critic = LatentCritic(W_DIM, 8)
    w = torch.randn(5, W_DIM, 1, 1)
    torch.testing.assert_close(critic(w)[2:3], critic(w[2:3]))
