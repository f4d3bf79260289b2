"""`--preset paper` is the paper: every constant against the published table, its losses, and one tiny run to files.

The published code has light pointing into the scene: its lx and ly enter negated.
"""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import silent
from gan2shape.invert.schedules import value_at
from gan2shape.prior.open import category_config
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.light import diffuse_cosine, normals_from_depth, shade
from gan2shape.scene.render import render, render_input_view
from gan2shape.shape import published_losses
from gan2shape.shape.ellipsoid import ellipsoid_depth, fit_to_ellipsoid, grown_box
from gan2shape.shape.projection import prior_features, project, project_images
from gan2shape.shape.reconstruct import reconstruct
from gan2shape.shape.sampling import sample_views
from gan2shape.shape.stages import JointOptions, collect, joint_loss, pseudo_samples, step_plan
from gan2shape.shape.state import make_target, new_state
from tests.shape.tiny import SIZE, disc_mask, tiny_generator, tiny_observation, with_encoder

# view_mvn: means and variances of (rx, ry, rz, tx, ty, tz); angles times 60 degrees, shifts times .1.
VIEW_MEAN = (0.0387, -0.01467, 0.00127, -0.00338, -0.01391, 0.0)
VIEW_VARIANCE = (2.06e-4, 3.065e-2, 3.77e-5, 6.40e-3, 2.58e-5, 1e-7)
LIGHT_MEAN = (0.1005, 0.3443, -0.0029, 0.2976)  # light_mvn
RAND_LIGHT = (-1.0, 1.0, -0.2, 0.8, -0.1, 0.6, -0.6)  # x0, x1, y0, y1, r0, r1, alpha

TABLE = {  # config car | celeba
    "n_stages": (4, 4),
    "render.fov_deg": (10.0, 10.0),
    "render.depth_half_range": (0.1, 0.1),
    "initial.use_depth_network": (False, False),
    "initial.depth_scale": (1.0, 1.0),
    "initial.near": (0.91, 0.91),
    "initial.far": (1.02, 1.02),
    "initial.radius": (0.4, 0.4),
    "initial.slants_deg": ((0.0,), (0.0,)),
    "networks.kind": ("published", "published"),
    "networks.albedo": ("network", "network"),
    "networks.angle_range_deg": (60.0, 60.0),
    "networks.shift_range": (0.1, 0.1),
    "steps.n_albedo": ((700, 200), (600, 200)),
    "steps.n_projection": ((700, 500), (600, 500)),
    "steps.n_joint": ((600, 400), (400, 300)),
    "steps.n_collect": (100 * 8, 100 * 16),
    "steps.batch": (8, 16),
    "steps.lr": (1e-4, 1e-4),
    "steps.lr_decay_from": (1.0, 1.0),
    "steps.betas": ((0.9, 0.999), (0.9, 0.999)),
    "steps.weight_decay": (5e-4, 5e-4),
    "steps.pixel_weight": (1.0, 1.0),
    "steps.feature_weight": (0.5, 0.5),  # lam_perc
    "steps.smooth_weight": (0.01 * 0.1, 0.01 * 0.1),  # lam_smooth, of depth in units of its half-range
    "steps.shading_smooth_weight": (0.01, 0.01),
    "steps.projection_feature_weight": (1.0, 1.0),
    "steps.n_feature_blocks": (4, 4),
    "steps.latent_weight": (0.01, 0.01),  # lam_regular
    "steps.mapping_tail": (3, 3),  # F1_d = 2, where PixelNorm counts as a layer
    "steps.relative_encoder": (False, True),
    "steps.flip_weight": (0.0, 1.0),  # flip3, in stage 1
    "ablation.losses": ("published", "published"),
    "ablation.fit_ellipsoid": (True, True),
    "ablation.fit_steps": (1000, 1000),
    # nothing of ours
    "ablation.depth": ("network", "network"),
    "ablation.learn_from_inversion": (False, False),
    "ablation.pack_encoder": (False, False),
    "ablation.refine_steps": (0, 0),
    "ablation.estimate_views": (True, True),
    "ablation.view_self_weight": (0.0, 0.0),
    "ablation.restore_gauge": (False, False),
    "steps.view_pull": (0.0, 0.0),
    "steps.light_pull": (0.0, 0.0),
    "steps.view_spread_weight": (0.0, 0.0),
    "steps.mask_weight": (0.0, 0.0),
    "steps.min_visible_area": (0.0, 0.0),
}
CATEGORIES, VIEW_SCALE = ("car", "head"), {"car": 1.0, "head": 1.2}


def value(config: ShapeConfig, key: str):
    section, _, name = key.rpartition(".")
    return getattr(getattr(config, section) if section else config, name)


@pytest.mark.parametrize("key", TABLE)
def test_each_constant_is_the_published_one(key: str) -> None:
    for category, expected in zip(CATEGORIES, TABLE[key], strict=True):
        found = value(category_config(category, "paper"), key)  # a bundled pack's calibration has been applied
        assert found == pytest.approx(expected) if isinstance(expected, float | tuple) else found == expected


@pytest.mark.parametrize("category", CATEGORIES)
def test_views_are_the_published_distribution(category: str) -> None:
    views, scale = category_config(category, "paper").views, (1.0, VIEW_SCALE[category], 1.0)
    angles_sd = [60 * s * math.sqrt(v) for s, v in zip(scale, VIEW_VARIANCE, strict=False)]
    assert [views.pitch_sd_deg, views.yaw_sd_deg, views.roll_sd_deg] == pytest.approx(angles_sd, rel=2e-3)
    assert views.mean_deg == pytest.approx([60 * s * m for s, m in zip(scale, VIEW_MEAN, strict=False)], rel=1e-3)
    assert views.mean_shift == pytest.approx([0.1 * m for m in VIEW_MEAN[3:5]], rel=1e-3)
    assert views.shift_sd == pytest.approx([0.1 * math.sqrt(v) for v in VIEW_VARIANCE[3:5]], rel=2e-3)
    assert views.yaw_shift_correlation == 0.998
    assert views.limit_sd >= 5  # the published Gaussian has no limit: 6 samples in ten million lie beyond


def test_samples_have_the_configured_moments() -> None:
    config = category_config("car", "paper").views
    views = sample_views(40_000, config, torch.Generator().manual_seed(0))
    degrees, shifts = views[:, :3] * (180 / math.pi), views[:, 3:5]
    sds = torch.tensor([config.pitch_sd_deg, config.yaw_sd_deg, config.roll_sd_deg])
    torch.testing.assert_close(degrees.std(0), sds, rtol=0.02, atol=0)
    torch.testing.assert_close(degrees.mean(0), torch.tensor(config.mean_deg), atol=0.2, rtol=0)
    torch.testing.assert_close(shifts.std(0), torch.tensor(config.shift_sd), rtol=0.02, atol=0)
    assert torch.corrcoef(views[:, [1, 3]].t())[0, 1].item() == pytest.approx(0.998, abs=2e-3)
    assert (views[:, 5] == 0).all()


@pytest.mark.parametrize("category", CATEGORIES)
def test_lights_are_the_published_box_and_mean_with_lx_and_ly_negated(category: str) -> None:
    lights, (x0, x1, y0, y1, r0, r1, alpha) = category_config(category, "paper").lights, RAND_LIGHT
    assert (lights.lx, lights.ly, lights.gain, lights.alpha) == ((-x1, -x0), (-y1, -y0), (r0, r1), alpha)
    ambient, diffuse, lx, ly = LIGHT_MEAN
    assert lights.mean == pytest.approx((ambient / 2 + 0.5, diffuse / 2 + 0.5, -lx, -ly))


def test_the_box_of_the_ellipsoid_grows_as_published() -> None:
    car, head = (category_config(category, "paper").initial.box_growth for category in CATEGORIES)
    box = (10.0, 20.0, 34.0, 44.0)  # 24 wide, 24 high
    assert grown_box(box, car, 64) == pytest.approx((10, 20, 34, 48), abs=1e-4)
    assert grown_box(box, head, 64) == pytest.approx((12, 20, 32, 64), abs=1e-4)
    assert grown_box((10.0, 20.0, 34.0, 62.0), car, 64)[3] == 64


def test_the_optimiser_is_that_of_the_paper() -> None:
    plan = step_plan("joint", 50, category_config("car", "paper").steps)
    assert (plan.betas, plan.coupled_decay, plan.weight_decay) == ((0.9, 0.999), 5e-4, 0.0)
    assert {value_at(plan.stages[0].lr, step, 50) for step in (0, 25, 49)} == {1e-4}


def test_flips_are_for_stage_1_only() -> None:
    config = category_config("head", "paper")
    assert [JointOptions.of(config, stage).flip_weight for stage in (0, 1, 3)] == [1.0, 0.0, 0.0]


# --------------------------------------------------------------------------------------------- losses and a tiny run

SETTINGS = ("steps_scale=0.001", "steps.batch=4", "n_stages=2", f"render.resolution={SIZE}")
TINY = compose(ShapeConfig, "head", "paper", SETTINGS).scaled()


@pytest.fixture(scope="module")
def setup():
    """Generator with an encoder that must not be asked, target, state, samples."""
    generator = with_encoder(tiny_generator())
    observation = tiny_observation(generator)
    target, state = make_target(observation), new_state(TINY, 8, "cpu")
    samples = collect(state, target, observation.latent, generator, TINY, torch.Generator().manual_seed(0))
    return generator, observation, target, state, samples


def second_differences(values: torch.Tensor) -> torch.Tensor:
    """S2: sum of the means of |dxx|, |dxy|, |dyx|, |dyy|."""
    dx, dy = values.diff(dim=-1), values.diff(dim=-2)
    return sum(d.abs().mean() for d in (dx.diff(dim=-1), dx.diff(dim=-2), dy.diff(dim=-1), dy.diff(dim=-2)))


@torch.no_grad()
def test_the_joint_loss_is_the_published_sum(setup) -> None:
    generator, _, target, state, samples = setup
    features, chosen = prior_features(generator.prior, 4), torch.arange(len(samples.images))
    model, image = state.model, target.image
    depth = model.depth(image)
    normals, lights = normals_from_depth(depth, 10.0), model.networks.lights(samples.images)
    own = model.networks.lights(image)
    views = model.networks.views(samples.images, image)
    shading = shade(normals, own)
    albedo = model.networks.albedo(target.surface, shading)
    seen = render(depth, albedo, shade(normals, lights), views, 10.0, target.canvas)
    flat = Canvas(target.canvas.mask.flip(-1), target.canvas.background)
    shade_flipped = shade(normals_from_depth(depth.flip(-1), 10.0), lights)
    flipped = render(depth.flip(-1), albedo.flip(-1), shade_flipped, views, 10.0, flat)

    def difference(made, wanted, masks):
        pixels = ((made - wanted).abs().mean(1, keepdim=True) * masks).sum() / masks.sum()
        return pixels + 0.5 * perceptual(made * masks, wanted * masks)

    def perceptual(made, wanted):
        pairs = list(zip(features(made), features(wanted), strict=True))
        return sum((a - b).abs().mean() / b.abs().mean() for a, b in pairs) / len(pairs)

    wanted = (
        difference(render_input_view(albedo, shading, target.canvas), image, target.canvas.mask)
        + sum(difference(one.image, samples.images, one.covered * samples.masks) for one in (seen, flipped))
        + 0.01 * second_differences(depth)
        + 0.01 * second_differences(diffuse_cosine(normals, own))
    )
    found = joint_loss(model, target, samples, chosen, features, TINY, JointOptions.of(TINY, 0), 1.0)[0]
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_smoothness_has_the_published_weight_at_every_resolution() -> None:
    from gan2shape.shape.losses import resolution_factor

    for size in (64, 128):
        assert resolution_factor(replace(TINY, render=replace(TINY.render, resolution=size))) == 1.0


@torch.no_grad()
def test_step_2_sums_masked_distances_of_the_discriminator_s_blocks(setup) -> None:
    generator, _, target, state, samples = setup
    features = prior_features(generator.prior, 4)
    assert len(features(target.image)) == min(4, len(generator.prior.discriminator.block_names))
    pseudo, _, _ = pseudo_samples(state.model, target, TINY, 4, torch.Generator().manual_seed(1))
    images, offset = samples.images, torch.full((4, 8), 0.5)
    masked = ((images - pseudo.image).abs().mean(1, keepdim=True) * pseudo.mask).sum() / pseudo.mask.sum()
    total = masked + 0.01 * 0.25
    for ours, theirs in zip(features(images), features(pseudo.image), strict=True):
        mask = torch.nn.functional.avg_pool2d(pseudo.mask, SIZE // ours.shape[-1])
        total += ((ours - theirs).abs().mean(1, keepdim=True) * mask).sum() / mask.sum()
    found = published_losses.projection_loss(images, offset, pseudo, features, TINY.steps)
    assert found.item() == pytest.approx(total.item(), rel=1e-5)


@torch.no_grad()
def test_e_works_through_three_mapping_layers_alone(setup) -> None:
    """w + F_back(E(x) - E(G(w)) + F_front(0)) - F(0), without E(G(w)) for cars; neither a pack's encoder nor masks."""
    generator, observation, target, state, samples = setup
    mapping, e = generator.prior.generator.mapping, state.encoder
    own = generator.prior.generator.synthesis(observation.latent)
    for relative in (True, False):
        config = replace(TINY, steps=replace(TINY.steps, relative_encoder=relative))
        hidden = e(samples.images) - (e(own) if relative else 0)
        zero = mapping.front(torch.zeros(1, 8), 3)
        wanted = observation.latent + mapping.tail(hidden + zero, 3) - mapping(torch.zeros(1, 8))
        found, _ = project(e, generator.prior, observation.latent, samples.images, target.image, config)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    pseudo, _, _ = pseudo_samples(state.model, target, TINY, 4, torch.Generator().manual_seed(1))
    masks = project_images(e, pseudo, target.image, observation.latent, generator, TINY)[1]
    assert torch.equal(masks, pseudo.mask)


def test_the_depth_network_is_fitted_to_the_ellipsoid(setup) -> None:
    _, _, target, _, _ = setup
    config = replace(TINY, ablation=replace(TINY.ablation, fit_steps=15), steps=replace(TINY.steps, lr=1e-3))
    ellipsoid = ellipsoid_depth(disc_mask(), config.initial, 10.0)
    model = new_state(config, 8, "cpu").model
    before = (model.free_depth(target.image) - ellipsoid).square().mean().item()
    model = fit_to_ellipsoid(model, target, config, 0.0, silent)
    after = (model.free_depth(target.image) - ellipsoid).square().mean().item()
    assert after < 0.5 * before
    depth = model.depth(target.image)
    assert torch.equal(depth[..., 2:-2], model.free_depth(target.image)[..., 2:-2])
    assert depth[..., :2].unique().tolist() == depth[..., -2:].unique().tolist() == pytest.approx([1.04])
    torch.testing.assert_close(model.base.initial, model.free_depth(target.image))


@pytest.mark.slow
def test_a_tiny_run_ends_finite_with_files_that_name_the_substitution(setup, tmp_path) -> None:
    generator, observation, *_ = setup
    made = reconstruct(observation, generator, TINY, silent)
    assert made.names == ("ellipsoid", "stage 1", "stage 2")
    for scene in made.scenes:
        assert all(bool(part.isfinite().all()) for part in (scene.depth, scene.albedo, scene.view, scene.light))
    files = made.export(tmp_path)
    assert {"mesh", "depth", "scene_npz", "report"} <= set(files)
    assert "take the place of LPIPS" in files["report"].read_text(encoding="utf-8")
