"""Whether a class-conditional generator draws the class that is asked for, and what changing the class changes.

    python scripts/class_claims.py --pack packs/car-classes [--icgan runs/icgan/icgan.safetensors] [--transfers 8]

The judge is the category's attribute network, which took no part in any training here. Samples: the share that it reads
as the class that was asked for. Inversion: validation pictures, each as its own class, against the bundled pack, in the
same 300 steps from the encoder. IcGAN: pictures read and drawn again, as their own class and as every other one.
Transfers (DGP): pictures solved with all weights free, then drawn as the next class.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan2shape.bench.exam import exam_objects
from gan2shape.core.config import InvertConfig
from gan2shape.core.images import resized
from gan2shape.edit.icgan import load_icgan, require_classes, swapped
from gan2shape.measure.attributes import AttributeNetwork, Attributes, bundled_attributes, differences, identity
from gan2shape.measure.metrics import psnr_db
from gan2shape.measure.statistics import mean_interval, paired_interval, wilson_interval
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import load_pack
from gan2shape.restoration.edits import drawn
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage
from gan2shape.shape.inversion import invert

BATCH = 50


def share(hits: Tensor) -> str:
    """How many of all, with its interval."""
    n, k = len(hits), int(hits.sum())
    low, high = wilson_interval(k, n)
    return f"{k} of {n}: {k / n:.1%} ({low:.1%} to {high:.1%})"


def kept(after: Attributes, before: Attributes) -> str:
    """How far what should have stayed has moved."""
    found = differences(after, before) | {"identity": identity(after, before)}
    parts = []
    for name in ("heading_deg", "light_deg", "paint_lab", "identity"):
        if name in found:
            mean, half = mean_interval(found[name].numpy())
            parts.append(f"{name} {mean:.3g} ± {half:.2g}")
    return "  ".join(parts)


@torch.no_grad()
def judge_samples(pack: Path, reader: AttributeNetwork, count: int) -> None:
    """Samples of each class in turn."""
    prior = load_pack(pack)
    classes, generator = require_classes(prior), prior.generator
    rng, hits = torch.Generator().manual_seed(0), []
    for number, name in enumerate(classes):
        z = torch.randn(count // len(classes), generator.config.z_dim, generator=rng)
        images = [
            generator(part, 1.0, "const", torch.full((len(part),), number)).clamp(-1, 1) for part in z.split(BATCH)
        ]
        hits.append(reader.read(torch.cat(images)).style == number)
        print(f"samples, {name:12s} {share(hits[-1])}", flush=True)
    print(f"samples, all          {share(torch.cat(hits))}")


def judge_inversion(pack: Path, category: str, images: Tensor, styles: Tensor) -> None:
    """PSNR of the same inversion by both generators, paired."""
    inside, own = torch.ones_like(images[:, :1]) > 0, torch.zeros(len(images))
    for number in styles.unique().tolist():
        rows = styles == number
        prior = open_prior(category, pack, device="cpu", class_index=int(number))[0].prior
        own[rows] = psnr_db(invert(images[rows], prior, InvertConfig()).image, images[rows], inside[rows])
    bundled = open_prior(category, device="cpu")[0].prior
    other = psnr_db(invert(images, bundled, InvertConfig()).image, images, inside)
    (mean, half), (gain, by) = mean_interval(own.numpy()), paired_interval(own.numpy(), other.numpy())
    print(f"inversion             {mean:.2f} ± {half:.2f} dB, {gain:+.2f} ± {by:.2f} dB against the bundled pack")


@torch.no_grad()
def judge_icgan(file: Path, pack: Path, reader: AttributeNetwork, images: Tensor, styles: Tensor) -> None:
    """Swaps to every other class."""
    prior, before = load_pack(pack), reader.read(images)
    made = swapped(images, load_icgan(file, prior), prior)
    n = made.each.shape[1]
    quality = psnr_db(made.same, images, torch.ones_like(images[:, :1]) > 0)
    mean, half = mean_interval(quality.numpy())
    print(f"IcGAN, class read     {share(made.read == styles)}")
    print(f"IcGAN, drawn again    {mean:.2f} ± {half:.2f} dB  {kept(reader.read(made.same), before)}")
    others = np.array([(i, to) for i in range(len(images)) for to in range(n) if to != int(made.read[i])])
    after = reader.read(made.each[others[:, 0], others[:, 1]])
    print(f"IcGAN, swapped        {share(after.style == torch.from_numpy(others[:, 1]))}")
    print(f"IcGAN, what stays     {kept(after, reader.read(made.same[others[:, 0]]))}")


def judge_transfers(pack: Path, category: str, reader: AttributeNetwork, images: Tensor, styles: Tensor) -> None:
    """Category transfer by descent, each picture to the next class."""
    n = len(require_classes(load_pack(pack)))
    method, moved = load_method("dgp", "manipulate"), []
    for i in range(len(images)):
        own, other = (
            open_prior(category, pack, device="cpu", class_index=k)[0].prior
            for k in (int(styles[i]), (int(styles[i]) + 1) % n)
        )
        solved = restore_images(images[i : i + 1], Damage("reconstruct"), method, own).solved
        moved.append(drawn(solved.states[0], method.space, other))
    with torch.no_grad():
        after, before = reader.read(torch.cat(moved)), reader.read(images)
    print(f"transfer (DGP)        {share(after.style == (styles + 1) % n)}")
    print(f"transfer, what stays  {kept(after, before)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--icgan", type=Path, help="its encoders")
    parser.add_argument("--category", default="car")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--count", type=int, default=32, help="validation pictures")
    parser.add_argument("--inversions", type=int, default=32, help="of them: 7 CPU seconds each")
    parser.add_argument("--transfers", type=int, default=0, help="of them, solved by descent: 20 CPU seconds each")
    options = parser.parse_args()
    reader = bundled_attributes(options.category)
    judge_samples(options.pack, reader, options.samples)
    items = exam_objects(options.category, "val", options.count)
    images = resized(torch.cat([item.image for item in items]), load_pack(options.pack).generator.config.resolution)
    styles = torch.tensor([reader.config.styles.index(item.labels["style"]) for item in items])
    if options.inversions > 0:
        judge_inversion(options.pack, options.category, images[: options.inversions], styles[: options.inversions])
    if options.icgan is not None:
        judge_icgan(options.icgan, options.pack, reader, images, styles)
    if options.transfers > 0:
        some = slice(0, options.transfers)
        judge_transfers(options.pack, options.category, reader, images[some], styles[some])


if __name__ == "__main__":
    main()
