"""The input's surface stays in effect-GAN where it is seen and believed."""

from dataclasses import replace

import torch

from gan2shape.core.records import Render
from gan2shape.edit.carried import is_whole, surface_share, with_seen_surface
from tests.shape.tiny import SIZE


def own_grid(n: int) -> torch.Tensor:
    """Of the input's own view."""
    at = (torch.arange(SIZE) + 0.5) * (2 / SIZE) - 1
    return torch.stack([at.expand(SIZE, SIZE), at[:, None].expand(SIZE, SIZE)], -1).expand(n, -1, -1, -1).clone()


def flat_render(colour: float, grid: torch.Tensor | None = None) -> Render:
    ones = torch.ones(1, 1, SIZE, SIZE)
    return Render(torch.full((1, 3, SIZE, SIZE), colour), ones, ones, ones, own_grid(1) if grid is None else grid)


ONES, NOTHING = torch.ones(1, 1, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)


def test_the_surface_is_shown_where_both_agree_and_the_generators_image_where_they_do_not() -> None:
    images = torch.full((1, 3, SIZE, SIZE), 0.1)
    near, far = flat_render(0.12), flat_render(0.9)
    assert torch.allclose(with_seen_surface(images, ONES, near, NOTHING), near.image, atol=1e-3)
    assert torch.allclose(with_seen_surface(images, ONES, far, NOTHING), images, atol=1e-3)


def test_what_the_generator_missed_in_the_input_is_no_disagreement() -> None:
    images, missed = torch.full((1, 3, SIZE, SIZE), 0.1), torch.full((1, 3, SIZE, SIZE), 0.8)
    assert torch.allclose(with_seen_surface(images, ONES, flat_render(0.9), missed), torch.tensor(0.9), atol=1e-3)


def test_what_is_stretched_or_on_one_side_alone_is_the_generators() -> None:
    grid = own_grid(1)
    grid[:, :, : SIZE // 2, 0] = -1.0  # all of these pixels show one column
    stretched = flat_render(0.2, grid)
    whole = is_whole(stretched)
    assert not whole[..., : SIZE // 2 - 1].any()
    assert torch.allclose(whole[..., SIZE // 2 + 1 :], torch.tensor(1.0))
    images = torch.full((1, 3, SIZE, SIZE), 0.1)
    shown = with_seen_surface(images, ONES, stretched, NOTHING)
    assert torch.equal(shown[..., : SIZE // 2 - 1], images[..., : SIZE // 2 - 1])
    half = ONES * (torch.arange(SIZE) < SIZE // 2)
    share = surface_share(images, half, replace(flat_render(0.1), mask=ONES - half), NOTHING)
    assert not share.any()  # each says object where the other says background
    assert torch.allclose(surface_share(images, half, replace(flat_render(0.1), mask=half), NOTHING), ONES)
