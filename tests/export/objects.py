"""A half-ellipsoid on a far plane with a coloured albedo, as a bundle with known geometry."""

import torch

from gan2shape.core.records import Scene
from gan2shape.export.bundle import Bundle
from gan2shape.scene.light import apply_light, normals_from_depth, shade
from gan2shape.scene.render import render_scene

FOV_DEG = 10.0
VIEW = (0.03, -0.05, 0.0, 0.0, 0.0, 0.0)
LIGHT = (0.5, 0.6, 0.4, -0.7)


def ellipsoid(size: int = 64, height: float = 0.06, radius: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    """Depth [1,1,S,S] of a cap over a plane at 1.04 and its mask; taller than wide by 4:3."""
    at = (torch.arange(size) + 0.5) / size * 2 - 1
    r2 = (at[None, :] / (radius * 0.75)) ** 2 + (at[:, None] / radius) ** 2
    cap = (1 - r2).clamp(min=0).sqrt()
    depth = torch.where(r2 < 1, 1.02 - height * cap, torch.tensor(1.04))
    return depth[None, None], (r2 < 1).float()[None, None]


def paint(size: int = 64) -> torch.Tensor:
    """Albedo [1,3,S,S]: red grows to the right, green grows DOWN, blue in a band near the top."""
    ramp = torch.linspace(-0.8, 0.8, size)
    blue = torch.where(torch.arange(size) < size // 3, 0.6, -0.6)
    red, green, band = ramp.expand(size, size), ramp[:, None].expand(size, size), blue[:, None].expand(size, size)
    return torch.stack([red, green, band])[None]


def bundle(size: int = 64, **changes) -> Bundle:
    """A whole, consistent bundle: the image is the render."""
    depth, mask = ellipsoid(size)
    albedo, view, light = paint(size), torch.tensor([VIEW]), torch.tensor([LIGHT])
    normal = normals_from_depth(depth, FOV_DEG)
    shading = shade(normal, light)
    rendered = render_scene(Scene(depth, albedo, view, light), view, light, FOV_DEG)
    canonical = apply_light(albedo, shading)
    yaw = torch.linspace(-0.4, 0.4, 7)
    views = torch.zeros(7, 6)
    views[:, 1] = yaw
    spin = render_scene(Scene(depth, albedo, view, light), views, light.expand(7, -1), FOV_DEG).image.clamp(-1, 1)
    losses = [
        {"stage": stage, "step": step, "total": 1 / (step + 1), "pixel": 0.5 / (step + 2)}
        for stage in ("albedo 1", "projection 1", "joint 1")
        for step in range(0, 300, 5)
    ]
    values = {
        "category": "egg", "image": rendered.image.clamp(-1, 1), "mask": mask, "depth": depth, "albedo": albedo,
        "normal": normal, "shading": shading, "recon": canonical.clamp(-1, 1), "view": view, "light": light,
        "latent": torch.randn(1, 16), "fov_deg": FOV_DEG, "depth_half_range": 0.1,
        "strips": {"rotate_3d": spin, "rotate_gan": spin}, "losses": losses,
        "strip_labels": {"rotate_3d": [f"{float(a):+.0f}°" for a in yaw.rad2deg()]},
        "timings": {"invert": 12.3, "albedo": 4.5, "projection": 40.0, "joint": 33.3},
        "config_yaml": "category: egg\nn_stages: 2\n", "notes": ["A test object."],
    }  # fmt: skip
    return Bundle(**{**values, **changes})
