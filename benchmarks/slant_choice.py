"""How often is the right slant of the starting ellipsoid chosen? Cheap: no step of the method is run.

    python benchmarks/slant_choice.py --category car --count 64

For each validation object of the exam: the encoder's guess as inversion, the residual of every candidate slant, and the
SIDE of every slanted ellipsoid against the truth. Needs a pack with an encoder.
"""

import argparse
from dataclasses import replace

import torch

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.core.records import Observation
from gan2shape.prior.open import open_prior
from gan2shape.shape.ellipsoid import best_slant, ellipsoid_depth, ellipsoid_model, reproduction_residual
from gan2shape.shape.state import current_scene, make_target, new_state


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--slants", type=float, nargs="+", default=[-25.0, 25.0])
    parser.add_argument("--depth-scale", type=float, help="of the ellipsoid [the category's]")
    options = parser.parse_args()
    generator, config = open_prior(options.category, device="cpu")
    if options.depth_scale:
        config = replace(config, initial=replace(config.initial, depth_scale=options.depth_scale))
    rows = []
    for item in exam_objects(options.category, "val", options.count, config.render.resolution):
        with torch.no_grad():
            latent = generator.prior.guess_latent(item.image)
            _, mask = generator(latent)
        target = make_target(Observation(item.image, mask, latent), generator)
        model = new_state(config, latent.shape[-1], "cpu").model
        residuals, sides = [], []
        for slant_deg in options.slants:
            depth = ellipsoid_depth(mask, config.initial, config.render.fov_deg, slant_deg)
            scene = current_scene(ellipsoid_model(model, mask, config, slant_deg), target, config.render.fov_deg)
            residuals.append(reproduction_residual(scene, target, generator, config))
            sides.append(score_depth(depth, item.depth, item.mask, item.fov_deg)["side"])
        rows.append((best_slant(options.slants, residuals), options.slants[sides.index(min(sides))], sides))
    sides = torch.tensor([row[2] for row in rows])
    chosen = torch.tensor([options.slants.index(row[0]) for row in rows])
    print(f"{len(rows)} objects, slants {options.slants}: right {sum(a == b for a, b, _ in rows)}")
    print("SIDE x 100 of each slant", [round(float(x), 3) for x in sides.mean(0)], end="; ")
    print(f"of the best {sides.min(1).values.mean():.3f}, of the chosen {sides.gather(1, chosen[:, None]).mean():.3f}")


if __name__ == "__main__":
    main()
