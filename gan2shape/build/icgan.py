"""Training IcGAN's encoders for a class-conditional generator (Perarnau et al. 2016, section 3).

E_z learns from the generator's own pictures, whose z is known; E_y from real ones, whose classes are. The published
generator is a DCGAN; ours is the conditional StyleGAN2 of a pack.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.config import Finite, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.edit.icgan import FILE_NAME, require_classes, save_icgan
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.icgan import IcganConfig, accuracy, build_icgan, z_error
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import Prior
from gan2shape.train.image_source import ImageSource
from gan2shape.train.session import TrainingSession, run_session, step_rng

SECONDS_AN_IMAGE = 0.012  # of one core, at 64 x 64: one picture is made, two are read


@dataclass(frozen=True)
class IcganPlan(Finite):
    """How both are trained, side by side. Published: Adam 1e-4, beta1 .1, 15 epochs."""

    n_steps: int = 1500
    batch: int = 32
    n_images: int = 4000
    flips: bool = True  # pictures are mirrored at random
    lr: float = 1e-3  # falls in a line over the second half
    seed: int = 0

    def check(self) -> None:
        need_training(self)

    def seconds(self, size: int) -> float:
        """Expected time of one core, for pictures of `size` pixels."""
        return self.n_steps * self.batch * SECONDS_AN_IMAGE * (size / 64) ** 2


KINDS: Mapping[str, IcganPlan] = {"icgan": IcganPlan()}


def train_icgan(
    prior: Prior,
    source: ImageSource,
    plan: IcganPlan,
    out: Path,
    *,
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> Path:
    """Train both encoders for a conditional pack, or go on; returns their file in `out`. `source` has labels.

    Raises UserError as `run_session` does, and where the classes of images and generator differ.
    """
    classes, own, device = require_classes(prior), prior.generator.config, prior.w_mean.device
    if source.images.classes != classes:
        ours, theirs = ", ".join(classes), ", ".join(source.images.classes)
        raise UserError(
            f"The generator's classes are {ours}, but those of the images {theirs}: render images of the generator's "
            "category with `gan2shape synth --shards --labels`."
        )
    dtype = choose_dtype(precision, device)
    config = IcganConfig(own.resolution, own.z_dim, len(classes), generator_hash=generator_hash(prior.generator))
    encoders = build_icgan(config, plan.seed).to(device, memory_format=torch.channels_last).train()
    optimizer, rate = torch.optim.Adam(encoders.parameters(), lr=plan.lr), linear_fall(plan.lr, start=0.5)

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        real, labels = source.sample_labelled(rng, plan.batch, plan.flips)
        z = torch.from_numpy(rng.standard_normal((plan.batch, own.z_dim), dtype="float32"))
        wanted = torch.from_numpy(rng.integers(0, len(classes), plan.batch))
        real, labels, z, wanted = (upload(x, device) for x in (real, labels, z, wanted))
        for group in optimizer.param_groups:
            group["lr"] = rate(index, plan.n_steps)
        with torch.no_grad():
            made = prior.generator(z, 1.0, "const", wanted)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            found, logits = encoders.z_of(made), encoders.y(real)
        error, entropy = z_error(found.float(), z), F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        (error + entropy).backward()
        optimizer.step()
        return {"z": error.detach(), "class": entropy.detach(), "accuracy": accuracy(logits, labels)}

    card = {"kind": "icgan", "generator": config.generator_hash, "plan": asdict(plan), "images": source.made_of}
    each = plan.seconds(own.resolution) / plan.n_steps
    session = TrainingSession("icgan", plan.n_steps, plan.batch, card, each)
    seconds = run_session(
        session, {"encoders": encoders}, {"encoders": optimizer}, step, out, resume=resume, report=report
    )
    return save_icgan(out / FILE_NAME, encoders, {**card, "classes": classes, "seconds": round(seconds, 1)})
