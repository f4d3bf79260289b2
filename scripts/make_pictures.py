"""Contact sheets that show what the method does, uncurated: samples in order, and the median and the worst of an exam.

    python scripts/make_pictures.py --out docs/car_seeds.png --seeds runs/seeds-car --category car
    python scripts/make_pictures.py --out docs/car_exam.png --exam runs/bench-car-val-draft
    python scripts/make_pictures.py --out docs/some.png runs/0007-car-draft/scene.npz

--seeds  samples 0 to 7 of a category's generator; those that the folder does not hold yet are reconstructed first.
--exam   the objects of a finished `gan2shape bench shape --out FOLDER` whose SIDE at the end is the median
         (of an even count, the upper one) and the greatest.
files    scene.npz of runs, or SEED.npz of a benchmark folder.

One row an object: input, (true depth), depth, normals, shape from -40, -20, 20, 40 degrees, photo from -30, 30 degrees.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan2shape.api import run as run_request
from gan2shape.bench.table import read_objects
from gan2shape.core.compose import to_yaml
from gan2shape.core.config import RenderConfig
from gan2shape.core.files import write_text_atomic
from gan2shape.core.images import contact_sheet, to_uint8, write_png
from gan2shape.core.progress import open_reporter
from gan2shape.core.records import Scene
from gan2shape.core.requests import REQUEST_NAME, RunRequest
from gan2shape.core.resources import pack_dir
from gan2shape.export.pictures import (
    cut_out,
    depth_picture,
    normal_picture,
    on_paper,
)
from gan2shape.prior.cache import content_hash
from gan2shape.prior.open import open_prior
from gan2shape.scene.camera import yaw_views
from gan2shape.scene.canvas import Canvas, fill_background
from gan2shape.scene.light import normals_from_depth
from gan2shape.scene.render import render_scene

N_SEEDS = 8  # samples shown, from 0 on
CLAY_YAWS_DEG, PHOTO_YAWS_DEG = (-40.0, -20.0, 20.0, 40.0), (-30.0, 30.0)
MADE_BY_NAME = "made_by.yaml"  # beside a sample's files: which weights and settings made them
CLAY_LIGHT = (0.25, 0.75, -0.5, -0.5)  # a light from above left shows the shape
CLAY_ALBEDO = 0.6
TILE_PX = 128  # least width of a tile on the sheet


@dataclass(frozen=True)
class Row:
    """One line of a sheet."""

    name: str  # under its first picture
    path: Path  # .npz with image, mask, depth, albedo, light, and true_depth, true_mask where they are known


def row_tiles(path: Path, render: RenderConfig) -> dict[str, np.ndarray]:
    """Pictures of one file by caption, uint8 [S, S, 3] each."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files if stored[name].dtype.kind == "f"}
    image, mask, depth = arrays["image"], arrays["mask"], arrays["depth"]
    tiles = {"input": to_uint8(image[0])}
    if "true_depth" in arrays:
        truth, true_mask = arrays["true_depth"], arrays["true_mask"]
        tiles["true depth"] = on_paper(cut_out(depth_picture(truth, true_mask), true_mask))
    tiles["depth"] = on_paper(cut_out(depth_picture(depth, mask), mask))
    tiles["normals"] = on_paper(cut_out(normal_picture(normals_from_depth(depth, render.fov_deg)), mask))
    clay = Scene(depth, torch.full_like(image, CLAY_ALBEDO), torch.zeros(1, 6), torch.tensor([CLAY_LIGHT]))
    photo = Scene(depth, arrays["albedo"], torch.zeros(1, 6), arrays["light"])
    tiles |= rotated(clay, mask, torch.ones_like(image), CLAY_YAWS_DEG, render, "shape")
    return tiles | rotated(photo, mask, fill_background(image, mask), PHOTO_YAWS_DEG, render, "photo")


def rotated(
    scene: Scene, mask: Tensor, background: Tensor, yaws_deg: tuple[float, ...], render: RenderConfig, what: str
) -> dict[str, np.ndarray]:
    """The scene at several yaws, by caption."""
    views = yaw_views(yaws_deg, scene.depth)
    lights = scene.light.expand(len(views), 4)
    rendered = render_scene(scene, views, lights, render.fov_deg, Canvas(mask, background))
    names = [f"{what} {yaw:+.0f}°" for yaw in yaws_deg]
    return dict(zip(names, (to_uint8(image) for image in rendered.image), strict=True))


def whole_sheet(rows: list[Row], render: RenderConfig) -> np.ndarray:
    """Every row under the one before, uint8 [H, W, 3]; the first caption of a row is its name."""
    tiles, labels, n_columns = [], [], 0
    for row in rows:
        made = row_tiles(row.path, render)
        if n_columns and len(made) != n_columns:
            raise SystemExit(f"{row.path} shows {len(made)} pictures, the first file {n_columns}: do not mix kinds.")
        n_columns = len(made)
        labels += [row.name, *list(made)[1:]]
        tiles += [grown(tile) for tile in made.values()]
    return contact_sheet(tiles, labels, n_columns)


def grown(tile: np.ndarray) -> np.ndarray:
    """Each pixel repeated until the tile is at least TILE_PX wide."""
    times = max(1, -(-TILE_PX // tile.shape[0]))
    return tile.repeat(times, 0).repeat(times, 1)


# ---------------------------------------------------------------------------------------------------- what is shown


def seed_rows(folder: Path, category: str, preset: str, n_seeds: int = N_SEEDS) -> list[Row]:
    """Samples 0 to n_seeds - 1, all of them; what these weights and settings have not put into `folder` yet is
    reconstructed now.
    """
    wanted = f"weights: {content_hash(pack_dir(category))}\n{to_yaml(open_prior(category, preset=preset)[1])}"
    rows = []
    for seed in range(n_seeds):
        out = folder / f"seed-{seed}"
        made_by, stored = out / MADE_BY_NAME, out / REQUEST_NAME
        if stored.is_file():
            before = json.loads(stored.read_text(encoding="utf-8"))
            if (before["category"], before["preset"], before["seed"]) != (category, preset, seed):
                raise SystemExit(f"{out} holds another run: choose another folder.")
        if not made_by.is_file() or made_by.read_text(encoding="utf-8") != wanted:
            out.mkdir(parents=True, exist_ok=True)
            with open_reporter() as report:
                run_request(RunRequest(category, preset, seed=seed, out=out), report)
            write_text_atomic(made_by, wanted)
        rows.append(Row(f"{category}, seed {seed}", out / "scene.npz"))
    return rows


def exam_rows(folder: Path) -> list[Row]:
    """The median and the worst object by SIDE at the end."""
    objects = read_objects(folder)
    if not objects:
        raise SystemExit(f"{folder} holds no scores: name the --out folder of `gan2shape bench shape`.")
    last = [name for name in next(iter(objects.values())) if name != "observation"][-1]
    order = sorted(objects, key=lambda seed: (objects[seed][last]["side"], seed))
    chosen = {"median": order[len(order) // 2], "worst": order[-1]}
    return [
        Row(f"{name}: SIDE {objects[seed][last]['side']:.2f}", folder / f"{seed}.npz") for name, seed in chosen.items()
    ]


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", type=Path, metavar="FOLDER", help="its folders seed-0, … seed-7 are used or made")
    parser.add_argument("--category", default="car", help="of --seeds")
    parser.add_argument("--preset", default="draft", help="of --seeds")
    parser.add_argument("--exam", type=Path, metavar="FOLDER", help="the --out folder of `gan2shape bench shape`")
    options = parser.parse_args()
    if sum(map(bool, (options.files, options.seeds, options.exam))) != 1:
        parser.error("give files, or --seeds, or --exam")
    if options.seeds:
        rows = seed_rows(options.seeds, options.category, options.preset)
    elif options.exam:
        rows = exam_rows(options.exam)
    else:
        rows = [Row(path.parent.name if path.stem == "scene" else path.stem, path) for path in options.files]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(options.out, whole_sheet(rows, RenderConfig()))


if __name__ == "__main__":
    main()
