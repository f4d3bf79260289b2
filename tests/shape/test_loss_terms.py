"""The steps' losses are sums of their terms, each with its own weight; schedules are what the configuration says."""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.core.config import ViewPriorConfig
from gan2shape.core.progress import silent
from gan2shape.core.records import Render
from gan2shape.invert.schedules import value_at
from gan2shape.scene.canvas import over_background
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render
from gan2shape.shape import stages
from gan2shape.shape.losses import (
    feature_distance,
    projection_loss,
    smoothness,
    view_spread_loss,
    visible_difference,
)
from gan2shape.shape.projection import prior_features
from gan2shape.shape.sampling import truncated_sd
from gan2shape.shape.stages import JointOptions, collect, joint_loss, run_step
from gan2shape.shape.state import current_scene, make_target, new_state
from tests.shape.tiny import CONFIG, SIZE, tiny_generator, tiny_observation

PULL = 0.7
OPTIONS = JointOptions(True, True, view_pull=0.3, light_pull=0.4)


@pytest.fixture(scope="module")
def scene():
    """Generator, target, state and a few projected samples."""
    generator = tiny_generator()
    observation = tiny_observation(generator)
    target = make_target(observation, generator)
    state = new_state(CONFIG, 8, "cpu")
    torch.manual_seed(2)
    with torch.no_grad():
        for network in (state.model.networks.view_net, state.model.networks.light_net):
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))  # or views and lights would be nearly zero
    rng = torch.Generator().manual_seed(0)
    return generator, target, state, collect(state, target, observation.latent, generator, CONFIG, rng)


def terms(scene) -> dict[str, float]:
    """Each term of the joint loss, from the definitions."""
    generator, target, state, samples = scene
    networks, fov_deg = state.model.networks, CONFIG.render.fov_deg
    depth = state.model.depth(target.image)
    normals = normals_from_depth(depth, fov_deg)
    lights, own = networks.lights(samples.images), networks.lights(target.image)
    views = networks.views(samples.images, target.image)
    albedo = networks.albedo(target.surface, shade(normals, own))
    made = render(depth, albedo, shade(normals, lights), views, fov_deg, target.canvas)
    shown = over_background(target.canvas.background, samples.images, samples.masks)
    pixels, masks = (replace(CONFIG.steps, pixel_weight=w, mask_weight=1 - w) for w in (1.0, 0.0))
    return {
        "pixel_weight": visible_difference(made, shown, samples.masks, pixels),
        "mask_weight": visible_difference(made, shown, samples.masks, masks),
        "feature_weight": feature_distance(made.image, shown, prior_features(generator.prior)),
        "smooth_weight": (SIZE / 64) ** 2 * smoothness(depth, CONFIG.render.depth_half_range),
        "view_spread_weight": view_spread_loss(views, CONFIG.views),
        "view_pull": PULL * ((views - samples.views)[:, :3] / math.radians(10)).square().mean(),
        "light_pull": PULL * (lights - samples.lights).square().mean(),
    }  # fmt: skip


def weighted(scene, **weights: float) -> float:
    """The joint loss with these weights, all others 0."""
    generator, target, state, samples = scene
    names = ("pixel_weight", "mask_weight", "feature_weight", "smooth_weight", "view_spread_weight")
    steps = replace(CONFIG.steps, **{name: weights.get(name, 0.0) for name in names})
    options = replace(OPTIONS, **{name: weights.get(name, 0.0) for name in ("view_pull", "light_pull")})
    features, chosen = prior_features(generator.prior), torch.arange(len(samples.images))
    config = replace(CONFIG, steps=steps)
    return joint_loss(state.model, target, samples, chosen, features, config, options, PULL)[0].item()


@torch.no_grad()
def test_the_joint_loss_is_the_sum_of_its_terms_with_their_weights(scene) -> None:
    values = {name: float(value) for name, value in terms(scene).items()}
    assert all(value > 1e-6 for value in values.values()), values
    for name, value in values.items():
        assert weighted(scene, **{name: 2.0}) == pytest.approx(2.0 * value, rel=1e-3), name
    assert weighted(scene, **dict.fromkeys(values, 1.0)) == pytest.approx(sum(values.values()), rel=1e-4)


def test_the_spread_is_right_where_the_rms_of_the_views_is_that_of_the_target_ones() -> None:
    prior = ViewPriorConfig(yaw_sd_deg=12.0, pitch_sd_deg=4.0, limit_sd=2.0)
    sd = truncated_sd(2.0) * torch.tensor([math.radians(4.0), math.radians(12.0)])
    views = torch.zeros(4, 6)
    views[:, :2] = sd * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None]
    assert view_spread_loss(views, prior).item() == pytest.approx(0.0, abs=1e-6)
    views[:, 1] *= 3  # (3 - 1)^2
    assert view_spread_loss(views, prior).item() == pytest.approx(4.0, rel=1e-4)
    views[:, 0] *= 0.5  # and (1/2 - 1)^2
    assert view_spread_loss(views, prior).item() == pytest.approx(4.25, rel=1e-4)


@torch.no_grad()
def test_the_projection_loss_is_the_sum_of_pixels_features_and_offset(scene) -> None:
    generator, target, state, samples = scene
    features = prior_features(generator.prior)
    held = current_scene(state.model, target, CONFIG.render.fov_deg)
    pseudo = render(held.depth, held.albedo, torch.ones_like(held.depth), samples.views, 10.0, target.canvas)
    assert isinstance(pseudo, Render)
    offset = torch.full((len(samples.images), 8), 0.5)
    error = (samples.images - pseudo.image).abs().mean(1, keepdim=True)
    wanted = {
        "pixel_weight": (error * pseudo.mask).sum() / pseudo.mask.sum(),
        "projection_feature_weight": feature_distance(samples.images, pseudo.image, features),
        "latent_weight": torch.tensor(0.25),
    }  # fmt: skip
    for name, value in wanted.items():
        steps = replace(CONFIG.steps, **{**dict.fromkeys(wanted, 0.0), name: 2.0})
        found = projection_loss(samples.images, offset, pseudo, features, steps)
        assert float(value) > 1e-6
        assert found.item() == pytest.approx(2.0 * float(value), rel=1e-4), name


def test_steps_have_their_lengths_by_stage_and_their_schedules(scene, monkeypatch) -> None:
    """The learning rate is whole until `lr_decay_from` and falls; the pull on views and lights fades to nothing."""
    generator, target, state, samples = scene
    plans = []
    monkeypatch.setattr(stages, "optimise", lambda groups, loss_of, plan, **more: plans.append(plan))
    steps = replace(CONFIG.steps, n_projection=(7, 5), n_joint=(20,), lr=0.5, lr_decay_from=0.5, pull_fraction=0.5)
    config = replace(CONFIG, steps=steps)
    latent = generator.prior.w_mean[None]
    state = replace(state, samples=samples)
    for index in (1, 4, 7, 2):  # projection steps of three stages, and a joint step
        run_step(state, target, latent, generator, config, index, silent, False)
    lengths = [plan.stages[0].n_steps for plan in plans]
    assert lengths == [7, 5, 5, 20]
    joint = plans[-1].stages[0]
    assert value_at(joint.lr, 0, 20) == value_at(joint.lr, 9, 20) == 0.5
    assert value_at(joint.lr, 15, 20) == pytest.approx(0.25)
    pulls = [value_at(joint.weights["pull"], step, 20) for step in (0, 5, 10, 19)]
    assert pulls == pytest.approx([1.0, 0.5, 0.0, 0.0])
    assert plans[-1].betas == config.steps.betas
