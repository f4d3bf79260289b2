"""Build one category's pack from nothing: pre-render, train, mask head, statistics, card, scene networks.

    python scripts/build_pack.py --category car                     # everything; resumable at each step
    python scripts/build_pack.py --category car --run runs/train-car --skip-training
    python scripts/build_pack.py --category car --only-pretraining  # scene networks for the pack that is there

Hours on two cores; each part is skipped where its result exists. The measured part of the card is `gan2shape bench
card`.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.build.masks import train_mask_head, train_segmenter
from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.resources import weights_dir
from gan2shape.nn.image_encoder import ENCODER_NAME, encoder_settings
from gan2shape.prior.masked_generator import masked_generator
from gan2shape.prior.packs import load_pack, make_prior, save_pack
from gan2shape.prior.scene import NETWORK_NAME, settings
from gan2shape.shape.pretrain import PretrainConfig, pretrain
from gan2shape.synth.dataset import prerender, render_set
from gan2shape.train.loop import TrainConfig, train
from gan2shape.train.sheets import samples_sheet
from gan2shape.train.state import load_encoder, load_networks

PRETRAINING_NAME = "pretraining.pt"  # state of the scene networks, in the training folder
SEGMENTER_IMAGES = 512  # synthetic renders with masks that teach the mask head; seeds below every exam
SEGMENTER_FIRST_SEED = 900_000
SPARE_IMAGES = 1000  # more than pre-training asks for: it passes over images whose object is not reproduced


def finish_pack(category: str, run: Path, out: Path, card: dict) -> Path:
    """Averaged generator, discriminator, latent statistics and mask head of a training run, as a pack with its card."""
    generator, discriminator = load_networks(run)
    prior = make_prior(generator, discriminator, card)
    made = render_set(category, [SEGMENTER_FIRST_SEED + i for i in range(SEGMENTER_IMAGES)])
    segmenter = train_segmenter(made.truth.image, made.truth.mask, report=print_progress)
    head = train_mask_head(prior.generator, segmenter, report=print_progress)
    networks, configs = {"mask": head.state_dict()}, {"mask": vars(head.config)}
    encoder = load_encoder(run)
    if encoder is not None:
        networks[ENCODER_NAME], configs[ENCODER_NAME] = encoder.state_dict(), encoder_settings(encoder)
    prior = replace(prior, networks=networks, network_configs=configs)
    path = save_pack(out, prior)
    samples_sheet(prior.generator, out / "samples.png")
    return path


def add_scene(category: str, pack: Path, state_path: Path, plan: PretrainConfig, data: Path) -> Path:
    """Give a pack the depth, view and light networks that its training images teach (half an hour on one core)."""
    generator = masked_generator(load_pack(pack))
    config = compose(ShapeConfig, category, None)
    config = replace(config, render=replace(config.render, size=generator.prior.generator.config.resolution))
    images = first_images(data, plan.n_objects + SPARE_IMAGES)
    learnt = pretrain(generator, config, plan, state_path, print_progress, images)
    prior = generator.prior
    networks = {**prior.networks, NETWORK_NAME: dict(learnt.named_parameters())}
    configs = {**prior.network_configs, NETWORK_NAME: settings(config)}
    card = {**prior.card, "pretraining": {**asdict(plan), "rounds": 1 + len(config.prior_shape.pretraining_gains)}}
    return save_pack(pack, replace(prior, networks=networks, network_configs=configs, card=card))


def first_images(data: Path, n: int) -> Float[Tensor, "N 3 S S"]:
    """The first n pre-rendered images, in [-1, 1]; fewer where there are fewer."""
    shards, n_read = [], 0
    for path in sorted(data.glob("images_*.npy")):
        shards.append(torch.from_numpy(np.load(path, allow_pickle=False)))
        n_read += len(shards[-1])
        if n_read >= n:
            break
    return torch.cat(shards)[:n].permute(0, 3, 1, 2).float() / 127.5 - 1


def print_progress(stage: str, step: int, n_steps: int, **figures: float) -> None:
    """A line every hundred steps."""
    if step % 100 == 0:
        print(f"{stage} {step}/{n_steps}", *(f"{name} {value:.4f}" for name, value in figures.items()), flush=True)


def training_facts(run: Path) -> dict:
    """What the training run's own files say about it."""
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    return {"kimg": lines[-1]["kimg"], "images_per_s_last": lines[-1]["images_per_s"]}


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--category", required=True)
    parser.add_argument("--images", type=int, default=48_000, help="pre-rendered training images")
    parser.add_argument(
        "--kimg", type=float, default=TrainConfig.kimg, help="thousands of images shown to the discriminator"
    )
    parser.add_argument("--data", type=Path, help="folder of shards [data/CATEGORY64]")
    parser.add_argument("--run", type=Path, help="training folder [runs/train-CATEGORY]")
    parser.add_argument("--out", type=Path, help="pack folder [weights/CATEGORY]")
    parser.add_argument("--note", default="", help="anything a reader of the card should know")
    parser.add_argument("--skip-training", action="store_true", help="take the training folder as it is")
    parser.add_argument("--only-pretraining", action="store_true", help="take the pack as it is, but for this")
    parser.add_argument("--joint-steps", type=int, default=PretrainConfig.n_joint, help="of the scene networks")
    options = parser.parse_args()
    data = options.data or Path("data") / f"{options.category}64"
    run = options.run or Path("runs") / f"train-{options.category}"
    out = options.out or weights_dir() / options.category
    plan = PretrainConfig(n_joint=options.joint_steps)
    if options.only_pretraining:
        prerender(options.category, min(options.images, plan.n_objects + SPARE_IMAGES), 0, data)
        print(add_scene(options.category, out, run / PRETRAINING_NAME, plan, data))
        return
    if not options.skip_training:
        prerender(options.category, options.images, 0, data)
        train(data, run, TrainConfig(kimg=options.kimg, flips=True))
    facts = training_facts(run)
    card = {
        "category": options.category,
        "training_images": f"{options.images} synthetic renders (seeds 0 to {options.images - 1}), mirrored at random",
        "training": facts,
        "note": options.note,
        "licence": "Apache-2.0",
        "limits": "A small demonstration trained on synthetic objects only; it knows no photograph.",
    }
    torch.manual_seed(0)
    finish_pack(options.category, run, out, card)
    print(add_scene(options.category, out, run / PRETRAINING_NAME, plan, data))


if __name__ == "__main__":
    main()
