"""What a notebook shows of a result: the input, its normals, and the scene rotated and relit."""

from typing import TYPE_CHECKING

import torch

from gan2shape.core.images import to_float
from gan2shape.export.pictures import normal_picture, strip
from gan2shape.export.report import data_uri
from gan2shape.scene.light import normals_from_depth

if TYPE_CHECKING:
    from gan2shape.shape.reconstruct import Reconstruction

YAW_DEG = 25.0
SIDE_LIGHT = (0.3, 0.8, -0.8, -0.4)  # ambient, diffuse, lx, ly: from the left and above


def as_html(made: "Reconstruction") -> str:
    """Five pictures in a row, as one image inside the page."""
    normals = to_float(normal_picture(normals_from_depth(made.scene.depth, made.config.render.fov_deg))[None])
    shown = [
        made.observation.image.cpu(),
        normals,
        *(made.render(yaw_deg=yaw).image.cpu() for yaw in (-YAW_DEG, YAW_DEG)),
        made.render(light=SIDE_LIGHT).image.cpu(),
    ]
    labels = ("input", "normals", f"yaw {-YAW_DEG:g}", f"yaw {YAW_DEG:g}", "light from the left")
    return f'<img alt="{made.config.category}: {", ".join(labels)}" src="{data_uri(strip(torch.cat(shown), labels))}">'
