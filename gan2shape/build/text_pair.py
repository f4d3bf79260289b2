"""Teaching the toy pair of pictures and sentences, and measuring it on combinations that were never said.

Contrastive: of a batch, every sentence has to find the pictures of which it is true, and every picture the sentences
that are true of it (InfoNCE both ways, several right answers sharing the weight).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from gan2shape.build.attribute_images import AttributePairs
from gan2shape.build.captions import NOTHING, facts_of, random_subset, sentence
from gan2shape.core.config import Finite, need, need_training
from gan2shape.core.devices import upload
from gan2shape.core.images import to_float
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.edit.text import save_text_pair
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.latent_encoder import take_trunk_weights, trunk_of
from gan2shape.nn.text_pair import TextPair, TextPairConfig
from gan2shape.synth.objects import CategorySpec
from gan2shape.train.session import TrainingSession, run_session, step_rng

SECONDS_AN_IMAGE = 0.006  # of one core


@dataclass(frozen=True)
class TextPlan(Finite):
    """How the pair is trained."""

    n_objects: int = 4000  # two pictures each
    n_held_out: int = 500  # further objects, to measure with
    n_steps: int = 600
    batch: int = 64
    lr: float = 2e-3
    image_noise: float = 0.05  # standard deviation, images in [-1, 1]
    seed: int = 0

    def check(self) -> None:
        need_training(self)
        need(self.batch > 1, f"batch={self.batch} has to be 2 at least")

    def seconds(self) -> float:
        """Expected time of one core."""
        return self.n_steps * self.batch * SECONDS_AN_IMAGE


def agreement(
    similarity: Float[Tensor, "N M"], is_true: Bool[Tensor, "N M"], log_temperature: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Mean of both cross-entropies; rows are sentences, columns pictures, and right answers share the weight."""
    logits, right = similarity / log_temperature.exp(), is_true.float()
    by_row = -(F.log_softmax(logits, 1) * right / right.sum(1, keepdim=True).clamp_min(1)).sum(1)
    by_column = -(F.log_softmax(logits, 0) * right / right.sum(0, keepdim=True).clamp_min(1)).sum(0)
    return (by_row.mean() + by_column.mean()) / 2


def truths(facts: Tensor, said: Bool[Tensor, "N 3"]) -> Bool[Tensor, "N N"]:
    """Whether the sentence about object i that says `said[i]` is true of object j."""
    return ((facts[:, None] == facts[None]) | ~said[:, None]).all(2)


def train_text_pair(
    spec: CategorySpec,
    pairs: AttributePairs,
    plan: TextPlan,
    out: Path,
    trunk_weights: dict[str, Tensor] | None = None,
    resume: bool = True,
    device: torch.device | str = "cpu",
    report: Reporter = silent,
) -> Path:
    """Train the pair for a category, or go on with it; returns `text.safetensors` in `out`.

    trunk_weights: of an encoder or discriminator, that the pyramid begins with.
    """
    facts = facts_of(spec, pairs)
    table, usable = facts.table, (~facts.is_held_out).nonzero()[:, 0].numpy()
    pictures = np.concatenate([pairs.images[:, 0], pairs.images[:, 1]])
    with seeded(plan.seed):
        pair = TextPair(TextPairConfig(trunk_of(pictures.shape[1]), facts.words()))
    take_trunk_weights(pair.pyramid, trunk_weights or {})
    pair = pair.to(device)
    optimizer = torch.optim.Adam(pair.parameters(), lr=plan.lr, betas=(0.9, 0.99))
    rate, is_known = linear_fall(plan.lr, start=0.5), tuple(bool((column != NOTHING).any()) for column in table.t())

    def step(index: int) -> dict[str, Tensor]:
        rng = step_rng(plan.seed, index)
        chosen = rng.choice(usable, plan.batch)
        said = [random_subset(rng, is_known) for _ in chosen]
        noise = plan.image_noise * rng.standard_normal((plan.batch, 3, *pictures.shape[1:3]), np.float32)
        images = upload(to_float(pictures[chosen]) + torch.from_numpy(noise), device)
        tokens = pair.tokens(*(sentence(facts, table[i], one) for i, one in zip(chosen, said, strict=True)))
        similarity = pair.of_text(tokens) @ pair.of_images(images).t()
        is_true = upload(truths(table[chosen], torch.tensor(said)), device)
        loss = agreement(similarity, is_true, pair.log_temperature)
        optimizer.param_groups[0]["lr"] = rate(index, plan.n_steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"contrast": loss.detach()}

    card = {"kind": "toy text pair", "category": spec.name, "plan": asdict(plan)}
    session = TrainingSession("text", plan.n_steps, plan.batch, card, plan.seconds() / plan.n_steps)
    seconds = run_session(session, {"pair": pair}, {"pair": optimizer}, step, out, resume=resume, report=report)
    return save_text_pair(out / "text.safetensors", pair, {**card, "seconds": round(seconds, 1)})


@torch.no_grad()
def measure_text_pair(pair: TextPair, spec: CategorySpec, pairs: AttributePairs) -> dict[str, float | int]:
    """How often the whole sentence that is true of a picture is the most alike of all distinct ones, on pictures whose
    combination was never said in training, and by chance.
    """
    facts = facts_of(spec, pairs)
    kept = facts.is_held_out
    pictures = np.concatenate([pairs.images[:, 0], pairs.images[:, 1]])[kept.numpy()]
    distinct, own = facts.table[kept].unique(dim=0, return_inverse=True)
    words = pair.tokens(*(sentence(facts, row) for row in distinct))
    batches = (upload(to_float(part), words.device) for part in np.array_split(pictures, 8) if len(part))
    alike = torch.cat([pair.of_images(batch) for batch in batches])
    found = (alike @ pair.of_text(words).t()).argmax(1).cpu()
    parts = {f"{name}_accuracy": float((distinct[found][:, i] == distinct[own][:, i]).float().mean())
             for i, name in enumerate(("colour", "style", "light"))}  # fmt: skip
    whole = float((found == own).float().mean())
    return {"n": len(own), "n_sentences": len(distinct), "accuracy": whole, "chance": 1 / len(distinct), **parts}
