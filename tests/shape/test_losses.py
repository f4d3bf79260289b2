"""The input taken apart, networks and losses: identities that must hold whatever the weights are."""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.scene.canvas import fill_background, unmix_background
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render_input_view, render_scene
from gan2shape.shape.ellipsoid import ellipsoid_depth, ellipsoid_model
from gan2shape.shape.gauge import flat_base
from gan2shape.shape.losses import feature_distance, masked_l1, smoothness
from gan2shape.shape.state import SceneModel, Target, current_scene, target_from
from tests.shape.tiny import CONFIG, SIZE, disc_mask, tiny_generator, tiny_observation


@pytest.fixture
def target() -> Target:
    """An object with a soft rim over a plain background."""
    observation = tiny_observation(tiny_generator())
    soft = torch.nn.functional.avg_pool2d(observation.mask, 3, stride=1, padding=1)
    return target_from(soft * observation.image + (1 - soft) * 0.3, soft)


@pytest.fixture
def model() -> SceneModel:
    torch.manual_seed(1)
    return SceneModel(SceneNetworks(CONFIG), flat_base(SIZE))


def test_a_plain_background_is_filled_exactly():
    plain = torch.full((1, 3, SIZE, SIZE), 0.84)
    image = torch.where(disc_mask() > 0, torch.rand(1, 3, SIZE, SIZE), plain)
    torch.testing.assert_close(fill_background(image, disc_mask()), plain, atol=1e-3, rtol=0)


def test_an_anti_aliased_object_leaves_no_ghost_of_its_outline():
    soft = torch.nn.functional.avg_pool2d(disc_mask(), 3, stride=1, padding=1)
    assert ((soft > 0.1) & (soft < 0.9)).any(), "the rim has to be mixed for this to say anything"
    plain, colour = torch.full((1, 3, SIZE, SIZE), 0.84), torch.full((1, 3, SIZE, SIZE), -0.9)
    image = soft * colour + (1 - soft) * plain
    filled = fill_background(image, soft)
    torch.testing.assert_close(filled, plain, atol=0.05, rtol=0)
    thick = (soft >= 0.3).expand_as(image)
    torch.testing.assert_close(unmix_background(image, soft, filled)[thick], colour[thick], atol=0.05, rtol=0)


def test_the_quotient_albedo_explains_the_input_in_its_own_view_and_light(target, model):
    scene = current_scene(ellipsoid_model(model, target.canvas.mask, CONFIG, 0.0), target, CONFIG.render.fov_deg)
    shading = shade(normals_from_depth(scene.depth, CONFIG.render.fov_deg), scene.light)
    shown = render_input_view(scene.albedo, shading, target.canvas)
    thick = (target.canvas.mask >= 0.25).expand(-1, 3, -1, -1)
    torch.testing.assert_close(shown[thick], target.image[thick], atol=2e-2, rtol=0)
    torch.testing.assert_close(shown, target.image, atol=0.08, rtol=0, msg="a thin rim is unmixed part of the way")
    rendered = render_scene(scene, scene.view, scene.light, CONFIG.render.fov_deg, target.canvas)
    torch.testing.assert_close(rendered.image, shown, atol=1e-4, rtol=0)
    torch.testing.assert_close(rendered.mask, target.canvas.mask, atol=1e-5, rtol=0)


def test_the_depth_begins_exactly_at_the_ellipsoid(target, model):
    wanted = ellipsoid_depth(target.canvas.mask, CONFIG.initial, CONFIG.render.fov_deg)
    depth = ellipsoid_model(model, target.canvas.mask, CONFIG, 0.0).depth(target.image).detach()
    difference = depth - wanted
    assert (difference - difference.mean()).abs().max() < 2e-3, "all but the mean, which is a gauge"


def test_the_input_is_seen_from_the_front_whatever_the_weights_are(target, model):
    with torch.no_grad():
        model.networks.view_net.last.weight.normal_()
        views = model.networks.views(torch.cat([torch.rand_like(target.image), target.image]), target.image)
    assert views[0].abs().max() > 0
    torch.testing.assert_close(views[1], torch.zeros(6), atol=1e-5, rtol=0)


def test_an_albedo_network_is_there_where_it_is_configured():
    networks = SceneNetworks(replace(CONFIG, networks=replace(CONFIG.networks, albedo="network")))
    assert not networks.explains_input
    assert networks.albedo_net is not None


def test_losses_closed_forms():
    image, other = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    mask = torch.ones(2, 1, 4, 4)
    assert masked_l1(image, other, mask).item() == pytest.approx(0.5)
    assert feature_distance(image, image, lambda x: [x + 1]).item() == 0.0
    at = torch.arange(8.0)
    plane = (0.3 * at[None, :] - 0.2 * at[:, None])[None, None]
    assert smoothness(plane, 0.1).item() == pytest.approx(0.0, abs=1e-4), "a plane has no second difference"
    bowl = (at[None, :] ** 2)[None, None].expand(1, 1, 8, 8)
    assert smoothness(bowl, 1.0).item() == pytest.approx(2.0), "x^2 has the second difference 2 in x alone"


@pytest.mark.parametrize(("form", "wanted"), [("x * x", 2.0), ("y * y", 2.0), ("x * y", 2.0), ("x - 3 * y", 0.0)])
def test_smoothness_is_the_mean_second_difference_of_all_four_directions(form: str, wanted: float) -> None:
    """d2/dx2 of x^2 is 2; the mixed difference of xy is 1 and counts twice."""
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    depth = 1 + 1e-3 * eval(form, {"x": x, "y": y})
    assert smoothness(depth[None, None], 0.1).item() == pytest.approx(wanted * 1e-3 / 0.1, abs=1e-4)


@torch.no_grad()
def test_views_and_lights_reach_as_far_as_published_and_have_the_networks_signs() -> None:
    networks = SceneNetworks(CONFIG)
    reach = torch.tensor([math.radians(60.0)] * 3 + [0.1, 0.1, 0.0])
    raw = torch.tensor([[0.5, -0.5, 9.0, 9.0, -9.0]])
    found = networks.relative_views(raw + 0.2, torch.full((1, 5), 0.2))
    tanh = math.tanh(0.5)
    torch.testing.assert_close(found[0], reach * torch.tensor([tanh, -tanh, 1.0, 1.0, -1.0, 0.0]), atol=1e-5, rtol=0)
    networks.light_net.last.weight.zero_()
    networks.light_net.last.bias.copy_(torch.tensor([9.0, -9.0, 9.0, -9.0]))
    offset = networks.lights(torch.zeros(1, 3, SIZE, SIZE))[0] - torch.tensor(CONFIG.lights.mean)
    torch.testing.assert_close(offset, torch.tensor([0.5, -0.5, 1.0, -1.0]), atol=1e-5, rtol=0)
