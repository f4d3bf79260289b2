"""How often an object is found in a photo without a mask: exam objects on photographs, and the verdicts about them.

    python benchmarks/photo_figures.py --category car --count 12

Objects of the validation split, grown to 260 to 380 pixels, lie on the photographs in scikit-image's wheel, cut to
640 x 480. "as it is" is the verdict about the photo's middle, "found" about what GrabCut cuts out (extra `mask`),
"mask" about what the true mask cuts out.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.build.kinds import PHOTOGRAPHS
from gan2shape.core.images import resized, to_uint8
from gan2shape.export.inputs import InputImage
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import open_prior
from gan2shape.shape.photos import how_strange, read_framed
from gan2shape.shape.verdict import level_of

WIDTH, HEIGHT = 640, 480
LEAST_PX, GREATEST_PX = 260, 380


def write_photo(folder: Path, item: ExamObject, index: int) -> tuple[Path, Path]:
    """The object somewhere on a photograph, and its mask."""
    import skimage

    rng = np.random.default_rng(index)
    name = PHOTOGRAPHS[index % len(PHOTOGRAPHS)]
    ground = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB").resize((WIDTH, HEIGHT))
    side = int(rng.integers(LEAST_PX, GREATEST_PX + 1))
    corner = (int(rng.integers(0, WIDTH - side + 1)), int(rng.integers(0, HEIGHT - side + 1)))
    colours = Image.fromarray(to_uint8(resized(item.image, side, "bicubic")[0]))
    cover = Image.fromarray(to_uint8(resized(item.mask, side, "bicubic")[0], lowest=0.0)[..., 0])
    mask = Image.new("L", ground.size)
    ground.paste(colours, corner, cover)
    mask.paste(cover, corner)
    paths = folder / f"{index}.png", folder / f"{index}-mask.png"
    for picture, path in zip((ground, mask), paths, strict=True):
        picture.save(path)
    return paths


def level(read: InputImage, generator: MaskedGenerator) -> str:
    """Without regard to the mask, as in the choice between masks."""
    return level_of(how_strange(read, generator))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=12)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator, _ = open_prior(given.category, device="cpu")
    size, rows = generator.resolution, []
    with tempfile.TemporaryDirectory() as folder:
        for index, item in enumerate(exam_objects(given.category, "val", given.count)):
            image, mask = write_photo(Path(folder), item, index)
            plain, found, cut = (
                read_framed(image, size, generator, **how) for how in ({"find_object": False}, {}, {"mask_path": mask})
            )
            rows.append((level(plain, generator), level(found, generator), level(cut, generator)))
            print(f"{PHOTOGRAPHS[index % len(PHOTOGRAPHS)]:22s} {'  '.join(f'{one:8s}' for one in rows[-1])}")
    for name, levels in zip(("as it is", "found", "mask"), zip(*rows, strict=True), strict=True):
        print(f"{given.category} n={len(rows)} {name:9s} {dict(Counter(levels))}")


if __name__ == "__main__":
    main()
