"""Learning from mirror images: planes are found again, a network learns, and nothing hides what it explains badly."""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.prior.scene import category_networks
from gan2shape.scene.camera import pixel_slopes
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.mirror import MirrorPlanes
from gan2shape.shape import symmetry
from gan2shape.shape.initialize import category_depth, mirror_mean_depth
from gan2shape.shape.pool import Pool
from gan2shape.shape.symmetry import (
    SymmetryPlan,
    find_planes,
    learn_round,
    learn_symmetry,
    mirror_errors,
    mirrored_pool,
    of_originals,
    planes_near,
    read_planes,
    symmetry_loss,
)
from tests.shape.tiny import CONFIG, SIZE, seeing_networks, tiny_generator, with_encoder

FOV_DEG, RADIUS = CONFIG.render.fov_deg, 0.055
YAWS_DEG = (-16.0, 0.0, 9.0, 20.0)
N = len(YAWS_DEG)
TURNED = torch.tensor(YAWS_DEG) != 0  # from the front, form shows in the light alone, and nothing is hidden
LIGHTS = torch.tensor([[0.45, 0.5, lx, -0.3] for lx in (0.5, -0.4, 0.2, 0.0)])
TRUE = MirrorPlanes(torch.tensor(YAWS_DEG).deg2rad(), torch.zeros(N), torch.zeros(N), LIGHTS)


def spheres() -> tuple[Pool, torch.Tensor]:
    """Spheres whose colours are alike on both sides of the planes TRUE, and their depths."""
    slopes = pixel_slopes(SIZE, FOV_DEG, torch.zeros(()))
    x, y = slopes.expand(N, SIZE, SIZE), slopes[:, None].expand(N, SIZE, SIZE)
    a, b = 1 + x.square() + y.square(), torch.ones(N, SIZE, SIZE)
    root = b.square() - a * (1 - RADIUS**2)
    hit = root > 0
    z = torch.where(hit, (b - root.clamp_min(0).sqrt()) / a, 1.06)
    yaw = TRUE.yaw_rad[:, None, None]
    aside = (x * z * yaw.cos() - (z - 1) * yaw.sin()).abs() / RADIUS
    albedo = 0.5 + 0.3 * torch.stack([(5 * aside).cos(), (y * z * 60).sin(), (3 * aside + 1).sin()], 1)
    depth, masks = z[:, None], hit[:, None].float()
    colours = albedo * shade(normals_from_depth(depth, FOV_DEG), LIGHTS) * 2 - 1
    images, latents = masks * colours, torch.zeros(N, 8)
    return Pool(images, masks, latents, latents, torch.zeros_like(colours), colours), depth


@pytest.fixture
def networks():
    return seeing_networks()


def error(depth: torch.Tensor, seen_by: torch.Tensor | None = None, planes: MirrorPlanes = TRUE) -> torch.Tensor:
    plan = SymmetryPlan(greatest_error=10.0)
    return mirror_errors(spheres()[0], depth, depth if seen_by is None else seen_by, planes, CONFIG, plan)


def test_the_error_is_least_at_the_truth() -> None:
    truth = spheres()[1]
    least = error(truth)
    assert (least < 0.02).all()
    for wrong in (1 + 0.5 * (truth - 1), 1 + 1.5 * (truth - 1)):
        assert (error(wrong) > 1.5 * least)[TURNED].all()
        assert error(wrong).mean() > 1.8 * least.mean()


def test_a_depth_cannot_hide_what_it_explains_badly() -> None:
    truth = spheres()[1]
    crumpled = truth + 0.02 * torch.linspace(0, 40, SIZE).sin()
    hidden, shown = error(crumpled), error(crumpled, truth)
    assert (shown > 1.5 * hidden)[TURNED].all()  # by its own word much of it is out of sight
    assert (shown > 2 * error(truth)).all()


def test_errors_of_colours_that_have_no_mirror_image_are_bounded() -> None:
    pool, truth = spheres()
    parted = replace(pool, surfaces=pool.surfaces.clone())
    parted.surfaces[..., : SIZE // 2] = 1.0
    parted.surfaces[..., SIZE // 2 :] = -1.0
    bounded, free = (
        mirror_errors(parted, truth, truth, TRUE, CONFIG, SymmetryPlan(greatest_error=most)) for most in (0.1, 10.0)
    )
    assert (bounded <= 0.1).all()
    assert (free > 0.3).all()


def test_planes_and_lights_are_found_again() -> None:
    pool, truth = spheres()
    away = torch.tensor([4.0, -3.0, 5.0, -5.0]).deg2rad()
    read = MirrorPlanes(TRUE.yaw_rad + away, TRUE.pitch_rad, TRUE.offset, LIGHTS + torch.tensor([0.0, 0.0, 0.2, 0.0]))
    plan = SymmetryPlan(n_plane_steps=80, form_weight=0.0, pose_pull=1e-4, light_pull=1e-3)
    found = planes_near(pool, truth, read, read, CONFIG, plan)
    assert float((found.yaw_rad - TRUE.yaw_rad).abs().max()) < math.radians(1.5)
    assert float((found.lights - LIGHTS)[:, 2].abs().mean()) < 0.4 * 0.2  # of the error that was read
    assert not found.yaw_rad.requires_grad
    held = planes_near(pool, truth, read, read, CONFIG, replace(plan, pose_pull=1e3, light_pull=1e3))
    assert float((held.yaw_rad - read.yaw_rad).abs().max()) < math.radians(0.5)  # near what was read
    begun = planes_near(pool, truth, read, TRUE, CONFIG, replace(plan, n_plane_steps=1, plane_lr=1e-6))
    torch.testing.assert_close(begun.yaw_rad, TRUE.yaw_rad, atol=1e-4, rtol=0)  # from where the last round left them


def test_headings_are_half_of_the_turn_to_the_mirror_image(networks) -> None:
    pool, generator = spheres()[0], with_encoder(tiny_generator())
    read = read_planes(networks, pool, generator)
    own, other = networks.view_net(pool.images), networks.view_net(pool.images.flip(-1))
    torch.testing.assert_close(read.yaw_rad, -networks.relative_views(other, own)[:, 1] / 2)
    of_mirror_images = read_planes(networks, mirrored_pool(pool), generator)
    for name in ("yaw_rad", "pitch_rad", "lights"):
        torch.testing.assert_close(getattr(of_mirror_images, name), getattr(read.of_mirror_images(), name))


def test_a_network_learns_to_explain_mirror_images(networks) -> None:
    pool, truth = spheres()
    plan = SymmetryPlan(n_steps=120, batch=4, lr=3e-3, average_decay=0.9, stay_weight=0.0, greatest_error=10.0)

    def figures(known) -> tuple[float, float]:
        with torch.no_grad():
            depth = mirror_mean_depth(known, pool.images)
        apart = depth - truth
        inside = pool.masks / pool.masks.sum((1, 2, 3), keepdim=True)
        apart = apart - (inside * apart).sum((1, 2, 3), keepdim=True)
        return error(depth).mean().item(), (inside * apart.square()).sum((1, 2, 3)).sqrt().mean().item()

    before = figures(networks)
    learnt = learn_round(networks, networks, pool, TRUE, CONFIG, plan, 0, "symmetry")
    after = figures(learnt)
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.8 * before[1]  # and is nearer to the true depth, which it has not seen
    for name in ("view_net", "light_net"):
        for one, other in zip(getattr(learnt, name).parameters(), getattr(networks, name).parameters(), strict=True):
            assert torch.equal(one, other)
    assert not any(one.requires_grad for one in learnt.parameters())


def test_the_loss_is_that_of_its_terms(networks) -> None:
    pool = spheres()[0]
    bare = SymmetryPlan(stay_weight=0.0, smooth_weight=0.0)
    with torch.no_grad():
        depth, settled = category_depth(networks, pool.images), mirror_mean_depth(networks, pool.images)
        alone = symmetry_loss(networks, networks, networks, pool, TRUE, CONFIG, bare)
        torch.testing.assert_close(alone, mirror_errors(pool, depth, settled, TRUE, CONFIG, bare).mean())
        other = category_networks(CONFIG)
        losses = [
            symmetry_loss(networks, networks, first, pool, TRUE, CONFIG, replace(bare, stay_weight=1.0)).item()
            for first in (networks, other)
        ]
        assert losses[1] > losses[0] + 0.01  # another depth than the first network's costs
        rough = symmetry_loss(networks, networks, networks, pool, TRUE, CONFIG, replace(bare, smooth_weight=1.0))
        assert rough > alone


def test_originals_take_the_place_of_reproductions() -> None:
    pool = spheres()[0]
    given = replace(pool, originals=(pool.images + 0.1 * pool.masks).clamp(-1, 1))
    read = of_originals(given)
    assert torch.equal(read.images, given.originals)
    inside = pool.masks.expand_as(read.surfaces) > 0
    torch.testing.assert_close(read.surfaces[inside], given.originals[inside])
    assert of_originals(pool) is pool


def test_a_plane_is_that_of_the_depth_itself() -> None:
    pool, truth = spheres()
    ramp = 0.2 * torch.linspace(-RADIUS, RADIUS, SIZE)  # a slope sideways, as if the object were turned
    flat = replace(pool, surfaces=torch.zeros_like(pool.surfaces))
    slab = 1 + ramp.expand_as(truth)
    dull = torch.tensor([0.6, 0.0, 0.0, 0.0]).expand(N, -1)  # no shading, no print: form alone
    nothing = MirrorPlanes(torch.zeros(N), torch.zeros(N), torch.zeros(N), dull)
    plan = SymmetryPlan(n_plane_steps=150, form_weight=30.0, pose_pull=0.0)
    found = planes_near(flat, slab, nothing, nothing, CONFIG, plan)
    slope = 0.2 * RADIUS / (math.tan(math.radians(FOV_DEG) / 2))  # of depth per length
    assert found.yaw_rad.rad2deg().tolist() == pytest.approx([-math.degrees(math.atan(slope))] * N, abs=1.5)
    free = planes_near(flat, slab, nothing, nothing, CONFIG, replace(plan, form_weight=0.0))
    assert float(free.yaw_rad.abs().max()) < math.radians(1.0)


def test_every_round_finds_its_planes_anew_and_begins_at_the_last(networks, monkeypatch) -> None:
    pool, generator, begun, told = spheres()[0], with_encoder(tiny_generator()), [], []
    known = symmetry.planes_near

    def watched(some, depth, read, last, config, plan):
        begun.append((depth, read.yaw_rad, last.yaw_rad))
        return known(some, depth, read, last, config, plan)

    monkeypatch.setattr(symmetry, "planes_near", watched)
    plan = SymmetryPlan(n_rounds=2, n_plane_steps=3, n_steps=2, batch=2, lr=1e-2)
    learnt = learn_symmetry(
        networks, pool, generator, CONFIG, plan, lambda name, done, n, **further: told.append((name, done, n))
    )
    (depth, read, last), (later_depth, later_read, later_last) = begun
    assert torch.equal(read, last)
    assert torch.equal(later_read, read)
    assert not torch.equal(later_last, read)
    assert not torch.equal(depth, later_depth)
    assert ("symmetry 1/2, planes", N, N) in told
    assert ("symmetry 2/2, planes", N, N) in told
    again = learn_symmetry(networks, pool, generator, CONFIG, plan)
    for one, other in zip(learnt.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_planes_come_in_the_order_of_the_images(networks, monkeypatch) -> None:
    pool = spheres()[0]
    monkeypatch.setattr(symmetry, "POOL_BATCH", 3)
    plan = SymmetryPlan(n_plane_steps=2)
    found = find_planes(networks, pool, TRUE, TRUE, CONFIG, plan, "symmetry")
    row = torch.tensor([3])
    one = find_planes(networks, pool.pick(row), TRUE.pick(row), TRUE.pick(row), CONFIG, plan, "symmetry")
    torch.testing.assert_close(found.yaw_rad[3:], one.yaw_rad)
    torch.testing.assert_close(found.lights[3:], one.lights)


def test_a_loss_that_is_not_finite_is_one_sentence(networks) -> None:
    pool = spheres()[0]
    broken = replace(pool, surfaces=torch.full_like(pool.surfaces, math.nan))
    with pytest.raises(UserError, match="lower"):
        learn_symmetry(networks, broken, with_encoder(tiny_generator()), CONFIG, SymmetryPlan(n_rounds=1, n_steps=1))
