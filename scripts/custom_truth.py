"""What `gan2shape build --generator` is worth, where the truth is known: a bundled generator treated as a foreign one.

    python scripts/custom_truth.py --category car --out FOLDER

Two packs are made for the same generator with the same numbers of steps of the scene networks. Own: the bundled encoder
and mask head, and the images that the GAN learnt from (what `gan2shape build CATEGORY` does after the GAN). Foreign: a
file that holds generator and discriminator alone, and nothing but its samples. Both are measured on validation objects
by the depth network alone (preset instant): SIDE and MAD, their gain over the scaled ellipsoid, and the paired
difference; and each depth network behind the other pack's encoder, which tells what either costs. A second call goes
on. One JSON object on stdout. `--parts mask,samples` makes one more pack, own but for these parts of the foreign one
(of `encoder`, `mask` and `samples`): which of them what foreign lacks is lost in. It may be given more than once.
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
from gan2shape.bench.ladder import rung_ellipsoid  # noqa: E402
from gan2shape.bench.score import score_object_depth  # noqa: E402
from gan2shape.build.generator_pack import build_generator  # noqa: E402
from gan2shape.build.generator_plan import GeneratorBuildRequest  # noqa: E402
from gan2shape.build.pack import add_scene  # noqa: E402
from gan2shape.core.config import ShapeConfig  # noqa: E402
from gan2shape.core.images import to_uint8  # noqa: E402
from gan2shape.core.progress import PlainReporter, say  # noqa: E402
from gan2shape.core.records import Observation  # noqa: E402
from gan2shape.core.resources import pack_dir  # noqa: E402
from gan2shape.measure.metrics import psnr_db  # noqa: E402
from gan2shape.measure.statistics import mean_interval  # noqa: E402
from gan2shape.nn.image_encoder import ENCODER_NAME  # noqa: E402
from gan2shape.prior.calibration import read_calibration, write_calibration  # noqa: E402
from gan2shape.prior.made import MASK_NAME  # noqa: E402
from gan2shape.prior.masked_generator import masked_generator  # noqa: E402
from gan2shape.prior.open import open_prior  # noqa: E402
from gan2shape.prior.packs import Prior, load_pack, save_pack, write_prior  # noqa: E402
from gan2shape.prior.scene import NETWORK_NAME, pretrained_networks  # noqa: E402
from gan2shape.shape.initialize import from_depth_network  # noqa: E402
from gan2shape.shape.pool import POOL_BATCH, PretrainConfig, generator_samples  # noqa: E402
from gan2shape.shape.state import make_target, new_state  # noqa: E402
from gan2shape.synth.dataset import prerender  # noqa: E402

SAMPLES = "samples"
METHOD, BASELINE, METRICS = "depth network", "scaled ellipsoid", ("side", "mad_deg")
SPARE_IMAGES = 200


def stripped(category: str, path: Path) -> Path:
    """Generator and discriminator of a bundled pack alone. Published layouts have no place for its fast resampling, so
    that the file is one of `gan2shape convert`, without a card.
    """
    if not path.exists():
        prior = replace(load_pack(pack_dir(category)), networks={}, network_configs={}, card={})
        write_prior(path, prior, torch.float32)
    return path


def own_pack(category: str, folder: Path, plan: PretrainConfig, report, foreign: Path | None = None, parts=()) -> Path:
    """A copy of the bundled pack with scene networks that learnt for these steps; with these `parts` of the pack
    `foreign` in the place of its own.
    """
    pack = folder / "-".join(["own" if not parts else "with", *parts])
    if (pack / "done").exists():
        return pack
    if not pack.exists():
        shutil.copytree(pack_dir(category), pack)
        prior = load_pack(pack)
        networks = {name: state for name, state in prior.networks.items() if name != NETWORK_NAME}
        configs = dict(prior.network_configs)
        for name in {ENCODER_NAME, MASK_NAME} & set(parts):
            other = of_prior(category, foreign)[0]
            networks[name], configs[name] = other.networks[name], other.network_configs[name]
        save_pack(pack, replace(prior, networks=networks, network_configs=configs))
        (pack / "confidence.safetensors").unlink(missing_ok=True)
        write_calibration(pack, replace(read_calibration(pack), tilt=(0.0, 0.0)))  # the foreign one has none either
    images = folder / "images"
    if SAMPLES in parts:
        images = folder / "samples"
        draw_samples(category, plan.n_objects + SPARE_IMAGES, images)
    else:
        prerender(category, plan.n_objects + SPARE_IMAGES, 0, images, workers=1)
    add_scene(category, pack, folder / f"{pack.name}.pt", plan, images, "cpu", report)
    (pack / "done").touch()
    return pack


@torch.no_grad()
def draw_samples(category: str, count: int, folder: Path) -> None:
    """Samples of a bundled generator as images to learn from, as pre-training draws them where it is given none."""
    folder.mkdir(exist_ok=True)
    path, generator = folder / "images_00000.npy", masked_generator(load_pack(pack_dir(category)))
    if not path.exists():
        drawn = torch.cat(list(generator_samples(generator, count, 0))[: -(-count // POOL_BATCH)])
        with open(path, "wb") as stream:
            np.save(stream, to_uint8(drawn.clamp(-1, 1)))


def of_prior(category: str, path: Path) -> tuple[Prior, ShapeConfig]:
    """A pack's prior and its configuration."""
    generator, config = open_prior(category, path, "instant", device="cpu")
    return generator.prior, config


@torch.no_grad()
def scores(category: str, path: Path, seen: Path, count: int) -> tuple[dict[str, dict[str, np.ndarray]], float]:
    """SIDE and MAD of each object, by method: what the depth network of `path` sees in the guess of the encoder of
    `seen`, with that prior's mask around it, and an ellipsoid on the true mask. And the PSNR in dB of the guess on the
    true masks.
    """
    networks = pretrained_networks(*of_prior(category, path))
    generator, config = open_prior(category, seen, "instant", device="cpu")
    found, psnr = {METHOD: [], BASELINE: []}, []
    for item in exam_objects(category, "val", count):
        latent = generator.prior.guess_latent(item.image)
        made, mask = generator(latent)
        target = make_target(Observation(item.image, mask, latent), generator)
        empty = new_state(config, latent.shape[-1], "cpu").model
        depth = from_depth_network(empty, networks, target, generator, config).depth(target.image)
        found[METHOD].append(score_object_depth(item, depth))
        found[BASELINE].append(rung_ellipsoid(item, config))
        psnr.append(psnr_db(made, item.image, item.mask > 0.5).item())
    by_metric = {
        method: {metric: np.array([row[metric] for row in rows]) for metric in METRICS}
        for method, rows in found.items()
    }
    return by_metric, sum(psnr) / len(psnr)


def compared(own: dict, foreign: dict) -> dict:
    """Means; gains over the ellipsoid and paired differences with 95 % intervals, [mean, half width]."""
    found = {}
    for metric in METRICS:
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
    parser.add_argument("--objects", type=int, default=600, help="images that scene networks learn from")
    parser.add_argument("--joint", type=int, default=80, help="joint steps of a round")
    parser.add_argument("--encoder", type=int, default=400, help="encoder steps on latents; on images half as many")
    parser.add_argument("--arm", choices=("own", "foreign", "both"), default="both", help="make this pack and stop")
    parser.add_argument("--parts", action="append", default=[], help="encoder, mask, samples: foreign in an own pack")
    options = parser.parse_args(arguments)
    category, folder, report = options.category, options.out, PlainReporter(sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    plan = PretrainConfig(n_objects=options.objects, n_fit_objects=60, n_fit=200, n_joint=options.joint)
    packs = {}
    if options.arm != "foreign":
        packs["own"] = own_pack(category, folder, plan, report)
    if options.arm != "own":
        path = stripped(category, folder / "foreign.safetensors")
        counts = ("n_objects", "n_fit_objects", "n_fit", "n_joint")
        changes = {f"pretrain.{name}": getattr(plan, name) for name in counts}
        changes |= {"encoder.n_steps": options.encoder, "encoder.n_image_steps": options.encoder // 2}
        changes["encoder.n_samples"] = 5 * options.encoder
        settings = tuple(f"{key}={value}" for key, value in changes.items())
        made = build_generator(GeneratorBuildRequest(path, category, folder / "foreign", settings=settings), report)
        say(f"seconds of the foreign pack: {made.seconds}")
        packs["foreign"] = folder / "foreign"
    if len(packs) < 2:
        return 0
    own, foreign = packs["own"], packs["foreign"]
    (a, psnr_own), (b, psnr_foreign) = (scores(category, pack, pack, options.count) for pack in (own, foreign))
    page = {"n": options.count, **compared(a, b), "encoder_psnr_db": {"own": psnr_own, "foreign": psnr_foreign}}
    page["foreign_depth_own_encoder"] = compared(a, scores(category, foreign, own, options.count)[0])
    page["own_depth_foreign_encoder"] = compared(a, scores(category, own, foreign, options.count)[0])
    for parts in (tuple(one.split(",")) for one in options.parts):
        mixed = own_pack(category, folder, plan, report, foreign, parts)
        page[mixed.name] = compared(a, scores(category, mixed, mixed, options.count)[0])
    print(json.dumps(page, indent=1, default=float))
    return 0


if __name__ == "__main__":
    sys.exit(main())
