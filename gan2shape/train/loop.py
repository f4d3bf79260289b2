"""Training a generator: the loop, its configuration, and `python -m gan2shape.train.loop --data DIR --out DIR`.

One step shows `batch` real images. Counters are in images or kimg (thousands of real images). Non-saturating logistic
loss and lazy R1, or another objective; style mixing, averaged weights (Karras et al. 2020). The output folder holds
`checkpoint.pt`, `stats.jsonl`, `config.json`, `reals.png` and sample sheets `fakes<kimg>.png`.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.devices import choose_dtype, choose_threads, upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import PlainReporter, Reporter, say, silent
from gan2shape.nn.averages import average_weights
from gan2shape.nn.layers import full_precision, n_parameters
from gan2shape.prior.packs import load_pack
from gan2shape.train import autoencoding, objectives
from gan2shape.train.config import TrainConfig
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.grow import start_grown
from gan2shape.train.journal import STATS_NAME, Journal, report_line
from gan2shape.train.ranks import ALONE, Ranks, open_ranks
from gan2shape.train.samples import StepSamples, n_reproduced, rank_samples
from gan2shape.train.sheets import SHEET_IMAGES, SHEET_SEED, samples_sheet, write_sheet
from gan2shape.train.state import (
    TrainState,
    add_encoder,
    load_state,
    new_state,
    save_state,
    start_from_pack,
)


def learning_rate_factor(config: TrainConfig, n_images: int) -> float:
    """1, then linearly down to `lr_final` at the end of training."""
    if config.lr_decay_from >= 1.0:
        return 1.0
    progress = n_images / (config.kimg * 1000.0)
    fall = min(max((progress - config.lr_decay_from) / (1.0 - config.lr_decay_from), 0.0), 1.0)
    return 1.0 + fall * (config.lr_final - 1.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale each group's rate from its initial value."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def styles(config: TrainConfig, state: TrainState, samples: StepSamples, ranks: Ranks) -> Float[Tensor, "B L D"]:
    """W+ of a step, with style mixing; updates the running mean of w."""
    batch = samples.z.shape[0]
    labels = None if samples.made_labels is None else samples.made_labels.repeat(2)
    both = state.generator.mapping(torch.cat([samples.z, samples.z_mix]), labels=labels)
    with torch.no_grad():
        w_avg = state.generator.mapping.w_avg
        w_avg.lerp_(ranks.mean(full_precision(both).mean(dim=0)), 1.0 - config.w_avg_beta)
    return objectives.mix_styles(both[:batch], both[batch:], samples.cutoff, state.generator.n_layers)


def autoencoding_step(
    config: TrainConfig, state: TrainState, samples: StepSamples, ranks: Ranks
) -> dict[str, Tensor]:
    """One update of both players and the encoder; the first `autoencoding_share` of the batch is reproduced."""
    n = n_reproduced(config) // ranks.count
    weights = autoencoding.AutoencodingWeights(
        config.pixel_weight, config.feature_weight, config.divergence_weight, config.coverage_weight,
        config.class_weight,
    )  # fmt: skip
    w = styles(config, state, samples, ranks)
    loss_g, made = autoencoding.generator_gradients(
        state.generator, state.discriminator, state.encoder, w[n:], samples.clean[:n], samples.posterior_noise[:n],
        samples.instance_noise, weights, samples.made_labels, ranks, objectives.OBJECTIVES[config.objective],
    )  # fmt: skip
    state.generator_optimizer.step()
    state.encoder_optimizer.step()
    # The same images serve both players, which saves generating them anew.
    losses = discriminator_step(config, state, samples, made.made + samples.instance_noise, ranks)
    losses |= {"generator": loss_g}
    return losses | {"pixel": made.pixel, "feature": made.feature, "nats": made.divergence, "cover": made.coverage}


def adversarial_step(config: TrainConfig, state: TrainState, samples: StepSamples, ranks: Ranks) -> dict[str, Tensor]:
    """One update of the discriminator, and every `critic_steps` steps one of the generator before it."""
    noise, losses = samples.instance_noise, {}
    if state.step % config.critic_steps == 0:
        w, objective = styles(config, state, samples, ranks), objectives.OBJECTIVES[config.objective]
        losses["generator"] = objectives.generator_gradients(
            state.generator, state.discriminator, w, noise, samples.made_labels, ranks, objective, config.class_weight
        )
        state.generator_optimizer.step()
    with torch.no_grad():
        fake = state.generator.synthesis(styles(config, state, samples, ranks), "random") + noise
    return losses | discriminator_step(config, state, samples, fake, ranks)


def discriminator_step(
    config: TrainConfig, state: TrainState, samples: StepSamples, fake: Float[Tensor, "B 3 S S"], ranks: Ranks
) -> dict[str, Tensor]:
    """One update of the discriminator, with the penalty that its objective needs at every step."""
    objective, penalty = objectives.OBJECTIVES[config.objective], None
    if objective.has_slope and config.slope_weight > 0:
        with torch.autocast(samples.real.device.type, enabled=False):
            slope = objectives.slope_penalty(state.discriminator, samples.real, fake, samples.share, samples.labels)
        penalty = config.slope_weight * slope
    labels = (samples.made_labels, samples.labels)
    loss, logit_real, logit_fake = objectives.discriminator_gradients(
        state.discriminator, fake, samples.real, *labels, ranks, objective, penalty, config.class_weight
    )
    state.discriminator_optimizer.step()
    losses = {"discriminator": loss, "logit_real": logit_real, "logit_fake": logit_fake}
    return losses if penalty is None else losses | {"slope": slope.detach()}


def has_r1(config: TrainConfig) -> bool:
    """Whether the discriminator's gradient on real images is penalised."""
    return config.r1_gamma > 0 and not objectives.OBJECTIVES[config.objective].has_slope


def regularise(config: TrainConfig, state: TrainState, samples: StepSamples, ranks: Ranks) -> dict[str, Tensor]:
    """Lazy penalties of this step, float32; each is weighted by its interval."""
    logged = {}
    if has_r1(config) and state.step % config.r1_interval == 0:
        objectives.clear_gradients(state.discriminator)
        penalty = objectives.gradient_penalty(state.discriminator, samples.real, samples.labels)
        (penalty * (0.5 * config.r1_gamma * config.r1_interval)).backward()
        ranks.mean_gradients(state.discriminator)
        state.discriminator_optimizer.step()
        logged["r1"] = penalty.detach()
    started = state.n_images >= config.path_from * config.kimg * 1000.0
    if config.path_weight > 0 and started and state.step % config.path_interval == 0:
        n = max(1, int(config.batch // ranks.count * config.path_batch_fraction))
        objectives.clear_gradients(state.generator)
        labels = None if samples.made_labels is None else samples.made_labels[:n]
        w = state.generator.mapping(samples.z[:n], labels=labels)[:, None].expand(-1, state.generator.n_layers, -1)
        rng, shape = np.random.default_rng([config.seed, state.step, 1]), samples.real.shape[1:]
        own = ranks.rows(config.batch, config.discriminator.stddev_group)[:n].numpy()
        noise = rng.standard_normal((config.batch, *shape), np.float32)[own]
        noise = upload(torch.from_numpy(noise), w.device)
        penalty, state.mean_path_length = objectives.path_length_penalty(
            state.generator, w, state.mean_path_length, config.path_decay, noise, ranks
        )
        (penalty * (config.path_weight * config.path_interval)).backward()
        ranks.mean_gradients(state.generator)
        state.generator_optimizer.step()
        logged["path"] = penalty.detach()
    return logged


def train_step(
    config: TrainConfig,
    state: TrainState,
    images: ShardedImages,
    dtype: torch.dtype,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Show one batch: adversarial update, lazy penalties, weight average. Returns numbers to log, on the device: the
    host does not wait for them.
    """
    samples = rank_samples(config, images, state.step, state.generator.n_layers, device, ranks)
    factor = learning_rate_factor(config, state.n_images)
    set_learning_rate(state.generator_optimizer, factor)
    set_learning_rate(state.discriminator_optimizer, factor)
    if state.encoder is not None:
        set_learning_rate(state.encoder_optimizer, factor)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        update = adversarial_step if state.encoder is None else autoencoding_step
        losses = update(config, state, samples, ranks)
    logged = regularise(config, state, samples, ranks)
    state.step += 1
    state.n_images += config.batch
    beta = objectives.ema_beta(config.batch, state.n_images, config.ema_half_life_kimg, config.ema_ramp)
    average_weights(state.average, state.generator, beta)
    if state.encoder is not None:
        average_weights(state.encoder_average, state.encoder, beta)
    return losses | logged


def train(
    dataset_dirs: str | Path | Sequence[Path],
    out_dir: str | Path,
    config: TrainConfig,
    resume: bool = True,
    start_from: str | Path | None = None,
    report: Reporter = silent,
) -> TrainState:
    """Train on the images of some folders until `config.kimg`, continuing from `out_dir`'s checkpoint if `resume`.
    Returns the final state.

    start_from: a pack whose networks and image count a new training begins with (its optimisers start afresh); one of
    half the resolution is grown (`train.grow`).
    Raises UserError if the folder has no usable images or its checkpoint belongs to other networks. Stop it at any
    time: the next call continues from the last checkpoint.

    Under `torchrun`, every process shows its share of `config.batch`, and the first one alone writes and reports.
    """
    with open_ranks(config.device) as (ranks, device):
        return _train(dataset_dirs, Path(out_dir), config, resume, start_from, report, ranks, device)


def _train(
    dataset_dirs: str | Path | Sequence[Path],
    out: Path,
    config: TrainConfig,
    resume: bool,
    start_from: str | Path | None,
    report: Reporter,
    ranks: Ranks,
    device: torch.device,
) -> TrainState:
    """`train` as one of the ranks."""
    out.mkdir(parents=True, exist_ok=True)
    ranks.require_divisible(config.batch, n_reproduced(config), config.discriminator.stddev_group)
    dtype = ranks.agreed(choose_dtype(config.precision, device))
    n_threads = choose_threads(config.n_threads, device)
    images = ShardedImages(dataset_dirs, config.generator.resolution, config.labels)
    config = with_classes(config, len(images.classes))
    path_interval = config.path_interval if config.path_weight > 0 else 0
    r1_interval = config.r1_interval if has_r1(config) else 0
    state = new_state(
        config.generator, config.discriminator, config.lr, config.beta2, path_interval, r1_interval, config.seed,
        device, config.mapping_rate,
    )  # fmt: skip
    if config.autoencoding_share > 0:
        add_encoder(state, config.lr, config.beta2, config.seed)
    resumed = resume and load_state(state, out, device)
    if start_from is not None and not resumed:
        prior = load_pack(start_from, device)
        is_smaller = 2 * prior.generator.config.resolution == config.generator.resolution
        (start_grown if is_smaller else start_from_pack)(state, prior, config.batch)
    if ranks.agreed(state.n_images) != state.n_images:
        raise UserError(f"{out} holds another checkpoint for each process: let them share one folder.")
    if ranks.index > 0:
        run_loop(config, state, images, None, out, dtype, device, report, ranks)
        return state
    journal = Journal(out / STATS_NAME, state.n_images)
    (out / "config.json").write_text(json.dumps(asdict(config), indent=1))
    millions = [n_parameters(network) / 1e6 for network in (state.generator, state.discriminator)]
    if report is not silent:
        say(
            f"G {millions[0]:.2f} M, D {millions[1]:.2f} M parameters; {len(images)} images; {device}, {dtype}; "
            f"{n_threads} CPU threads; {'resumed at' if resumed else 'from'} {state.n_images} images"
        )
    reals = images.sample(SHEET_IMAGES, np.random.default_rng(SHEET_SEED), flips=False)
    write_sheet(reals, out / "reals.png")
    run_loop(config, state, images, journal, out, dtype, device, report, ranks)
    return state


def with_classes(config: TrainConfig, n_classes: int) -> TrainConfig:
    """The same settings for networks of this many classes."""
    generator, discriminator = (replace(one, n_classes=n_classes) for one in (config.generator, config.discriminator))
    return replace(config, generator=generator, discriminator=discriminator)


def run_loop(
    config: TrainConfig,
    state: TrainState,
    images: ShardedImages,
    journal: Journal | None,
    out: Path,
    dtype: torch.dtype,
    device: torch.device,
    report: Reporter = silent,
    ranks: Ranks = ALONE,
) -> None:
    """Steps, reports, sheets and checkpoints until `config.kimg`; without a journal, steps alone."""
    goal = int(config.kimg * 1000)
    last_save = last_report = time.perf_counter()
    reported = state.n_images
    while state.n_images < goal:
        measured = train_step(config, state, images, dtype, device, ranks)
        if journal is None:
            continue
        journal.add(measured)
        now, done = time.perf_counter(), state.n_images >= goal
        if done or state.n_images - reported >= config.report_kimg * 1000:
            state.seconds += now - last_report
            rate = (state.n_images - reported) / (now - last_report)
            header = {"kimg": state.n_images / 1000, "seconds": round(state.seconds, 1), "images_per_s": round(rate, 1)}
            report_line(report, state, goal, journal.write(header))
            last_report, reported = now, state.n_images
        sheet_images = config.sheet_kimg * 1000
        if done or state.n_images // sheet_images > (state.n_images - config.batch) // sheet_images:
            samples_sheet(state.average, out / f"fakes{state.n_images // 1000:06d}.png")
        if done or now - last_save > config.checkpoint_seconds:
            save_state(state, out)
            if ranks.count == 1:  # ranks sample alike as long as they see the same images
                images.rescan()
            choose_threads(config.n_threads, device)
            last_save = time.perf_counter()


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Train a 64 x 64 prior on a folder of images_*.npy shards.")
    parser.add_argument("--data", required=True, help="folder of shards images_*.npy, uint8 [N, 64, 64, 3]")
    parser.add_argument("--out", required=True, help="output folder; a checkpoint there is continued")
    parser.add_argument("--start-from", help="pack whose networks a new training begins with")
    parser.add_argument("--fresh", action="store_true", help="ignore an existing checkpoint")
    defaults = TrainConfig()
    for name, value in asdict(defaults).items():
        if isinstance(value, bool):
            parser.add_argument(f"--{name.replace('_', '-')}", action=argparse.BooleanOptionalAction, default=value)
        elif isinstance(value, (int, float, str)):
            parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args())
    data, out, fresh, start_from = (options.pop(name) for name in ("data", "out", "fresh", "start_from"))
    try:
        config = replace(defaults, **options)
    except ValueError as error:
        parser.error(f"{error}.")
    train(data, out, config, not fresh, start_from, PlainReporter(sys.stderr))


if __name__ == "__main__":
    main()
