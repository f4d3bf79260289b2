"""Teaching the mask head of a bundled pack: a segmenter learns masks of synthetic renders, labels samples of the
generator, and the head on the generator's features learns those labels. Images in [-1, 1], masks in [0, 1].
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Stage, Step, optimise
from gan2shape.nn.generator import Generator
from gan2shape.nn.mask_head import MaskHead, head_config

BATCH, LR = 16, 3e-3  # of both


class Segmenter(nn.Module):
    """Image -> mask logits: the teacher, used while a pack is built and then thrown away."""

    def __init__(self, width: int = 16):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), nn.LeakyReLU(0.2)]
        for dilation in (1, 2, 4, 8):
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(width, 1, 1))

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 1 S S"]:
        return self.body(images)


def train_segmenter(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"],
    n_steps: int = 400,
    seed: int = 0,
    report: Reporter = silent,
) -> Segmenter:
    """Fit the teacher to synthetic renders (soft masks: binary cross-entropy). Deterministic with `seed`."""
    with seeded(seed):
        segmenter = Segmenter()
    rng = torch.Generator().manual_seed(seed)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        chosen = torch.randint(len(images), (BATCH,), generator=rng)
        return F.binary_cross_entropy_with_logits(segmenter(images[chosen]), masks[chosen])

    optimise(segmenter.parameters(), loss_of, Plan((Stage("segmenter", n_steps, LR),)), report=report)
    return segmenter.eval()


def train_mask_head(
    generator: Generator, segmenter: nn.Module, n_steps: int = 300, seed: int = 0, report: Reporter = silent
) -> MaskHead:
    """Distil the teacher's masks of generator samples into a head on generator features. Deterministic with `seed`."""
    with seeded(seed):
        head = MaskHead(head_config(generator))
    rng = torch.Generator().manual_seed(seed)

    def loss_of(step: Step) -> Float[Tensor, ""]:
        with torch.no_grad():
            w = generator.mapping(torch.randn(BATCH, generator.config.z_dim, generator=rng))
            images, features = generator.synthesis(w, return_features=True)
            labels = torch.sigmoid(segmenter(images.clamp(-1, 1)))
        return F.binary_cross_entropy(head(features), labels)

    optimise(head.parameters(), loss_of, Plan((Stage("mask head", n_steps, LR),)), report=report)
    return head.eval()
