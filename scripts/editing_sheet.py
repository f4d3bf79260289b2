"""The picture in docs/editing.md: sample 0 of each bundled generator, not chosen, in six poses.

    python scripts/editing_sheet.py --out docs/editing.png

Rows: effect-3D and effect-GAN of each category. Columns: the input (below it the generator's own image of the latent),
yaw -20 and +20 degrees, seen from above, light from the left, the right and above.
"""

import argparse
import tempfile
from pathlib import Path

import torch

import gan2shape
from gan2shape.core.images import SheetLayout, contact_sheet, resized, to_uint8, write_png
from gan2shape.edit.controls import LIGHTS, Pose
from gan2shape.edit.effects import effect_of, project_poses, render_poses
from gan2shape.shape.read_light import with_read_light

CATEGORIES = ("car", "head")
SEED, TILE_PX = 0, 128
POSES = {
    "yaw -20": Pose(yaw_deg=-20),
    "yaw +20": Pose(yaw_deg=20),
    "pitch +15": Pose(pitch_deg=15),
    "light left": Pose(direction=LIGHTS["left"]),
    "light right": Pose(direction=LIGHTS["right"]),
    "light above": Pose(direction=LIGHTS["above"]),
}


def rows_of(category: str) -> tuple[torch.Tensor, list[str]]:
    """Pictures of one sample, two rows, with their labels."""
    made = with_read_light(gan2shape.reconstruct(category=category, seed=SEED))
    rendered = render_poses(made, list(POSES.values()))
    through = project_poses(made, rendered, list(POSES.values()))
    own = effect_of(made, Pose()).images
    images = torch.cat([made.observation.image, through.rendered.image, own, through.images])
    labels = ["input", *(f"3D, {name}" for name in POSES), "G(w)", *(f"GAN, {name}" for name in POSES)]
    return images, labels


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "editing.png")
    given = parser.parse_args()
    parts = [rows_of(category) for category in CATEGORIES]
    images = torch.cat([images for images, _ in parts])
    labels = [label for _, part in parts for label in part]
    tiles = to_uint8(resized(images, TILE_PX, "bicubic"))
    write_png(given.out, contact_sheet(tiles, labels, len(POSES) + 1, SheetLayout()))


if __name__ == "__main__":
    main()
