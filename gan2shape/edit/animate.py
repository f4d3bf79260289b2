"""Animations of an edit: one file for each effect."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import resized, to_uint8
from gan2shape.core.progress import Reporter, silent
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import BATCH, N_REFINE, Editable, own_of, project_poses, render_poses, with_own_detail
from gan2shape.edit.record import TILE_PX
from gan2shape.export.animation import write_animation


def write_animations(
    folder: Path,
    subject: Editable,
    poses: Sequence[Pose],
    offset: Float[Tensor, "1 *L D"] | None = None,
    ways: Sequence[str] = ("3d", "gan"),
    n_refine: int = N_REFINE,
    fps: int = 12,
    suffix: str = ".gif",
    report: Reporter = silent,
) -> dict[str, Path]:
    """`animation_3d` and `animation_gan` with a frame for each pose; short name -> path."""
    frames: dict[str, list[Tensor]] = {way: [] for way in ways}
    own = own_of(subject)
    for start in range(0, len(poses), BATCH):
        some = poses[start : start + BATCH]
        rendered = render_poses(subject, some)
        if "3d" in frames:
            frames["3d"].append(with_own_detail(rendered, some, own).image)
        if "gan" in frames:
            frames["gan"].append(project_poses(subject, rendered, some, offset, n_refine).images)
        report("frames", min(start + BATCH, len(poses)), len(poses))
    files = {}
    for way, parts in frames.items():
        images = torch.cat(parts).cpu()
        shown = to_uint8(resized(images, max(TILE_PX, images.shape[-1]), "bicubic"))
        name = f"animation_{way}"
        files[name] = write_animation(folder / f"{name}{suffix}", list(shown), fps)
    return files
