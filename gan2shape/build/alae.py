"""ALAE: an encoder and a generator that learn together, with a discriminator of latents behind the encoder (Pidhorskyi
et al. 2020, algorithm 1). What comes of it is a pack of its own, and an encoder for it.

Three updates a step, as published: D(E(x)) tells real pictures from made ones (E and D; R1 on the pictures); G and its
mapping answer; and E has to read the w that a picture was made from (E and G without its mapping). Ours begins as a
pack's generator and encoder, since a core has minutes.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.build.encoders import EncoderPlan, new_encoder
from gan2shape.core.config import Finite, need_training
from gan2shape.core.devices import choose_dtype, upload
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.schedules import linear_fall
from gan2shape.invert.terms import w_scale
from gan2shape.nn.generator import Generator
from gan2shape.nn.latent_encoder import LatentCritic, LatentEncoder
from gan2shape.prior.encoders import save_encoder
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import Prior, make_prior, save_pack
from gan2shape.train.image_source import ImageSource
from gan2shape.train.objectives import discriminator_loss, generator_loss, gradient_penalty
from gan2shape.train.session import TrainingSession, run_session, step_rng

R1_INTERVAL = 4  # steps between two gradient penalties
SECONDS_AN_IMAGE = 0.06  # of one core, at 64 x 64
PACK_FOLDER, ENCODER_FILE = "pack", "alae.safetensors"


@dataclass(frozen=True)
class AlaePlan(Finite):
    """How both are trained."""

    n_steps: int = 600
    batch: int = 16
    n_images: int = 8000  # rendered ones
    flips: bool = True  # pictures are mirrored at random
    lr: float = 5e-4  # of all three (published: 2e-3 at low resolutions, from nothing)
    latent_weight: float = 1.0  # of the squared distance of w from what is read, in units of w's scale
    r1_gamma: float = 0.15  # published: 10
    seed: int = 0

    def check(self) -> None:
        need_training(self)

    def seconds(self, size: int) -> float:
        """Expected time of one core, for pictures of `size` pixels."""
        return self.n_steps * self.batch * SECONDS_AN_IMAGE * (size / 64) ** 2


KINDS: Mapping[str, AlaePlan] = {"alae": AlaePlan()}


class Judging(nn.Module):
    """D(E(x)): the logit of a picture, by what the encoder reads in it."""

    def __init__(self, encoder: LatentEncoder, critic: LatentCritic, scale: float) -> None:
        super().__init__()
        self.encoder, self.critic, self.scale = encoder, critic, scale

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1"]:
        """Positive for real."""
        return self.of_w(self.encoder(images)[:, 0])

    def of_w(self, w: Float[Tensor, "B D"]) -> Float[Tensor, "B 1"]:
        """Of a w that was read."""
        return self.critic(((w - self.encoder.w_mean) / self.scale)[:, :, None, None])


def train_alae(
    prior: Prior,
    source: ImageSource,
    plan: AlaePlan,
    out: Path,
    *,
    precision: str = "auto",
    resume: bool = True,
    report: Reporter = silent,
) -> dict[str, Path]:
    """Train generator and encoder from those of a pack, or go on; returns the folder of the new pack, and the encoder's
    file. Raises UserError as `run_session` does.
    """
    device = prior.w_mean.device
    generator = copy.deepcopy(prior.generator).train().requires_grad_(True)
    encoder = new_encoder(prior, EncoderPlan(head="flat", seed=plan.seed))
    with seeded(plan.seed):
        critic = LatentCritic(generator.config.w_dim).to(device)
    judge, scale = Judging(encoder, critic, float(w_scale(prior))), w_scale(prior)
    networks: dict[str, nn.Module] = {"generator": generator, "encoder": encoder, "critic": critic}
    optimizers = {n: torch.optim.Adam(net.parameters(), lr=plan.lr, betas=(0.0, 0.99)) for n, net in networks.items()}
    dtype, rate = choose_dtype(precision, device), linear_fall(plan.lr, start=0.5)

    def updated(loss: Tensor, *names: str) -> Tensor:
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            optimizers[name].step()
        return loss.detach()

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        real = upload(source.sample(rng, plan.batch, plan.flips), device).contiguous(memory_format=torch.channels_last)
        z = torch.from_numpy(rng.standard_normal((3, plan.batch, generator.config.z_dim), dtype="float32"))
        z = upload(z, device)
        for optimizer in optimizers.values():
            optimizer.param_groups[0]["lr"] = rate(index, plan.n_steps)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            with torch.no_grad():
                fake = generator(z[0])
            told = discriminator_loss(judge(real), judge(fake))
        found = {"critic": updated(told, "encoder", "critic")}
        if plan.r1_gamma > 0 and index % R1_INTERVAL == 0:
            penalty = gradient_penalty(judge, real)
            updated(penalty * (0.5 * plan.r1_gamma * R1_INTERVAL), "encoder", "critic")
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            answer = generator_loss(judge(generator(z[1])))
        found["generator"] = updated(answer, "generator")
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            with torch.no_grad():  # the mapping network would make w easy to read: E and G alone agree (step III)
                w = generator.mapping(z[2])
            read = encoder(generator.synthesis(w))[:, 0]
            apart = ((read - w) / scale).square().mean()
        updated(plan.latent_weight * apart, "encoder", "generator")
        return found | {"latent": apart.detach()}

    begun = generator_hash(prior.generator)
    card = {"kind": "alae", "begun_from": begun, "plan": asdict(plan), "images": source.made_of}
    each = plan.seconds(prior.resolution) / plan.n_steps
    session = TrainingSession("alae", plan.n_steps, plan.batch, card, each)
    seconds = run_session(session, networks, optimizers, step, out, resume=resume, report=report)
    return written(generator, encoder, prior, {**card, "seconds": round(seconds, 1)}, out)


def written(generator: Generator, encoder: LatentEncoder, prior: Prior, card: dict, out: Path) -> dict[str, Path]:
    """The pack and the encoder's file. The pack's discriminator is the old one, which compares pictures; networks that
    read the old generator's features do not belong to the new one.
    """
    named = {**card, "category": prior.card.get("category", ""), "licence": prior.card.get("licence", "")}
    save_pack(out / PACK_FOLDER, make_prior(generator, prior.discriminator, named))
    encoder.config = replace(encoder.config, generator=generator_hash(generator))
    return {"pack": out / PACK_FOLDER, "encoder": save_encoder(out / ENCODER_FILE, encoder, card)}
