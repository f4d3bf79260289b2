"""Contact sheets from finished runs and benchmark objects: what the README shows, made from files alone.

    for s in 0 1 2 3 4 5 6 7; do gan2shape run --category car --seed $s --out runs/seed-$s; done
    python scripts/make_pictures.py --out docs/car_seeds.png runs/seed-?/scene.npz
    python scripts/make_pictures.py --out docs/car_exam.png runs/bench-car-val-draft/1000003.npz

One row a file: input, (true depth), depth, normals, shape from -40, -20, 20, 40 degrees, photo from -30 and 30 degrees.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan2shape.config import RenderConfig
from gan2shape.export.pictures import depth_picture, normal_picture, to_uint8, write_png
from gan2shape.records import Scene
from gan2shape.scene.light import normals_from_depth
from gan2shape.shape.draw import Canvas, draw_scene, fill_background
from gan2shape.shape.effects import yaw_views

CLAY_YAWS_DEG, PHOTO_YAWS_DEG = (-40.0, -20.0, 20.0, 40.0), (-30.0, 30.0)
CLAY_LIGHT = (0.25, 0.75, -0.5, -0.5)  # a lamp from above left shows relief
SCALE = 2  # pixels of the sheet per pixel


def row(path: Path, render: RenderConfig) -> np.ndarray:
    """Pictures of one file, side by side, uint8 [S, columns S, 3]."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    image, mask, depth = arrays["image"], arrays["mask"], arrays["depth"]
    cells = [to_uint8(image[0])]
    if "true_depth" in arrays:
        cells.append(depth_picture(arrays["true_depth"], arrays["true_mask"]))
    cells += [depth_picture(depth, mask), normal_picture(normals_from_depth(depth, render.fov_deg))]
    clay = Scene(depth, torch.full_like(image, 0.6), torch.zeros(1, 6), torch.tensor([CLAY_LIGHT]))
    photo = Scene(depth, arrays["albedo"], torch.zeros(1, 6), arrays["light"])
    cells += turned(clay, mask, torch.ones_like(image), CLAY_YAWS_DEG, render)
    cells += turned(photo, mask, fill_background(image, mask), PHOTO_YAWS_DEG, render)
    return np.concatenate(cells, 1)


def turned(scene: Scene, mask: Tensor, background: Tensor, yaws: tuple[float, ...], render: RenderConfig) -> list:
    """The scene at several yaws, uint8 [S, S, 3] each."""
    views = yaw_views(yaws, "cpu")
    drawn = draw_scene(scene, Canvas(mask, background), views, scene.light.expand(len(views), 4), render)
    return [to_uint8(image) for image in drawn.image]


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, help="scene.npz of runs, or SEED.npz of a benchmark folder")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    sheet = np.concatenate([row(path, RenderConfig()) for path in options.files], 0)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(options.out, sheet.repeat(SCALE, 0).repeat(SCALE, 1))


if __name__ == "__main__":
    main()
