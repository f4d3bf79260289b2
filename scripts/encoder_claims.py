"""What is claimed of encoders, measured: on validation images that neither generator nor encoder has seen.

    python scripts/encoder_claims.py --networks FOLDER [--category car] [--count 32] [--pack PACK]

PACK: whose generator it is, where that is not the category's (ALAE). FOLDER holds NAME.safetensors, or
NAME/*.safetensors, of `gan2shape train-encoder`. Prints, for each encoder: PSNR, perceptual distance and identity of
G(E(x)), milliseconds a picture, the same after one to five passes where it makes several, and what is left of a picture
after an edit and its opposite with the encoder in between (latent edit consistency, Tov et al. 2021, section 6):
encode, turn by 15 degrees, decode, encode, turn back, decode. Then paired differences of all pairs. The pack's own
encoder, with which they begin, comes first.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import exam_objects
from gan2shape.core.images import resized
from gan2shape.measure.attributes import AttributeNetwork, bundled_attributes, identity
from gan2shape.measure.metrics import psnr_db
from gan2shape.measure.perceptual import load_perceptual, perceptual_distance
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.nn.latent_encoder import LatentEncoder
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior, load_pack

TURN_RAD = np.pi / 12
TURN_STEPS = 5  # along the gradient of the heading that is read
N_PASSES, N_TIMED = 5, 20


def turning(rows: Float[Tensor, "B L D"], prior: Prior, reader: AttributeNetwork) -> Float[Tensor, "B 1 D"]:
    """What has to be added to every row so that the heading that is read in the picture turns by 15 degrees."""
    added = torch.zeros_like(rows[:, :1])
    for _ in range(TURN_STEPS):
        at = added.clone().requires_grad_()
        heading = reader.read(prior.generator.synthesis(rows + at)).heading_rad
        slope = torch.autograd.grad(heading.sum(), at)[0]
        added = added + TURN_RAD / TURN_STEPS * slope / slope.square().sum((1, 2), keepdim=True)
    return added


def measured(
    encoder: LatentEncoder, images: Tensor, prior: Prior, reader: AttributeNetwork, judge: torch.nn.Module
) -> dict[str, np.ndarray]:
    """A value for each picture."""
    synthesis, everywhere = prior.generator.synthesis, torch.ones_like(images[:, :1]) > 0
    rows = encoder.encode(images, synthesis, N_PASSES)
    with torch.no_grad():
        made = synthesis(rows)
        began = time.perf_counter()
        for _ in range(N_TIMED):
            encoder.encode(images, synthesis, N_PASSES)
        each_ms = (time.perf_counter() - began) / N_TIMED / len(images) * 1000
    turn = turning(rows, prior, reader)
    with torch.no_grad():
        turned = synthesis(rows + turn)
        back = synthesis(encoder.encode(turned, synthesis, N_PASSES) - turn)
        seen = reader.read(turned).heading_rad - reader.read(made).heading_rad
        found = {
            "psnr_db": psnr_db(made, images, everywhere),
            "perceptual": perceptual_distance(judge, made.clamp(-1, 1), images),
            "identity": identity(reader.read(made), reader.read(images)),
            "turned_deg": torch.atan2(seen.sin(), seen.cos()) * (180 / np.pi),
            "edit_psnr_db": psnr_db(back, made, everywhere),
            "edit_input_psnr_db": psnr_db(back, images, everywhere),
            "edit_identity": identity(reader.read(back), reader.read(made)),
            "offset": (rows - rows[:, :1]).square().mean((1, 2)).sqrt(),
        }
        if encoder.config.head == "residual":
            for n in range(1, N_PASSES + 1):
                passed = synthesis(encoder.encode(images, synthesis, n))
                found[f"psnr_db_pass_{n}"] = psnr_db(passed, images, everywhere)
    return {name: value.numpy() for name, value in found.items()} | {"ms": np.full(len(images), each_ms)}


def files_in(folder: Path) -> dict[str, Path]:
    """Networks by name."""
    direct = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    return direct | {path.parent.name: path for path in sorted(folder.glob("*/*.safetensors"))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--name", action="append", help="only these")
    parser.add_argument("--pack", type=Path)
    parser.add_argument("--category", default="car")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=32)
    options = parser.parse_args()
    prior = load_pack(options.pack) if options.pack else open_prior(options.category, device="cpu")[0].prior
    reader, judge = bundled_attributes(options.category), load_perceptual("cpu")
    items = exam_objects(options.category, options.split, options.count)
    images = resized(torch.cat([item.image for item in items]), prior.resolution)
    if prior.encoder is not None:
        with torch.no_grad():
            own = prior.generator.synthesis(prior.guess_latent(images))
        mean, half = mean_interval(psnr_db(own, images, torch.ones_like(images[:, :1]) > 0).numpy())
        print(f"the pack's own psnr_db {mean:.4g} ± {half:.2g}")
    found = {}
    for name, path in files_in(options.networks).items():
        if options.name and name not in options.name:
            continue
        found[name] = measured(open_encoder(str(path), prior), images, prior, reader, judge)
        shown = {key: mean_interval(values) for key, values in found[name].items()}
        print(name, "  ".join(f"{key} {mean:.4g} ± {half:.2g}" for key, (mean, half) in shown.items()), flush=True)
    for a, b in itertools.permutations(found, 2):
        parts = []
        for key in ("psnr_db", "perceptual", "identity", "edit_psnr_db", "edit_input_psnr_db", "edit_identity"):
            mean, half = paired_interval(found[a][key], found[b][key])
            parts.append(f"{key} {mean:+.3g} ± {half:.2g}")
        print(f"{a} - {b}:", "  ".join(parts))


if __name__ == "__main__":
    main()
