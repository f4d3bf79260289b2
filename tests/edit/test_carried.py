"""The input's surface stays in effect-GAN where it is seen and believed; the editing network moves latents."""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.core.records import Render
from gan2shape.edit.carried import is_whole, surface_share, with_seen_surface
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import changes, effect_of, own_of, project_poses, render_poses
from gan2shape.nn.editing import EditingConfig, EditingNetwork
from tests.edit.egg import Egg, make_egg
from tests.export.objects import LIGHT
from tests.shape.tiny import SIZE


@pytest.fixture
def egg() -> Egg:
    return make_egg()


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


class Tracer(EditingNetwork):
    """Adds the change that was asked for to the first components of w."""

    def __init__(self) -> None:
        super().__init__(EditingConfig(8, 8, 1))

    def forward(self, latents: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        moved = torch.nn.functional.pad(change, (0, latents.shape[-1] - change.shape[-1]))
        return moved if latents.ndim == 2 else moved[:, None].expand_as(latents)


def with_network(egg: Egg) -> Egg:
    prior = replace(egg.generator.prior, editing=Tracer())
    return replace(egg, generator=replace(egg.generator, prior=prior))


def test_edits_go_through_the_packs_network(egg) -> None:
    edited, pose = with_network(egg), Pose(yaw_deg=15, pitch_deg=-4, direction=(-0.5, 0.1), ambient=LIGHT[0] + 0.1)
    light = (0.1, 0.0, -0.5 - LIGHT[2], 0.1 - LIGHT[3])
    asked = [math.radians(15), math.radians(-4), *light]
    assert changes([pose], egg.scene.light)[0].tolist() == pytest.approx(asked, abs=1e-6)
    effect = effect_of(edited, pose, n_refine=0)
    moved = (effect.latents - egg.observation.latent)[0]
    assert moved[:6].tolist() == pytest.approx(asked, abs=1e-5)
    assert not torch.equal(effect.latents, effect_of(egg, pose, n_refine=0).latents)


def test_rolls_go_through_e(egg) -> None:
    edited, poses = with_network(egg), [Pose(yaw_deg=80), Pose(roll_deg=10), Pose(yaw_deg=20)]
    rendered = render_poses(egg, poses)
    latents = project_poses(edited, rendered, poses, n_refine=0).latents
    moved = latents - egg.observation.latent
    assert moved[[0, 2], 0].tolist() == pytest.approx([math.radians(80), math.radians(20)])
    rolled = egg.project(rendered.pick(torch.tensor([1])), own_of(egg).render)
    assert torch.equal(latents[1:2], rolled)


def test_other_views_are_refined_and_lights_are_not(egg) -> None:
    edited, poses = with_network(egg), [Pose(direction=(0.5, 0.0)), Pose(yaw_deg=5), Pose(pitch_deg=-20)]
    rendered = render_poses(egg, poses)
    once, more = (project_poses(edited, rendered, poses, n_refine=n).latents for n in (0, 100))
    assert torch.equal(more[0], once[0])
    assert torch.allclose(more[1] - once[1], torch.tensor(0.005), atol=1e-6)  # half of the way at 5 degrees
    assert torch.allclose(more[2] - once[2], torch.tensor(0.01), atol=1e-6)


def test_rows_of_w_plus_and_latent_edits_take_part(egg) -> None:
    n_layers = egg.generator.prior.generator.n_layers
    rows = egg.observation.latent[:, None].repeat(1, n_layers, 1)
    edited = with_network(replace(egg, observation=replace(egg.observation, latent=rows)))
    offset = torch.randn(1, n_layers, 8)
    effect = effect_of(edited, Pose(yaw_deg=10), offset, n_refine=0)
    expected = rows + offset
    expected[..., 0] += math.radians(10)
    assert torch.allclose(effect.latents, expected, atol=1e-6)
    images, _ = edited.generator(effect.latents)
    assert torch.equal(effect.images, images)  # an edited latent is shown as it is
