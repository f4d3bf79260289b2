"""Can an image encoder be taught what a pseudo sample does not show, and that its form is wrong?

    python scripts/projection_trial.py learn   --category head --out FOLDER [--steps 1200] [--bend 2.4] [--start FILE]
    python scripts/projection_trial.py measure --category head --encoder FOLDER/encoder.pt
    python scripts/projection_trial.py round   --category head --encoder FOLDER/encoder.pt | pack  [--steps 500]

learn: the pack's encoder gets a fourth channel, 1 where the picture shows nothing. Training images from which strips
are hidden, as a turned render lacks them (with --bend: and which are bent by a smooth field of so many pixels, as a
wrong shape bends them), are to be reproduced whole. Single images are the only teachers.
measure: pseudo samples of the true and of the estimated shape of 48 validation objects at four yaws, projected by the
pack's encoder and by the new one, against true renders: L1 inside the true mask, discriminator features, and the
heading that the attribute network reads (response: its slope over the yaw asked for).
round: a further round of pre-training from the pack's scene networks, projecting with one or the other; scores of the
64 validation objects through the encoder's guess, at the best of some depth scales.
"""

import argparse
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.bench.truth import render_truth
from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.files import write_state_atomic
from gan2shape.core.records import Render
from gan2shape.core.resources import pack_dir
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.invert.schedules import linear_fall
from gan2shape.measure.attributes import ATTRIBUTES_NAME, load_attributes
from gan2shape.nn.feature_metric import relative_distance
from gan2shape.nn.image_encoder import ImageEncoder
from gan2shape.prior.masked_generator import MaskedGenerator, masked_generator
from gan2shape.prior.packs import freeze, load_pack
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.scene.render import render, warp
from gan2shape.shape import pretrain
from gan2shape.shape.initialize import category_depth, mirror_mean_depth, tilted_by_view
from gan2shape.shape.losses import compared_pixels, feature_distance
from gan2shape.shape.pool import PretrainConfig, make_pool
from gan2shape.shape.projection import prior_features
from gan2shape.shape.sampling import sample_views
from gan2shape.shape.state import target_from
from gan2shape.synth.dataset import training_images

BATCH, LR, BETAS = 16, 5e-4, (0.0, 0.99)
PIXELS, FEATURES, LATENTS = 300.0, 12.0, 0.3  # weights: smooth L1, discriminator features, squared w in its deviations
HEADING_SD_DEG = 18.0  # of the views whose hidden parts are taken away in training
WIDEST_STRIP_PX, WHOLE_SHARE = 12, 0.1  # of strips at 64 x 64; of images from which nothing is hidden
BEND_CELLS, BEND_UP = 6, 0.35  # of the bending field; up and down relative to sideways
YAWS_DEG = (-25.0, -12.0, 12.0, 25.0)
DEPTH_SCALES = (0.9, 1.0, 1.1, 1.25, 1.4)


@dataclass(frozen=True)
class Bench:
    """A category's pack with what belongs to it."""

    category: str
    generator: MaskedGenerator
    config: ShapeConfig

    @property
    def prior(self):
        return self.generator.prior


class KnowingEncoder(torch.nn.Module):
    """(image, hidden) -> w: the pack's encoder with one channel more, which says where the image shows nothing."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        known, self.mapping = bench.prior.encoder, bench.prior.generator.mapping
        trunk = replace(known.config.trunk, image_channels=4)
        self.encoder = ImageEncoder(replace(known.config, trunk=trunk))
        state, first = dict(known.state_dict()), f"{self.encoder.block_names[0]}.fromrgb.weight"
        gain = math.sqrt(4 / 3)  # weights are scaled by the number of inputs when used
        extra = state[first].shape[1] // 3
        state[first] = F.pad(state[first] * gain, (0, 0, 0, 0, 0, extra))
        self.encoder.load_state_dict(state)

    def forward(self, image: Tensor, hidden: Tensor) -> Tensor:
        return self.mapping(self.encoder(torch.cat([image * (1 - hidden), hidden], 1))[0])


def open_bench(category: str) -> Bench:
    """The bundled pack at its own resolution."""
    generator = masked_generator(load_pack(pack_dir(category)))
    return Bench(category, generator, compose(ShapeConfig, category, calibration=generator.prior.calibration.settings))


def read_encoder(bench: Bench, path: str) -> KnowingEncoder:
    """A trained encoder, frozen."""
    encoder = KnowingEncoder(bench)
    encoder.encoder.load_state_dict(torch.load(path, weights_only=True))
    return freeze(encoder)


def hidden_part(made: Render, config: ShapeConfig) -> Tensor:
    """1 where the object of a render is stretched over what its input does not show."""
    return (1 - compared_pixels(made, config.steps).float()) * (made.mask > 0.5).float()


def strips(masks: Tensor, rng: torch.Generator) -> Tensor:
    """A strip at one side of each object: the mask less the mask shifted."""
    hidden = torch.zeros_like(masks)
    for row, mask in enumerate(masks > 0.5):
        right, down, side = (int(torch.randint(n, (1,), generator=rng)) for n in (WIDEST_STRIP_PX + 1, 7, 2))
        hidden[row] = (mask & ~torch.roll(mask, (down - 3, right if side else -right), (1, 2))).float()
    return hidden


def bent(images: Tensor, most_px: float, rng: torch.Generator) -> Tensor:
    """Each image through a smooth random field of displacements, mostly sideways, of up to `most_px` (deviation)."""
    sd = torch.rand(len(images), 1, 1, 1, generator=rng) * most_px * torch.tensor([1.0, BEND_UP]).view(1, 2, 1, 1)
    coarse = torch.randn(len(images), 2, BEND_CELLS, BEND_CELLS, generator=rng) * sd
    field = F.interpolate(coarse, images.shape[-2:], mode="bicubic", align_corners=False)
    field = field - field.mean((2, 3), keepdim=True)
    n = images.shape[-1]
    own = (torch.arange(n) + 0.5) * (2 / n) - 1
    return warp(images, torch.stack([own + field[:, 0] * 2 / n, own[:, None] + field[:, 1] * 2 / n], -1))


def learn(options: argparse.Namespace) -> None:
    """Train the encoder; progress on stdout, the result in FOLDER/encoder.pt."""
    bench = open_bench(options.category)
    prior, encoder = bench.prior, KnowingEncoder(bench)
    if options.start:
        encoder.encoder.load_state_dict(torch.load(options.start, weights_only=True))
    size = prior.generator.config.resolution
    images = torch.from_numpy(training_images(options.category, list(range(options.images)), size)).movedim(-1, 1)
    known, rng = pretrained_networks(prior, bench.config), torch.Generator().manual_seed(1)
    views = replace(bench.config.views, yaw_sd_deg=HEADING_SD_DEG)

    @torch.no_grad()
    def batch() -> tuple[Tensor, Tensor, Tensor]:
        seen = images[torch.randint(len(images), (BATCH,), generator=rng)].float() / 127.5 - 1
        seen = (seen.flip(-1) if torch.rand(1, generator=rng) < 0.5 else seen).contiguous()
        w = prior.guess_latent(seen)
        masks = (bench.generator(w)[1] > 0.5).float()
        depth, lit = category_depth(known, seen), torch.ones_like(masks)
        turned = sample_views(BATCH, views, rng)
        made = render(depth, seen, lit, turned, bench.config.render.fov_deg, Canvas(masks, torch.zeros_like(seen)))
        has_strip, has_any = (
            (torch.rand(BATCH, generator=rng) < share).float()[:, None, None, None] for share in (0.35, 1 - WHOLE_SHARE)
        )
        stretched = (1 - compared_pixels(made, bench.config.steps).float()) * masks
        hidden = (has_strip * strips(masks, rng) + (1 - has_strip) * stretched) * has_any
        return seen, w, hidden

    def loss_of(step: Step) -> Tensor:
        seen, w, hidden = batch()
        found = encoder(bent(seen, options.bend, rng) if options.bend else seen, hidden)
        made = prior.generator.synthesis(found)
        with torch.no_grad():
            wanted = prior.discriminator.features(seen)
        likeness = relative_distance(prior.discriminator.features(made), wanted)
        latent = ((found - w) / prior.w_std).square().mean()
        loss = PIXELS * F.smooth_l1_loss(made, seen, beta=0.1) + FEATURES * likeness + LATENTS * latent
        if step.index % 50 == 0:
            print(f"{step.index} loss {loss.item():.3f}", flush=True)
        return loss

    def keep(step: Step, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        if (step.index + 1) % 100 == 0 or step.index + 1 == options.steps:
            write_state_atomic(options.out / "encoder.pt", encoder.encoder.state_dict())

    options.out.mkdir(parents=True, exist_ok=True)
    stage = Stage("encoder", options.steps, linear_fall(LR, 0.4))
    optimise(encoder.encoder.parameters(), loss_of, Plan((stage,), betas=BETAS), after_step=keep)


@torch.no_grad()
def measure(options: argparse.Namespace) -> None:
    """Projections of pseudo samples against true renders."""
    bench = open_bench(options.category)
    prior, config, fov_deg = bench.prior, bench.config, bench.config.render.fov_deg
    items, n = exam_objects(options.category, "val", options.count), len(YAWS_DEG)
    views = torch.zeros(n, 6)
    views[:, 1] = torch.tensor(YAWS_DEG) * math.pi / 180
    truth = [render_truth(item, views, item.light.expand(n, -1)) for item in items]
    true_images, true_masks = (torch.cat([getattr(one, name) for one in truth]) for name in ("images", "masks"))
    images, masks, lights = (torch.cat([getattr(item, name) for item in items]) for name in ("image", "mask", "light"))
    latents = prior.guess_latent(images)
    shown = bench.generator(latents)[0]
    known, attributes = (
        pretrained_networks(prior, config),
        load_attributes(pack_dir(options.category) / ATTRIBUTES_NAME),
    )
    found = mirror_mean_depth(known, shown, config.initial.network_depth_scale)
    found = tilted_by_view(found, shown, known, prior, config.initial.network_tilt)
    encoder = read_encoder(bench, options.encoder)
    features, base = prior_features(prior), attributes.read(shown).heading_rad.repeat_interleave(n)

    def report(name: str, made: Tensor) -> None:
        error = (made - true_images).abs().mean(1, keepdim=True)
        l1 = ((error * true_masks).sum((1, 2, 3)) / true_masks.sum((1, 2, 3))).mean()
        turn, asked = attributes.read(made).heading_rad - base, views[:, 1].repeat(len(items))
        turn = torch.atan2(turn.sin(), turn.cos())
        slope = (turn * asked).sum() / asked.square().sum()
        far = feature_distance(made, true_images, features)
        print(f"{name:36s} L1 {l1:.4f}  features {far:.4f}  response {slope:.3f}", flush=True)

    report("true renders", true_images)
    report("true renders, pack's encoder", bench.generator(prior.guess_latent(true_images))[0])
    for name, depth in (("true shape", torch.cat([item.depth for item in items])), ("estimated shape", found)):
        made = pseudo_samples(depth, shown, masks, lights, views, fov_deg)
        hidden, each = hidden_part(made, config), latents.repeat_interleave(n, 0)
        report(f"{name}: pseudo samples", made.image)
        offset = each - prior.guess_latent(shown).repeat_interleave(n, 0)
        report(f"{name}: pack's encoder", bench.generator(offset + prior.guess_latent(made.image))[0])
        w = encoder(made.image, hidden)
        report(f"{name}: new encoder", bench.generator(w)[0])
        offset = each - encoder(shown, torch.zeros_like(masks)).repeat_interleave(n, 0)
        report(f"{name}: new encoder and offset", bench.generator(offset + w)[0])


def pseudo_samples(
    depth: Tensor, shown: Tensor, masks: Tensor, lights: Tensor, views: Tensor, fov_deg: float
) -> Render:
    """Every object in every view, with the albedo that its image leaves under its true light."""
    targets = [target_from(image[None], mask[None]) for image, mask in zip(shown, masks, strict=True)]
    backgrounds = torch.cat([target.canvas.background for target in targets])
    surfaces = torch.cat([target.surface for target in targets])
    farthest = torch.stack([one[mask > 0.5].max() for one, mask in zip(depth, masks, strict=True)])
    depth = torch.where(masks > 0.5, depth, farthest[:, None, None, None])
    shading = shade(normals_from_depth(depth, fov_deg), lights)
    albedo = ((surfaces / 2 + 0.5) / shading.clamp_min(0.1)).clamp(0, 1.5) * 2 - 1
    rows = torch.arange(len(depth)).repeat_interleave(len(views))
    canvas = Canvas(masks[rows], backgrounds[rows])
    return render(depth[rows], albedo[rows], shading[rows], views.repeat(len(depth), 1), fov_deg, canvas)


def further_round(options: argparse.Namespace) -> None:
    """Pre-train on from the pack's networks; scores at the start and on the way."""
    bench = open_bench(options.category)
    config, plan = bench.config, PretrainConfig(n_objects=options.images * 3 // 4, n_warm=0)
    size = config.render.resolution
    images = torch.from_numpy(training_images(options.category, list(range(options.images)), size)).movedim(-1, 1)
    pool = make_pool(bench.generator, plan.n_objects, 0, images.float() / 127.5 - 1)
    networks = pretrained_networks(bench.prior, config).requires_grad_(True)
    source = pretrain.PseudoSource(freeze(copy.deepcopy(networks)))
    generator = bench.generator
    if options.encoder != "pack":
        projecting(read_encoder(bench, options.encoder), config)
    scores = scorer(bench)
    print("start", scores(networks), flush=True)

    def loss_of(step: Step) -> Tensor:
        rng = torch.Generator().manual_seed(777_000 + step.index)
        return pretrain.joint_pretraining_loss(networks, source, pool, generator, config, plan, rng)

    def keep(step: Step, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        if (step.index + 1) % 100 == 0:
            print(step.index + 1, f"loss {loss.item():.4f}", scores(networks), flush=True)

    stage = Stage("joint", options.steps, linear_fall(config.steps.lr, 0.5))
    optimise(networks.parameters(), loss_of, Plan((stage,), betas=config.steps.betas), after_step=keep)


def projecting(encoder: KnowingEncoder, config: ShapeConfig) -> None:
    """Let pre-training project with the encoder, without offset."""

    def project(some, made: Render, generator: MaskedGenerator, n_views: int) -> tuple[Tensor, Tensor]:
        return generator(encoder(made.image, hidden_part(made, config)))

    pretrain.project_pseudo = project


def scorer(bench: Bench) -> Callable[[torch.nn.Module], str]:
    """Means over the validation objects, SIDE x 100 / aligned / MAD, each at the best of the depth scales."""
    items = exam_objects(bench.category, "val", 64)
    with torch.no_grad():
        shown = bench.generator(bench.prior.guess_latent(torch.cat([item.image for item in items])))[0]

    @torch.no_grad()
    def scores(networks: torch.nn.Module) -> str:
        unscaled, rows = mirror_mean_depth(networks, shown), []
        for scale in DEPTH_SCALES:
            depth = 1 + scale * (unscaled - 1)
            depth = tilted_by_view(depth, shown, networks, bench.prior, bench.config.initial.network_tilt)
            each = [
                score_depth(one[None], item.depth, item.mask, item.fov_deg)
                for one, item in zip(depth, items, strict=True)
            ]
            rows.append([np.mean([one[name] for one in each]) for name in ("side", "side_aligned", "mad_deg")])
        side, aligned, mad = np.array(rows).min(0)
        return f"{100 * side:.3f} / {100 * aligned:.3f} / {mad:.2f}"

    return scores


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("learn", "measure", "round"))
    parser.add_argument("--category", default="head")
    parser.add_argument("--out", type=Path, default=Path("runs") / "projection-trial")
    parser.add_argument("--encoder", default="pack")
    parser.add_argument("--start", help="an encoder to go on from [the pack's]")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--bend", type=float, default=0.0)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--count", type=int, default=48)
    options = parser.parse_args()
    if options.what == "measure" and not Path(options.encoder).is_file():
        parser.error(f"--encoder {options.encoder} is no file: name what `learn` has written.")
    torch.set_num_threads(1)
    {"learn": learn, "measure": measure, "round": further_round}[options.what](options)


if __name__ == "__main__":
    main()
