"""The natural rendering: sizes and depths under any field of view, gloss, occlusion and shadows by closed forms."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import light_direction
from gan2shape.synth.backdrop import sample_backdrop
from gan2shape.synth.dataset import prerender, render_set, training_images
from gan2shape.synth.natural import (
    NaturalLook,
    camera_points,
    distance_of,
    render_natural,
    sample_look,
    to_linear,
    to_stored,
)
from gan2shape.synth.objects import ObjectMesh
from gan2shape.synth.occlusion import PICTURE_WIDTH, ambient_occlusion, cast_shadow
from gan2shape.synth.render import render_object, sample_surfaces
from tests.synth.test_render import sphere

LIGHT = torch.tensor([[0.4, 0.6, -0.3, -0.5]])
FRONT = torch.zeros(1, 6)
PLAIN_LOOK = NaturalLook(
    seed=0, fov_deg=10.0, key_rgb=(1.0, 1.0, 1.0), sky_rgb=(1.0, 1.0, 1.0), fill=1.0, exposure=1.0, gloss=0.0,
    hardness=10.0, coat=0.0, occlusion=0.0, shadow=0.0, noise=0.0, jpeg_quality=95,
)  # fmt: skip


def facing(squares: list[tuple[float, float, float, float]]) -> ObjectMesh:
    """Squares that face the camera: (x, y of the middle, z, half side)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    points = [np.column_stack([corners * half + [x, y], np.full(4, z)]) for x, y, z, half in squares]
    faces = np.concatenate([np.array([[0, 2, 1], [0, 3, 2]]) + 4 * i for i in range(len(squares))])
    normals = np.broadcast_to(np.array([0, 0, -1], np.float32), (len(faces), 3, 3)).copy()
    return ObjectMesh(
        np.concatenate(points).astype(np.float32), faces, np.full((len(faces), 3), 0.5, np.float32), normals
    )


@pytest.mark.parametrize("fov_deg", [10.0, 20.0, 30.0])
def test_an_object_keeps_its_size_and_its_depth_under_every_field_of_view(fov_deg):
    radius, size = 0.06, 128
    look = replace(PLAIN_LOOK, fov_deg=fov_deg)
    truth = render_natural([sphere(radius)], FRONT, LIGHT, [look], size)
    away = np.tan(np.deg2rad(5)) / np.tan(np.deg2rad(fov_deg / 2))
    assert distance_of(fov_deg) == pytest.approx(away)
    focal = size / 2 / np.tan(np.deg2rad(fov_deg) / 2)
    outline = focal * radius / np.sqrt(away**2 - radius**2)  # pixels
    assert np.sqrt(truth.mask.sum().item() / np.pi) == pytest.approx(outline, rel=3e-3)
    # the ray through pixel 64 is half a pixel off the axis
    assert truth.depth[0, 0, 64, 64].item() == pytest.approx(1 - radius, abs=1e-4)
    assert truth.depth[truth.hit].max().item() == pytest.approx(1 - radius**2 / away, abs=4e-3)
    assert np.sqrt(truth.mask.sum().item() / np.pi) == pytest.approx(radius / 0.175 * size, rel=0.03)


@pytest.mark.parametrize("fov_deg", [10.0, 30.0])
def test_camera_points_lie_on_the_sphere(fov_deg):
    away = distance_of(fov_deg)
    samples = sample_surfaces([sphere(0.06)], FRONT, 96, [fov_deg], [away])
    points = camera_points(samples, [fov_deg], [away]) - torch.tensor([0, 0, away])
    assert (points.norm(dim=1) - 0.06).abs().max() < 2e-4
    assert (torch.nn.functional.normalize(points, dim=1) * samples.normal).sum(1).min() > 0.99


def test_without_its_effects_it_is_lambert_in_linear_light():
    truth = render_natural([sphere()], FRONT, LIGHT, [PLAIN_LOOK], 64)
    plain = render_object(sphere(), FRONT, LIGHT, 64)
    inside = plain.mask[0, 0] == 1
    cosine = (plain.normals[0] * light_direction(LIGHT)[0][:, None, None]).sum(0).clamp(min=0)
    ambient = 0.4 * (1 - 0.25 * plain.normals[0, 1])
    expected = to_stored(to_linear(torch.tensor(0.5)) * (ambient + 0.6 * cosine))
    got = (truth.image[0].mean(0) + 1) / 2
    error = (got - expected).abs()[inside]
    assert error.median() < 0.01
    assert error.quantile(0.98) < 0.05  # JPEG


def test_gloss_brightens_the_mirror_direction_and_nothing_that_faces_away():
    dull, shiny = (
        render_natural([sphere()], FRONT, LIGHT, [replace(PLAIN_LOOK, gloss=gloss, hardness=60.0)], 64).image[0].mean(0)
        for gloss in (0.0, 0.5)
    )
    gain = shiny - dull
    row, column = divmod(int(gain.argmax()), 64)
    half = torch.nn.functional.normalize(light_direction(LIGHT)[0] + torch.tensor([0, 0, -1.0]), dim=0)
    px_per_unit = 64 / PICTURE_WIDTH
    assert column + 0.5 == pytest.approx(32 + 0.06 * half[0].item() * px_per_unit, abs=2)
    assert row + 0.5 == pytest.approx(32 + 0.06 * half[1].item() * px_per_unit, abs=2)
    assert gain.max() > 0.2
    assert gain[44:, 44:].abs().max() < 0.05


def test_a_cast_shadow_falls_where_the_light_says():
    """A small square before a large one: its shadow is shifted by the gap times the light's slope."""
    gap, half = 0.03, 0.015
    mesh = facing([(0.0, 0.0, 0.02, 0.07), (0.0, 0.0, 0.02 - gap, half)])
    light = torch.tensor([[0.4, 0.6, 0.6, -0.4]])
    samples = sample_surfaces([mesh], FRONT, 192, [10.0], [1.0])
    points = camera_points(samples, [10.0], [1.0])
    rotated = rotation(FRONT[:, :3])
    shadow = cast_shadow(samples, points, [mesh], rotated, FRONT[:, 3:], [1.0], light_direction(light))
    wall = samples.depth > 1.01
    x, y = points[:, 0], points[:, 1]
    # towards the light is (lx, ly, -1): what stands at point + gap * (lx, ly) on the small square casts on a point
    inside = ((x + gap * 0.6).abs() < half - 0.003) & ((y - gap * 0.4).abs() < half - 0.003) & wall
    outside = (((x + gap * 0.6).abs() > half + 0.003) | ((y - gap * 0.4).abs() > half + 0.003)) & wall
    assert inside.sum() > 50
    assert shadow[inside].min() == 1
    assert shadow[outside].max() == 0
    assert shadow[~wall].max() == 0  # nothing before the small square


def test_a_convex_object_casts_no_shadow_on_what_the_light_sees():
    ball = sphere(0.06)
    samples = sample_surfaces([ball], FRONT, 192, [20.0], [distance_of(20.0)])
    points = camera_points(samples, [20.0], [distance_of(20.0)])
    towards = light_direction(torch.tensor([[0.4, 0.6, 0.8, -0.8]]))
    shadow = cast_shadow(samples, points, [ball], rotation(FRONT[:, :3]), FRONT[:, 3:], [distance_of(20.0)], towards)
    cosine = samples.normal @ towards[0]
    assert shadow[cosine > 0.25].max() == 0
    assert shadow[cosine < -0.5].min() == 1  # nearer the terminator the receiver's bias lifts it out


def test_a_corner_is_darker_than_the_open_wall():
    wall = facing([(0.0, 0.0, 0.03, 0.08), (-0.04, 0.0, 0.0, 0.03)])
    samples = sample_surfaces([wall], FRONT, 192, [10.0], [1.0])
    occlusion = ambient_occlusion(samples)
    points = camera_points(samples, [10.0], [1.0])
    near = (points[:, 0] > -0.008) & (points[:, 0] < 0.0) & (points[:, 1].abs() < 0.02) & (samples.depth > 1.01)
    far = (points[:, 0] > 0.03) & (points[:, 0] < 0.06) & (points[:, 1].abs() < 0.02)
    assert occlusion[near].mean() > 0.25
    assert occlusion[far].max() < 0.05


def test_srgb_there_and_back():
    values = torch.linspace(0, 1, 101)
    torch.testing.assert_close(to_stored(to_linear(values)), values, atol=1e-5, rtol=0)
    assert to_linear(torch.tensor(0.5)).item() == pytest.approx(0.21404, abs=1e-4)


def test_seeds_fix_looks_and_backdrops():
    looks = [sample_look("face", seed) for seed in range(60)]
    assert sample_look("face", 3) == looks[3]
    assert sample_look("car", 3) != looks[3]
    fov = np.array([look.fov_deg for look in looks])
    assert fov.min() >= 10
    assert fov.max() <= 30
    assert np.ptp(fov) > 15
    for seed in range(20):
        one, same = (sample_backdrop(np.random.default_rng(seed), 32) for _ in range(2))
        np.testing.assert_array_equal(one, same)
        assert one.shape == (32, 32, 3)
        assert one.min() >= 0
        assert one.max() <= 1


@pytest.mark.parametrize("category", ["car", "face", "head"])
def test_both_renderings_show_the_same_object_under_the_same_view(category):
    seeds = [11, 12, 13]
    plain, natural = render_set(category, seeds), render_set(category, seeds, rendering="natural")
    assert torch.equal(plain.view, natural.view)
    assert torch.equal(plain.light, natural.light)
    both = (plain.truth.hit & natural.truth.hit).sum() / (plain.truth.hit | natural.truth.hit).sum()
    assert both > 0.85
    shared = plain.truth.hit & natural.truth.hit
    assert (plain.truth.depth - natural.truth.depth)[shared].abs().median() < 0.006
    assert len(set(natural.fov_deg)) == 3
    np.testing.assert_array_equal(training_images(category, seeds, rendering="natural"), to_uint8(natural.truth.image))
    alone = render_set(category, [12], rendering="natural")
    assert torch.equal(alone.truth.image[0], natural.truth.image[1])


def test_shards_of_the_two_renderings_do_not_mix(tmp_path):
    prerender("car", 2, 0, tmp_path, shard=2, workers=1)
    with pytest.raises(UserError, match="shards of other images"):
        prerender("car", 2, 0, tmp_path, shard=2, workers=1, rendering="natural")
    with pytest.raises(UserError, match="plain, natural"):
        prerender("car", 2, 0, tmp_path, shard=2, workers=1, rendering="oil")
    prerender("car", 2, 0, tmp_path / "natural", shard=2, workers=1, rendering="natural")
    images = np.load(tmp_path / "natural" / "images_00000.npy")
    assert not np.array_equal(images, np.load(tmp_path / "images_00000.npy"))
