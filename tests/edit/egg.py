"""A half-ellipsoid of one grey that can be edited: its form, its light and what projects it are known."""

from dataclasses import dataclass

import torch

from gan2shape.core.config import ShapeConfig
from gan2shape.core.records import Observation, Render, Scene
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.canvas import Canvas
from tests.export.objects import LIGHT, ellipsoid
from tests.shape.tiny import CONFIG, SIZE, tiny_generator


@dataclass(frozen=True)
class Egg:
    """Its projection is the mean colour of the render against the reference's, added to each component of w; a step of
    refinement adds a tenth of a thousandth.
    """

    config: ShapeConfig
    observation: Observation
    generator: MaskedGenerator
    scene: Scene
    canvas: Canvas

    def project(self, rendered: Render, reference: torch.Tensor) -> torch.Tensor:
        change = rendered.image.mean((1, 2, 3)) - reference.mean((1, 2, 3))
        return self.observation.latent + change[:, None]

    def refine(self, latents: torch.Tensor, rendered: Render, n_steps: int) -> torch.Tensor:
        assert len(latents) == len(rendered.image)
        return latents + 1e-4 * n_steps

    def read_pose(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.tensor([[0.1, -0.2]]), torch.tensor([[-0.1, 0.5, 0.3, -0.3]])


def make_egg() -> Egg:
    """Grey on black, under `LIGHT`."""
    generator = tiny_generator()
    depth, mask = ellipsoid(SIZE)
    albedo = torch.zeros(1, 3, SIZE, SIZE)
    scene = Scene(depth, albedo, torch.zeros(1, 6), torch.tensor([LIGHT]))
    observation = Observation(albedo, mask, generator.prior.w_mean[None])
    return Egg(CONFIG, observation, generator, scene, Canvas(mask, torch.full_like(albedo, -1.0)))
