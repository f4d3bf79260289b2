"""Guidance moves latents to what was asked for; detail that the inversion misses stays with the surface."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from gan2shape.edit.carried import FULL_DEG, turned_part, with_detail
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import own_of, pose_like, project_poses, render_poses, with_own_detail
from gan2shape.edit.guided import guided, wanted_lights
from gan2shape.measure.attributes import AttributeConfig, AttributeNetwork, Attributes
from gan2shape.nn.editing import EditingConfig, EditingNetwork
from tests.edit.egg import Egg, make_egg
from tests.export.objects import LIGHT
from tests.shape.tiny import SIZE


class Reader(AttributeNetwork):
    """Heading is the mean of red, lx the mean of green; the embedding leans with blue."""

    def __init__(self) -> None:
        super().__init__(AttributeConfig(resolution=SIZE, widths=(4, 4)))

    def read(self, images: torch.Tensor) -> Attributes:
        red, green, blue = images.mean((2, 3)).unbind(1)
        light = torch.stack([torch.full_like(green, 0.5), torch.full_like(green, 0.6), green, 0 * green], 1)
        embedding = F.normalize(torch.stack([torch.ones_like(blue), blue], 1), dim=1)
        return Attributes(red, light, {}, images.new_zeros(len(images), 0), embedding)


@pytest.fixture
def egg() -> Egg:
    """One whose image lies on the generator, and whose generator answers to its latent."""
    made = make_egg()
    image, _ = made.generator(made.observation.latent)
    return replace(made, observation=replace(made.observation, image=image))


def test_guidance_grows_with_the_angle_from_nothing(egg) -> None:
    poses = [Pose(direction=(1.0, 0.0)), Pose(yaw_deg=3, pitch_deg=-4), Pose(yaw_deg=-FULL_DEG), Pose(yaw_deg=60)]
    assert turned_part(poses, torch.ones(1)).tolist() == pytest.approx([0, 0.5, 1, 1])


def test_the_light_stays_with_the_object_and_is_left_free_behind_it() -> None:
    own = torch.tensor([[0.4, 0.5, 0.2, -0.1]])
    poses = [Pose(yaw_deg=30, direction=(0.0, 0.0)), Pose(yaw_deg=-30), Pose(yaw_deg=80, direction=(-3.0, 0.0))]
    lights, is_lit = wanted_lights(poses, own)
    assert is_lit.tolist() == [1, 1, 0]
    # A head-on light turns with the front, which a positive yaw takes to the left of the image.
    assert lights[0].tolist() == pytest.approx([0.4, 0.5, -math.tan(math.radians(30)), 0.0], abs=1e-6)
    before, after = (math.degrees(math.atan(float(lx))) for lx in (own[0, 2], lights[1, 2]))
    assert after - before == pytest.approx(30, abs=0.2)


def test_view_and_light_of_another_picture_are_read_by_the_packs_network(egg) -> None:
    prior = replace(egg.generator.prior, attributes=Reader())
    guided_egg = replace(egg, generator=replace(egg.generator, prior=prior))
    other = torch.zeros(1, 3, SIZE, SIZE)
    other[:, 0], other[:, 1] = egg.observation.image[:, 0].mean() + math.radians(25), -0.5
    view, light = pose_like(guided_egg, other)
    assert (view.pitch_deg, view.yaw_deg) == pytest.approx((5.7296, 25.0), abs=1e-3)  # pitch by the view network
    assert light.direction == pytest.approx((-0.5, 0.0))
    assert (light.ambient, light.diffuse) == pytest.approx((0.5, 0.6))


def test_latents_move_to_the_heading_that_was_asked_for(egg) -> None:
    network, prior = Reader(), egg.generator.prior
    own = float(network.read(egg.observation.image).heading_rad)
    poses = [Pose(yaw_deg=4), Pose(direction=(1.0, 0.0)), Pose(yaw_deg=-12)]
    start = egg.observation.latent.expand(3, -1)
    moved = guided(start, poses, egg.observation, network, prior)
    assert torch.equal(moved[1], start[1])
    with torch.no_grad():
        found = network.read(prior.generator.synthesis(moved).clamp(-1, 1)).heading_rad - own
    assert math.degrees(float(found[0])) > 0.5
    assert math.degrees(float(found[2])) < -2
    assert torch.equal(guided(start[1:2], poses[1:2], egg.observation, network, prior), start[1:2])


def test_many_are_guided_as_each_alone(egg) -> None:
    poses, network = [Pose(yaw_deg=15), Pose(yaw_deg=-15)], Reader()
    start = egg.observation.latent.expand(2, -1)
    together = guided(start, poses, egg.observation, network, egg.generator.prior)
    alone = guided(start[1:], poses[1:], egg.observation, network, egg.generator.prior)
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_light_is_left_to_an_editing_network(egg) -> None:
    prior, start, network = egg.generator.prior, egg.observation.latent, Reader()
    poses = [Pose(yaw_deg=15, direction=(lx, 0.0)) for lx in (-0.9, 0.9)]
    left, right = (guided(start, [pose], egg.observation, network, prior) for pose in poses)
    assert not torch.allclose(left, right, atol=1e-4)
    with_network = replace(prior, editing=EditingNetwork(EditingConfig(start.shape[-1])))
    left, right = (guided(start, [pose], egg.observation, network, with_network) for pose in poses)
    assert torch.equal(left, right)
    assert not torch.equal(left, start)


def test_what_the_inversion_misses_is_the_inputs_and_goes_with_the_angle(egg) -> None:
    poses = [Pose(direction=(0.5, 0.5)), Pose(yaw_deg=FULL_DEG / 2), Pose(yaw_deg=FULL_DEG)]
    rendered, images = render_poses(egg, poses), torch.zeros(3, 3, SIZE, SIZE)
    missed = torch.zeros(1, 3, SIZE, SIZE)
    middle = slice(SIZE // 2 - 2, SIZE // 2 + 2)
    missed[..., middle, middle], missed[..., 0, 0] = 0.4, 0.2
    shown = with_detail(images, torch.ones(3, 1, SIZE, SIZE), rendered, poses, missed)
    assert torch.allclose(shown[:1], missed, atol=1e-5)  # the background's too, where nothing has turned
    assert torch.equal(shown[2], images[2])
    half = shown[1, 0]
    assert float(half.max()) == pytest.approx(0.2, abs=0.02)
    columns = torch.arange(SIZE) + 0.5
    assert float((half * columns).sum() / half.sum()) < SIZE / 2  # moved with the front of the object
    assert half[0, 0] == 0


def test_through_e_alone_nothing_is_guided(egg) -> None:
    read = replace(egg.generator, prior=replace(egg.generator.prior, attributes=Reader()))
    poses = [Pose(yaw_deg=20)]
    rendered = render_poses(egg, poses)
    plain, refined, alone, steered = (
        project_poses(one, rendered, poses, n_refine=n).latents
        for one, n in ((egg, 0), (egg, 10), (replace(egg, generator=read), 0), (replace(egg, generator=read), 10))
    )
    assert torch.equal(plain, alone)
    assert not torch.equal(refined, steered)


def test_effect_3d_in_the_inputs_view_is_the_input_and_far_from_it_the_render(egg) -> None:
    poses = [Pose(ambient=LIGHT[0]), Pose(yaw_deg=20)]  # the first one names what is there already
    rendered, own = render_poses(egg, poses), own_of(egg)
    assert float(own.not_rendered.abs().mean()) > 0.05
    shown = with_own_detail(rendered, poses, own)
    assert torch.allclose(shown.image[:1], egg.observation.image, atol=1e-4)
    assert torch.equal(shown.image[1], rendered.image[1])
    assert torch.equal(shown.mask, rendered.mask)
    effect = project_poses(egg, rendered, poses)
    assert torch.equal(effect.rendered.image, shown.image)
    assert torch.allclose(effect.images[:1], egg.observation.image, atol=1e-4)
