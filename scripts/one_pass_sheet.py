"""Pictures of docs/one-pass.md that no other script draws: encoders, a text pair, class-conditional cars.

    python scripts/one_pass_sheet.py --encoder psp --encoder runs/idinvert/idinvert.safetensors … --out encoders.png
    python scripts/one_pass_sheet.py --pair text --text "a red car" --text "a white van" --out text.png
    python scripts/one_pass_sheet.py --pack packs/car-classes --icgan FILE --out classes.png

The first pictures of the validation split, not chosen (for a text pair random samples); below them a row for each
encoder, sentence or class.
"""

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import exam_objects
from gan2shape.core.images import contact_sheet, resized, to_uint8, write_png
from gan2shape.edit.icgan import load_icgan, swapped
from gan2shape.edit.text import asking, open_text_pair, text_offset
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior, load_pack

N_PASSES = 5  # of ReStyle
LOCALITY = 10.0  # as `gan2shape edit --text` has it
Rows = list[Float[Tensor, "B 3 S S"]]


@torch.no_grad()
def encoder_rows(images: Tensor, prior: Prior, names: list[str]) -> Rows:
    """What the generator makes of each encoder's latents."""
    synthesis, rows = prior.generator.synthesis, [images]
    for name in names:
        rows.append(synthesis(open_encoder(name, prior).encode(images, synthesis, N_PASSES)))
    return rows


def text_rows(prior: Prior, path: Path, sentences: list[str], count: int) -> Rows:
    """Samples, and each moved to every sentence."""
    pair, rng = open_text_pair(path, prior), torch.Generator().manual_seed(0)
    z = torch.randn(count, prior.generator.config.z_dim, generator=rng)
    with torch.no_grad():
        latents = prior.generator.mapping(z)[:, None].expand(-1, prior.generator.n_layers, -1)
    moved = [latents] + [latents + text_offset(asking(said, pair), latents, prior, LOCALITY) for said in sentences]
    with torch.no_grad():
        return [prior.generator.synthesis(one) for one in moved]


@torch.no_grad()
def class_rows(images: Tensor, pack: Path, icgan: Path) -> Rows:
    """The pictures drawn again with the class that is read, then with every class."""
    prior = load_pack(pack)
    made = swapped(images, load_icgan(icgan, prior), prior)
    return [images, made.same, *made.each.unbind(1)]


def main() -> None:
    """Draw and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=8, help="pictures")
    parser.add_argument("--encoder", action="append", help="a file, or the name of one that ships")
    parser.add_argument("--pair", type=Path, help="of `gan2shape train-text`")
    parser.add_argument("--text", action="append", help="a sentence of the pair's vocabulary")
    parser.add_argument("--pack", type=Path, help="class-conditional")
    parser.add_argument("--icgan", type=Path, help="encoders of that pack")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same picture on any machine of one kind
    prior = open_prior(options.category, device="cpu")[0].prior
    images = resized(torch.cat([one.image for one in exam_objects(options.category, "val", options.count)]),
                     prior.resolution)  # fmt: skip
    if options.pair is not None:
        rows = text_rows(prior, options.pair, options.text, options.count)
    elif options.icgan is not None:
        rows = class_rows(images, options.pack, options.icgan)
    else:
        rows = encoder_rows(images, prior, options.encoder)
    print(write_png(options.out, contact_sheet(to_uint8(torch.cat(rows)), (), options.count)))


if __name__ == "__main__":
    main()
