"""What `gan2shape build --generator` is worth, where the truth is known: a bundled generator treated as a foreign one.

    python scripts/custom_truth.py --category car --out FOLDER

Two packs are made for the same generator with the same numbers of steps of the scene networks. Own: the bundled encoder
and mask head, and the images that the GAN learnt from (what `gan2shape build CATEGORY` does after the GAN). Foreign: a
file that holds generator and discriminator alone, and nothing but its samples. Both are measured on validation objects
by the depth network alone (preset instant): SIDE and MAD, their gain over the scaled ellipsoid, and the paired
difference. A second call goes on. One JSON object on stdout.
"""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from gan2shape.bench.exam import exam_objects  # noqa: E402
from gan2shape.bench.requests import BenchRequest  # noqa: E402
from gan2shape.bench.table import read_objects, run_table  # noqa: E402
from gan2shape.build.generator_pack import build_generator  # noqa: E402
from gan2shape.build.generator_plan import GeneratorBuildRequest  # noqa: E402
from gan2shape.build.pack import add_scene  # noqa: E402
from gan2shape.core.progress import PlainReporter, say  # noqa: E402
from gan2shape.core.resources import pack_dir  # noqa: E402
from gan2shape.measure.metrics import psnr_db  # noqa: E402
from gan2shape.measure.statistics import mean_interval  # noqa: E402
from gan2shape.prior.calibration import read_calibration, write_calibration  # noqa: E402
from gan2shape.prior.open import open_prior  # noqa: E402
from gan2shape.prior.packs import load_pack, save_pack, write_prior  # noqa: E402
from gan2shape.prior.scene import NETWORK_NAME  # noqa: E402
from gan2shape.shape.pretrain import PretrainConfig  # noqa: E402
from gan2shape.synth.dataset import prerender  # noqa: E402

METHOD, BASELINE = "depth network", "scaled ellipsoid"
SPARE_IMAGES = 200


def stripped(category: str, path: Path) -> Path:
    """Generator and discriminator of a bundled pack alone. Published layouts have no place for its fast resampling, so
    that the file is one of `gan2shape convert`, without a card.
    """
    if not path.exists():
        prior = replace(load_pack(pack_dir(category)), networks={}, network_configs={}, card={})
        write_prior(path, prior, torch.float32)
    return path


def own_pack(category: str, folder: Path, plan: PretrainConfig, report) -> Path:
    """A copy of the bundled pack with scene networks that learnt for these steps."""
    pack = folder / "own"
    if (pack / "done").exists():
        return pack
    if not pack.exists():
        shutil.copytree(pack_dir(category), pack)
        prior = load_pack(pack)
        networks = {name: state for name, state in prior.networks.items() if name != NETWORK_NAME}
        save_pack(pack, replace(prior, networks=networks))
        (pack / "confidence.safetensors").unlink(missing_ok=True)
        write_calibration(pack, replace(read_calibration(pack), tilt=(0.0, 0.0)))  # the foreign one has none either
    prerender(category, plan.n_objects + SPARE_IMAGES, 0, folder / "images", workers=1)
    add_scene(category, pack, folder / "own.pt", plan, folder / "images", "cpu", report)
    (pack / "done").touch()
    return pack


def scores(category: str, path: Path, folder: Path, count: int, report) -> dict[str, dict[str, np.ndarray]]:
    """SIDE and MAD of each object, by method."""
    run_table(BenchRequest(category, "instant", count, "cpu", (), path), "val", folder, report)
    done = read_objects(folder)
    objects = [done[seed] for seed in sorted(done)[:count]]
    return {
        method: {metric: np.array([one[method][metric] for one in objects]) for metric in ("side", "mad")}
        for method in (METHOD, BASELINE)
    }


def encoder_psnr(category: str, path: Path, count: int) -> float:
    """PSNR in dB on the true masks, of validation images through the encoder and the generator."""
    generator, _ = open_prior(category, path, None, device="cpu")
    items = exam_objects(category, "val", count)
    images, masks = (torch.cat([getattr(item, name) for item in items]) for name in ("image", "mask"))
    made, _ = generator(generator.prior.guess_latent(images))
    return psnr_db(made, images, masks > 0.5).mean().item()


def compared(own: dict, foreign: dict) -> dict:
    """Means, gains over the ellipsoid and paired differences, these with 95 % intervals [mean, half width]."""
    found = {}
    for metric in ("side", "mad"):
        base = own[BASELINE][metric]
        a, b = own[METHOD][metric], foreign[METHOD][metric]
        found[metric] = {
            "ellipsoid": base.mean(), "own": a.mean(), "foreign": b.mean(),
            "gain_own": list(mean_interval(base - a)), "gain_foreign": list(mean_interval(base - b)),
            "share_of_gain": (base - b).mean() / (base - a).mean(),
            "foreign_minus_own": list(mean_interval(b - a)),
        }  # fmt: skip
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--category", default="car")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32, help="validation objects")
    parser.add_argument("--joint", type=int, default=250, help="joint steps of a round")
    parser.add_argument("--encoder", type=int, default=1500, help="steps of each stage of the encoder")
    parser.add_argument("--arm", choices=("own", "foreign", "both"), default="both", help="make this pack and stop")
    options = parser.parse_args(arguments)
    category, folder, report = options.category, options.out, PlainReporter(sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    plan = PretrainConfig(n_objects=1000, n_fit_objects=150, n_fit=300, n_joint=options.joint)
    packs = {}
    if options.arm != "foreign":
        packs["own"] = own_pack(category, folder, plan, report)
    if options.arm != "own":
        path = stripped(category, folder / "foreign.safetensors")
        counts = ("n_objects", "n_fit_objects", "n_fit", "n_joint")
        changes = {f"pretrain.{name}": getattr(plan, name) for name in counts}
        changes |= {"encoder.n_steps": options.encoder, "encoder.n_image_steps": options.encoder}
        settings = tuple(f"{key}={value}" for key, value in changes.items())
        made = build_generator(GeneratorBuildRequest(path, category, folder / "foreign", settings=settings), report)
        say(f"seconds of the foreign pack: {made.seconds}")
        packs["foreign"] = folder / "foreign"
    if len(packs) < 2:
        return 0
    found = {
        name: scores(category, pack, folder / f"bench-{name}", options.count, report) for name, pack in packs.items()
    }
    psnr = {f"encoder_psnr_db_{name}": encoder_psnr(category, pack, options.count) for name, pack in packs.items()}
    print(json.dumps({"n": options.count, **compared(found["own"], found["foreign"]), **psnr}, indent=1, default=float))
    return 0


if __name__ == "__main__":
    sys.exit(main())
