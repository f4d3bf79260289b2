"""Sets of synthetic images: with their truth for exams and pictures, or colour only for training.

Every image is a function of its category and one integer seed, whatever the set or the shard it is made in.
Seeds 0 ... 999 999 are for training; exams start at EXAM_FIRST_SEED.

    python -m gan2shape.synth.dataset --category car --count 48000 --out DIR --workers 2
"""

import argparse
import json
import multiprocessing
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_arrays_atomic, write_atomic, write_text_atomic
from gan2shape.core.images import SheetLayout, contact_sheet, to_uint8, write_png
from gan2shape.core.progress import PlainReporter, Reporter, silent
from gan2shape.core.records import LooseMesh
from gan2shape.synth.loose import object_of
from gan2shape.synth.natural import (
    NaturalLook,
    render_natural,
    render_natural_colour,
    render_natural_files,
    sample_look,
)
from gan2shape.synth.objects import CategorySpec, ObjectMesh
from gan2shape.synth.registry import get_category
from gan2shape.synth.render import (
    CHUNK,
    TruthRender,
    render_colour,
    render_objects,
    turntable_view,
)

RENDERINGS = "plain", "natural"
EXAM_FIRST_SEED = 1_000_000
SHARD = 1000  # images in a file of pre-rendered ones
SHARDS_NAME, CLASSES_KEY = "shards.json", "classes"  # beside them: what they show; names of their classes in it
SHEET_COLUMNS = 8
SHEET_LAYOUT = SheetLayout(gap_px=0, ink=(0, 0, 0), label_px=14, font_px=10, indent_px=4, scale=2)


@dataclass(frozen=True)
class SyntheticItem:
    """One object with the view, light and background it is seen under. Angles in radians."""

    seed: int
    params: Any  # the category's frozen dataclass of parameters
    mesh: ObjectMesh
    azimuth_rad: float  # turntable angles, see `render.turntable_view`
    elevation_rad: float
    view: np.ndarray  # float32 [6], see `scene.camera`
    light: np.ndarray  # float32 [4], camera frame
    background: np.ndarray  # float32 [3], in [0, 1]


@dataclass(frozen=True)
class MeshOrigin:
    """What stands in the place of parameters where the object comes from a file."""

    mesh: str  # name of the file, without the ending
    category: str  # whose views and lights it is seen under


@dataclass(frozen=True)
class SyntheticSet:
    """Rendered items and their truth."""

    items: list[SyntheticItem]
    truth: TruthRender
    fov_deg: tuple[float, ...] = ()  # field of view of each image

    @property
    def view(self) -> torch.Tensor:
        """[B, 6], see `scene.camera`."""
        return torch.from_numpy(np.stack([item.view for item in self.items]))

    @property
    def light(self) -> torch.Tensor:
        """[B, 4], camera frame."""
        return torch.from_numpy(np.stack([item.light for item in self.items]))


def sample_item(spec: CategorySpec, seed: int) -> SyntheticItem:
    """The object, view, light and background of one seed. The object is sampled first: it alone fixes the mesh."""
    rng = np.random.default_rng([seed, zlib.crc32(spec.name.encode())])
    params = spec.sample(rng)
    return _seen(spec, rng, seed, params, spec.build(params))


def _seen(spec: CategorySpec, rng: np.random.Generator, seed: int, params: Any, mesh: ObjectMesh) -> SyntheticItem:
    """The object under the next view, light and background that the generator gives."""
    azimuth, elevation, roll = spec.views.sample(rng)
    light = spec.lights.sample(rng).astype(np.float32)
    low, high = np.array(spec.background_low), np.array(spec.background_high)
    background = (low + rng.uniform() * (high - low)).astype(np.float32)
    view = turntable_view(azimuth, elevation, roll).numpy()
    return SyntheticItem(seed, params, mesh, azimuth, elevation, view, light, background)


def render_set(category: str, seeds: list[int], size: int = 64, rendering: str = "plain") -> SyntheticSet:
    """Images and truth of the given seeds. Raises UserError for an unknown category or rendering."""
    spec = get_category(category)
    check_rendering(rendering)
    return render_items(spec, [sample_item(spec, seed) for seed in seeds], size, rendering)


def render_items(spec: CategorySpec, items: list[SyntheticItem], size: int, rendering: str) -> SyntheticSet:
    """Images and truth of items that are there already, as the category's own objects are rendered."""
    if check_rendering(rendering) == "natural":
        looks = [_look(spec, item.seed) for item in items]
        truth = render_natural(*_stack(items)[:3], looks, size)
        return SyntheticSet(items, truth, tuple(look.fov_deg for look in looks))
    truth = render_objects(*_stack(items), size=size, fov_deg=spec.fov_deg)
    return SyntheticSet(items, truth, (spec.fov_deg,) * len(items))


def natural_files(spec: CategorySpec, items: list[SyntheticItem], size: int) -> list[bytes]:
    """The JPEG files whose pixels the natural rendering of these items shows."""
    return render_natural_files(*_stack(items)[:3], [_look(spec, item.seed) for item in items], size)


def training_images(category: str, seeds: list[int], size: int = 64, rendering: str = "plain") -> np.ndarray:
    """uint8 [N, S, S, 3] of the given seeds: the same pixels as `render_set`, without the truth."""
    return images_and_styles(category, seeds, size, rendering)[0]


def images_and_styles(category: str, seeds: list[int], size: int, rendering: str) -> tuple[np.ndarray, list[str]]:
    """`training_images`, and each object's style."""
    spec, natural = get_category(category), check_rendering(rendering) == "natural"
    images, styles = np.empty((len(seeds), size, size, 3), np.uint8), []
    for i in range(0, len(seeds), CHUNK):
        items = [sample_item(spec, seed) for seed in seeds[i : i + CHUNK]]
        styles += [item.mesh.style for item in items]
        if natural:
            looks = [_look(spec, item.seed) for item in items]
            images[i : i + len(items)] = render_natural_colour(*_stack(items)[:3], looks, size)
        else:
            images[i : i + len(items)] = render_colour(*_stack(items), size=size, fov_deg=spec.fov_deg)
    return images, styles


def check_rendering(rendering: str) -> str:
    """The name of a rendering. Raises UserError for an unknown one."""
    if rendering not in RENDERINGS:
        raise UserError(f"There is no rendering '{rendering}'; choose one of {', '.join(RENDERINGS)}.")
    return rendering


def generate(
    category: str, count: int, seed: int, out_dir: str | Path, size: int = 64, rendering: str = "plain"
) -> Path:
    """Write `count` images with seeds seed, seed + 1, ...: `images/SEED.png`, `truth.npz` and `contact_sheet.png`.

    truth.npz: image, albedo float32 [N,3,S,S] in [-1,1]; depth, mask float32 [N,1,S,S]; hit bool; normals float32
    [N,3,S,S]; region uint8 [N,1,S,S] (numbers of objects.REGIONS); view float32 [N,6]; light [N,4]; fov_deg [N];
    turntable [N,2] radians; seed int64; style and params (JSON) strings.
    Returns `out_dir`. Raises UserError for an unknown category or rendering, or a count below 1.
    """
    _require_images(count)
    return write_set(render_set(category, list(range(seed, seed + count)), size, rendering), Path(out_dir))


def generate_from_meshes(
    meshes: list[LooseMesh],
    category: str,
    count: int,
    seed: int,
    out_dir: str | Path,
    size: int = 64,
    rendering: str = "plain",
) -> Path:
    """The files of `generate`, of meshes from elsewhere, one after the other and then again from the first.

    Views, lights and backgrounds are a category's; each image is a function of its mesh, the category and its seed.
    """
    _require_images(count)
    spec = get_category(category)
    objects = [object_of(mesh, spec.longest_side) for mesh in meshes[:count]]
    items = [mesh_item(spec, objects[i % len(objects)], seed + i) for i in range(count)]
    return write_set(render_items(spec, items, size, rendering), Path(out_dir))


def mesh_item(spec: CategorySpec, mesh: ObjectMesh, seed: int) -> SyntheticItem:
    """A given object under a view, light and background of the category, from a stream of their own."""
    rng = np.random.default_rng([seed, zlib.crc32(f"mesh {spec.name}".encode())])
    return _seen(spec, rng, seed, MeshOrigin(mesh.style, spec.name), mesh)


def _require_images(count: int) -> None:
    if count < 1:
        raise UserError(f"There is nothing to render with a count of {count}; ask for 1 or more images.")


def write_set(made: SyntheticSet, out_dir: Path) -> Path:
    """Pictures, truth and a contact sheet of a set."""
    pixels = to_uint8(made.truth.image)
    for item, picture in zip(made.items, pixels, strict=True):
        write_png(out_dir / "images" / f"{item.seed:07d}.png", picture)
    write_arrays_atomic(out_dir / "truth.npz", truth_arrays(made))
    sheet = contact_sheet(pixels, [item.mesh.style for item in made.items], SHEET_COLUMNS, SHEET_LAYOUT)
    write_png(out_dir / "contact_sheet.png", sheet)
    return out_dir


def truth_arrays(made: SyntheticSet) -> dict[str, np.ndarray]:
    """Everything known about a set, as arrays (the contents of truth.npz)."""
    truth = {name: getattr(made.truth, name).numpy() for name in TruthRender.__dataclass_fields__}
    return truth | {
        "view": made.view.numpy(),
        "light": made.light.numpy(),
        "fov_deg": np.array(made.fov_deg, np.float32),
        "turntable": np.array([[i.azimuth_rad, i.elevation_rad] for i in made.items], np.float32),
        "seed": np.array([i.seed for i in made.items], np.int64),
        "style": np.array([i.mesh.style for i in made.items]),
        "params": np.array([json.dumps(asdict(i.params), default=np.ndarray.tolist) for i in made.items]),
    }


def prerender(
    category: str,
    count: int,
    first_seed: int,
    out_dir: str | Path,
    shard: int = SHARD,
    workers: int = 2,
    size: int = 64,
    report: Reporter = silent,
    rendering: str = "plain",
    labels: bool = False,
) -> int:
    """Write seeds first_seed ... first_seed + count - 1 as uint8 shards `images_00000.npy` [shard, S, S, 3].

    labels: beside each shard `labels_00000.npy`, uint8 [shard], the number of each object's style; `shards.json` names
    the classes in their order. Shards that exist are kept, so an interrupted run resumes; each is written under another
    name first. Returns the number of shards written now. Raises UserError for an unknown category, one without styles
    where labels are wanted, exam seeds, and a folder with shards of another category, rendering, resolution, first
    seed or length, or without labels (`shards.json` says which they are).
    """
    spec = get_category(category)
    check_rendering(rendering)
    if labels and not spec.styles:
        raise UserError(f"Objects of {category} have no classes: leave out --labels.")
    if first_seed + count > EXAM_FIRST_SEED:
        raise UserError(f"Seeds from {EXAM_FIRST_SEED} on are kept for exams; choose a smaller first seed or count.")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    made_of = {"category": category, "size": size, "first_seed": first_seed, "shard": shard}
    if rendering != "plain":
        made_of["rendering"] = rendering
    if labels:
        made_of[CLASSES_KEY] = list(spec.styles)
    stamp_shards(out_dir, made_of)
    jobs = []
    for number, start in enumerate(range(first_seed, first_seed + count, shard)):
        path = out_dir / f"images_{number:05d}.npy"
        if not path.exists():
            jobs.append((category, start, min(shard, first_seed + count - start), path, size, rendering, labels))
    n_images, total = 0, sum(job[2] for job in jobs)
    for n_written in _run(jobs, workers):
        n_images += n_written
        report("images", n_images, total)
    return len(jobs)


def labels_beside(shard: Path) -> Path:
    """The file with the classes of a shard's images."""
    return shard.with_name(shard.name.replace("images", "labels", 1))


def stamp_shards(folder: Path, made_of: dict) -> None:
    """Write into the folder what its shards are. Raises UserError where something else is written there."""
    path = folder / SHARDS_NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else made_of
    except ValueError:
        found = None
    if found != made_of:
        raise UserError(
            f"{folder} holds shards of other images ({path.name}): choose another folder, or empty this one."
        )
    write_text_atomic(path, json.dumps(made_of))


def _run(jobs: list[tuple], workers: int) -> Iterator[int]:
    """Write shards in this process, or in several with one thread each; yields the images of each as it is done."""
    if workers <= 1:
        yield from (_write_shard(*job) for job in jobs)
        return
    # spawn: workers must not inherit a torch that has already started its threads
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        for future in as_completed([pool.submit(_write_shard, *job) for job in jobs]):
            yield future.result()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _write_shard(
    category: str, first_seed: int, count: int, path: Path, size: int, rendering: str, labels: bool
) -> int:
    images, styles = images_and_styles(category, list(range(first_seed, first_seed + count)), size, rendering)
    if labels:  # first: a shard that is there is not made again
        known = get_category(category).styles
        numbers = np.array([known.index(style) for style in styles], np.uint8)
        write_atomic(labels_beside(path), lambda temporary: write_npy(temporary, numbers))
    write_atomic(path, lambda temporary: write_npy(temporary, images))
    return count


def _look(spec: CategorySpec, seed: int) -> NaturalLook:
    return sample_look(spec.name, seed, spec.clear_coat)


def _stack(items: list[SyntheticItem]) -> tuple[list[ObjectMesh], torch.Tensor, torch.Tensor, torch.Tensor]:
    columns = ([getattr(i, name) for i in items] for name in ("view", "light", "background"))
    return [i.mesh for i in items], *(torch.from_numpy(np.stack(c)) for c in columns)


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write an array under exactly this name."""
    with path.open("wb") as file:  # a path would get ".npy" appended
        np.save(file, array, allow_pickle=False)


def main() -> None:
    """Command line of `prerender`."""
    parser = argparse.ArgumentParser(description="Pre-render training images of a synthetic category.")
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=48_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard", type=int, default=SHARD)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rendering", choices=RENDERINGS, default=RENDERINGS[0])
    args = parser.parse_args()
    prerender(
        args.category, args.count, args.first_seed, args.out, args.shard, args.workers, args.size,
        PlainReporter(sys.stderr), args.rendering,
    )  # fmt: skip


if __name__ == "__main__":
    main()
