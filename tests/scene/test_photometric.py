"""Normals from pictures under known lights, and the depth that has them: surfaces whose form is known."""

import math

import pytest
import torch

from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.photometric import depth_steps, depth_with_normals, photometric_normals

SIZE = 48


def rows_and_columns() -> tuple[torch.Tensor, torch.Tensor]:
    at = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return at[:, None].expand(SIZE, SIZE), at.expand(SIZE, SIZE)


def disc(radius: float = 0.8) -> torch.Tensor:
    down, right = rows_and_columns()
    return ((right**2 + down**2) < radius**2).float()[None, None]


def cap(height: float) -> torch.Tensor:
    """An ellipsoid's cap in front of a plane, depth about 1."""
    down, right = rows_and_columns()
    return (1.02 - height * (1 - 0.7 * (right**2 + down**2)).clamp_min(0.05).sqrt())[None, None]


def ripples(height: float = 0.0015, waves: float = 5.0) -> torch.Tensor:
    down, right = rows_and_columns()
    return (height * torch.sin(waves * math.pi * right) * torch.cos(waves * math.pi * down))[None, None]


def sixteen_lights() -> torch.Tensor:
    across, down = torch.meshgrid(torch.linspace(-0.8, 0.8, 4), torch.linspace(-0.8, 0.4, 4), indexing="ij")
    strengths = torch.tensor([0.45, 0.5]).expand(16, 2)
    return torch.cat([strengths, torch.stack([across.flatten(), down.flatten()], 1)], 1)


def pictures(normals: torch.Tensor, lights: torch.Tensor) -> torch.Tensor:
    """Under an albedo that differs from pixel to pixel."""
    albedo = 0.3 + 0.6 * torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return albedo * shade(normals, lights)


def angle_deg(one: torch.Tensor, other: torch.Tensor, mask: torch.Tensor) -> float:
    angles = torch.rad2deg(torch.atan2(torch.cross(one, other, dim=1).norm(dim=1), (one * other).sum(1)))
    return float(angles[mask[:, 0] > 0.5].mean())


def spread(error: torch.Tensor, mask: torch.Tensor) -> float:
    """Root mean square inside, without the mean."""
    inside = error[mask > 0.5]
    return float((inside - inside.mean()).square().mean().sqrt())


def test_normals_of_an_ellipsoid_come_back_from_its_pictures_whatever_its_albedo() -> None:
    true, flat = normals_from_depth(cap(0.06)), normals_from_depth(cap(0.02))
    found = photometric_normals(pictures(true, sixteen_lights()), sixteen_lights(), flat, 1e-5)
    assert angle_deg(flat, true, disc()) > 10
    assert angle_deg(found, true, disc()) < 0.2
    torch.testing.assert_close(found.norm(dim=1), torch.ones(1, SIZE, SIZE))


def test_shadows_of_the_surface_itself_are_understood() -> None:
    lights = sixteen_lights()
    lights[:, 2:] *= 2.5  # so low that slopes turn away from many of them
    true = normals_from_depth(cap(0.06))
    assert float((shade(true, lights) <= lights[0, 0] + 1e-6).float().mean()) > 0.05
    found = photometric_normals(pictures(true, lights), lights, normals_from_depth(cap(0.04)), 1e-5)
    assert angle_deg(found, true, disc()) < 0.5


def test_two_pictures_that_are_wrong_do_little_harm() -> None:
    true, lights = normals_from_depth(cap(0.06)), sixteen_lights()
    seen = pictures(true, lights)
    seen[[3, 12]] = (seen[[3, 12]] + 0.4).clamp(0, 1)
    found = photometric_normals(seen, lights, normals_from_depth(cap(0.03)), 1e-5)
    assert angle_deg(found, true, disc()) < 2.0


def test_great_nearness_keeps_the_initial_normals() -> None:
    true, start = normals_from_depth(cap(0.06)), normals_from_depth(cap(0.03))
    found = photometric_normals(pictures(true, sixteen_lights()), sixteen_lights(), start, 1e4)
    assert angle_deg(found, start, disc()) < 0.05


@pytest.mark.parametrize("fov_deg", [10.0, 40.0])
def test_steps_of_log_depth_are_the_inverse_of_normals(fov_deg: float) -> None:
    depth = cap(0.05) + ripples()
    right, down = depth_steps(normals_from_depth(depth, fov_deg), fov_deg)
    log, inner = depth.log(), slice(2, -2)
    across, along = (log[..., 2:] - log[..., :-2]) / 2, (log[..., 2:, :] - log[..., :-2, :]) / 2
    torch.testing.assert_close(right[..., inner, inner], across[..., inner, 1:-1], rtol=0, atol=6e-6)
    torch.testing.assert_close(down[..., inner, inner], along[..., 1:-1, inner], rtol=0, atol=6e-6)


def test_fine_form_comes_from_normals_and_coarse_form_stays() -> None:
    mask, (_, right) = disc(), rows_and_columns()
    truth = cap(0.05) + ripples()
    coarse_error = 0.01 * right[None, None]
    given = cap(0.05) + coarse_error
    found = depth_with_normals(given, normals_from_depth(truth), mask, cutoff_px=4.0)
    inner = disc(0.6)
    assert spread(given - truth - coarse_error, inner) > 5e-4, "the ripples are missing"
    assert spread(found - truth - coarse_error, inner) < 2.5e-4, "they are there, and the tilt has stayed"
    assert spread(found - truth, inner) > 2e-3


def test_a_long_cutoff_takes_all_form_from_normals() -> None:
    truth = cap(0.05) + ripples()
    found = depth_with_normals(cap(0.02), normals_from_depth(truth), disc(), cutoff_px=200.0, n_steps=600)
    assert spread(cap(0.02) - truth, disc(0.7)) > 1.5e-3
    assert spread(found - truth, disc(0.7)) < 2e-4


def test_a_depth_with_its_own_normals_stays_and_so_does_all_beside_the_object() -> None:
    smooth = cap(0.05)
    kept = depth_with_normals(smooth, normals_from_depth(smooth), disc(), cutoff_px=3.0)
    assert float((kept - smooth).abs().max()) < 1e-4
    changed = depth_with_normals(smooth, normals_from_depth(smooth + ripples()), disc(0.5), cutoff_px=3.0)
    far = disc(0.7) < 0.5
    torch.testing.assert_close(changed[far], smooth[far], rtol=0, atol=1e-6)
    assert float((changed - smooth)[disc(0.4) > 0.5].abs().max()) > 3e-4
