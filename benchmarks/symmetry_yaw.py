"""Where does `mesh.back=symmetric` put the plane of symmetry? Yaw as networks of a pack read it, against the truth.

    python benchmarks/symmetry_yaw.py --category car

Validation objects of the exam. "attributes" is what runs use; "view network" is what a pack without it has.
"""

import argparse
import math

import torch
from torch import Tensor

from gan2shape.bench.exam import exam_objects
from gan2shape.prior.open import open_prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.initialize import read_pitch_yaw_rad


def report(name: str, read: Tensor, true: Tensor) -> None:
    """One line: both in radians."""
    off = torch.atan2((read - true).sin(), (read - true).cos())
    near = true + off  # the reading nearest to the truth: angles go round
    correlation = torch.corrcoef(torch.stack([near, true]))[0, 1]
    slope = torch.cov(torch.stack([near, true]))[0, 1] / true.var()
    rms_deg = math.degrees(off.square().mean().sqrt())
    print(f"{name:14s} n {len(true)}  rms {rms_deg:.1f} degrees  correlation {correlation:.2f}  slope {slope:.2f}")


@torch.no_grad()
def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", default="car")
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args()
    generator, config = open_prior(options.category, device="cpu")
    prior = generator.prior
    items = exam_objects(options.category, "val", options.count, config.render.resolution)
    images, true = torch.cat([item.image for item in items]), torch.cat([item.view[:, 1] for item in items])
    upright = prior.generator.synthesis(prior.w_mean[None]).clamp(-1, 1)
    report("attributes", prior.attributes.read(images).heading_rad, true)
    report("view network", read_pitch_yaw_rad(pretrained_networks(prior, config), images, upright)[:, 1], true)


if __name__ == "__main__":
    main()
