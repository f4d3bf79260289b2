"""What pSp draws from another picture: the standard view of an object, or an object from a mask.

    python scripts/pair_claims.py --frontal FILE --silhouette FILE [--category car] [--count 32] [--sheet sheet.png]

On validation objects. Frontal: against the true render from the standard view, beside the given picture itself, the
mean of all those renders, and another object's. Silhouette: overlap of the drawn object's mask with the given one,
beside that of a random sample; and how much paint differs between draws with random fine rows while their masks stay.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from gan2shape.bench.exam import exam_objects
from gan2shape.core.images import contact_sheet, to_float, to_uint8, write_png
from gan2shape.measure.attributes import bundled_attributes, differences, identity
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.measure.perceptual import load_perceptual, perceptual_distance
from gan2shape.measure.statistics import mean_interval
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import open_prior
from gan2shape.restoration.edits import mixed_rows
from gan2shape.synth.pairs import FRONTAL, SILHOUETTE, render_pairs

N_DRAWS, SHOWN = 6, 8


def line(name: str, values: dict[str, Tensor]) -> None:
    """Means with intervals."""
    shown = {key: mean_interval(value.numpy()) for key, value in values.items()}
    print(f"{name:24s}", "  ".join(f"{key} {mean:.3g} ± {half:.2g}" for key, (mean, half) in shown.items()), flush=True)


@torch.no_grad()
def judge_frontal(file: str, generator: MaskedGenerator, category: str, seeds: list[int]) -> list[Tensor]:
    """Prints; returns rows of a sheet."""
    prior, reader, judge = generator.prior, bundled_attributes(category), load_perceptual("cpu")
    given, wanted = (to_float(part) for part in render_pairs(category, seeds, prior.resolution, FRONTAL))
    made = prior.generator.synthesis(open_encoder(file, prior, FRONTAL).encode(given, prior.generator.synthesis))
    everywhere, true = torch.ones_like(given[:, :1]) > 0, reader.read(wanted)
    mean = wanted.mean(0, keepdim=True).expand_as(wanted)
    others = wanted.roll(1, 0)
    shown = {"drawn": made.clamp(-1, 1), "given": given, "mean view": mean, "another object": others}
    for name, images in shown.items():
        read = reader.read(images)
        found = {"psnr_db": psnr_db(images, wanted, everywhere), "identity": identity(read, true)}
        found |= {k: v for k, v in differences(read, true).items() if k in ("heading_deg", "paint_lab", "style")}
        line(f"frontal, {name}", found | {"perceptual": perceptual_distance(judge, images, wanted)})
    return [given[:SHOWN], made[:SHOWN].clamp(-1, 1), wanted[:SHOWN]]


@torch.no_grad()
def judge_silhouette(file: str, generator: MaskedGenerator, category: str, seeds: list[int]) -> list[Tensor]:
    """Prints; returns rows of a sheet."""
    prior, reader = generator.prior, bundled_attributes(category)
    given = to_float(render_pairs(category, seeds, prior.resolution, SILHOUETTE)[0])
    mask = given[:, :1] > 0
    rows = open_encoder(file, prior, SILHOUETTE).encode(given, prior.generator.synthesis)
    made, own = generator(rows)
    z = torch.randn(len(rows), prior.generator.config.z_dim, generator=torch.Generator().manual_seed(0))
    sampled = generator(prior.generator.mapping(z))[1]
    line("silhouette", {"iou": iou(own > 0.5, mask), "iou_of_samples": iou(sampled > 0.5, mask)})
    draws, masks = generator(torch.cat([mixed_rows(one, prior, N_DRAWS) for one in rows]))
    overlap = iou(masks > 0.5, mask.repeat_interleave(N_DRAWS, 0)).unflatten(0, (-1, N_DRAWS))
    paint = reader.read(draws).traits["paint_lab"].unflatten(0, (-1, N_DRAWS))
    line("silhouette, draws", {"iou": overlap.mean(1), "paint_sd": paint.var(1).sum(1).sqrt()})
    draws = draws.unflatten(0, (-1, N_DRAWS))
    return [given[:SHOWN], made[:SHOWN].clamp(-1, 1), draws[:SHOWN, 0], draws[:SHOWN, 1]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frontal", help="file of `train-encoder --kind psp task=frontal`")
    parser.add_argument("--silhouette", help="file of `train-encoder --kind psp task=silhouette`")
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--sheet", type=Path, help="picture of the first eight")
    options = parser.parse_args()
    generator = open_prior(options.category, device="cpu")[0]
    seeds, rows = [item.seed for item in exam_objects(options.category, "val", options.count)], []
    if options.frontal:
        rows += judge_frontal(options.frontal, generator, options.category, seeds)
    if options.silhouette:
        rows += judge_silhouette(options.silhouette, generator, options.category, seeds)
    if options.sheet is not None:
        write_png(options.sheet, contact_sheet(to_uint8(torch.cat(rows)), (), SHOWN))


if __name__ == "__main__":
    main()
