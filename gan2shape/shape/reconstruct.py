"""The Python interface: `gan2shape.reconstruct(image | latent | None, category="car") -> Reconstruction`."""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import compose, to_yaml
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Observation, Render, Scene
from gan2shape.export.bundle import Bundle, write_all
from gan2shape.nn.sized_generator import resized
from gan2shape.prior.masked_generator import MaskedGenerator, observe_latent, observe_seed
from gan2shape.prior.open import open_prior
from gan2shape.scene.camera import rotation
from gan2shape.scene.light import normals_from_depth, rotate_light, shade
from gan2shape.scene.pseudo import draw_input, draw_scene
from gan2shape.shape.loop import Outcome, learn
from gan2shape.shape.observe import observe_image
from gan2shape.shape.strips import strips


@dataclass(frozen=True)
class Reconstruction:
    """What was found for one image. The canonical frame is the input's own view."""

    observation: Observation
    outcome: Outcome
    generator: MaskedGenerator
    config: ShapeConfig
    seconds: dict[str, float]  # wall time by part, the inversion included

    @property
    def scene(self) -> Scene:
        """Depth, albedo, view (zero) and light."""
        return self.outcome.scenes[-1]

    def render(
        self,
        yaw_deg: float = 0.0,
        pitch_deg: float = 0.0,
        roll_deg: float = 0.0,
        light: tuple[float, float, float, float] | None = None,
        light_frame: str = "canonical",
    ) -> Render:
        """The scene from another side and under another lamp.

        light: (ambient, diffuse, lx, ly), lamp above for ly < 0; the input's own unless given. `light_frame` says
        whether its direction is meant in the canonical frame or in the new camera's ("camera"). Raises UserError for
        another word.
        """
        if light_frame not in ("canonical", "camera"):
            raise UserError(f"Unknown light_frame {light_frame!r}: say 'canonical' or 'camera'.")
        device = self.scene.depth.device
        angles = torch.tensor([pitch_deg, yaw_deg, roll_deg], device=device) * (math.pi / 180)
        view = torch.nn.functional.pad(angles, (0, 3))[None]
        lamp = self.scene.light if light is None else torch.tensor([light], device=device)
        if light is not None and light_frame == "camera":
            lamp = rotate_light(lamp, rotation(angles[None]).transpose(1, 2))
        with torch.no_grad():
            drawn = draw_scene(self.scene, self.outcome.target.canvas, view, lamp, self.config.render)
        return Render(drawn.image, drawn.depth, drawn.mask, drawn.grid)

    def export(self, out_dir: str | Path) -> dict[str, Path]:
        """Write meshes, pictures, arrays and the report into a folder; returns short name -> path."""
        return write_all(self.bundle(), Path(out_dir))

    @torch.no_grad()
    def bundle(self) -> Bundle:
        """Everything that is exported."""
        scene, target, render = self.scene, self.outcome.target, self.config.render
        normals = normals_from_depth(scene.depth, render.fov_deg)
        shading = shade(normals, scene.light)
        images, labels = strips(self.outcome, self.observation.latent, self.generator, self.config)
        return Bundle(
            category=self.config.category,
            image=self.observation.image,
            mask=self.observation.mask,
            depth=scene.depth,
            albedo=scene.albedo.clamp(-1, 1),
            normal=normals,
            shading=shading,
            recon=draw_input(scene.albedo, shading, target.canvas),
            view=scene.view,
            light=scene.light,
            latent=self.observation.latent,
            fov_deg=render.fov_deg,
            depth_half_range=render.depth_half_range,
            strips=images,
            strip_labels=labels,
            losses=list(self.outcome.progress.losses),
            timings=self.seconds,
            config_yaml=to_yaml(self.config),
            notes=[
                started_from(self.outcome),
                *self.generator.notes,
            ],
        )


def started_from(outcome: Outcome) -> str:
    """What the shape began at and how much was learnt on this object, in a sentence."""
    stages = sum(name.startswith("stage") for name in outcome.names)
    if outcome.progress.pretrained:
        return f"Start: the pack's own networks, trained on images that it reproduces; stages on this object: {stages}."
    return f"Start: an ellipsoid with a slant of {outcome.progress.slant_deg:g} degrees; stages: {stages}."


def check_given(image: object, mask: object, latent: object, n_layers: int, w_dim: int) -> None:
    """Raises UserError for inputs that are no tensors, or tensors of other shapes than `reconstruct` states."""
    for name, given, channels in (("image", image, 3), ("mask", mask, 1)):
        is_right = isinstance(given, Tensor) and given.ndim == 4 and given.shape == (1, channels, *2 * given.shape[3:])
        if given is not None and not is_right:
            raise UserError(
                f"{name} has to be a tensor of shape [1, {channels}, S, S]: read files with `gan2shape run --image` or "
                "gan2shape.export.inputs.read_image."
            )
    shapes = ((1, w_dim), (1, n_layers, w_dim))
    if latent is not None and not (isinstance(latent, Tensor) and tuple(latent.shape) in shapes):
        known = " or ".join(str(list(shape)) for shape in shapes)
        raise UserError(f"latent has to be a tensor of shape {known} for this generator.")


def reconstruct(
    image: Float[Tensor, "1 3 S S"] | None = None,
    latent: Float[Tensor, "1 *L D"] | None = None,
    category: str | None = None,
    *,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    seed: int = 0,
    preset: str = "draft",
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    config: ShapeConfig | None = None,
    generator: MaskedGenerator | str | Path | None = None,
    features: str | Path | None = None,
    report: Reporter = silent,
    state_dir: Path | None = None,
) -> Reconstruction:
    """Depth, albedo, view and light of one image, latent, or (with neither) of the generator's sample `seed`.

    Args:
        image: in [-1, 1]. mask: its object, in [0, 1]; found through the inversion unless given. Both are resized.
        latent: w, or W+, of the generator.
        category: whose bundled generator, and whose ranges of views, lights and relief; car unless given, or what
            `gan2shape prior` was told about the `generator`.
        generator: a StyleGAN2 checkpoint in the place of the bundled one (or what `open_prior` has opened).
        features: a TorchScript module, which is code that runs, to compare images with.
        overrides: `key=value` words of the configuration; or give a whole `config`.
        state_dir: folder where the state is kept after each step; a state found there is continued.
    Raises UserError for what cannot be used, with cause and remedy.
    """
    if isinstance(generator, MaskedGenerator):
        if features is not None:
            raise UserError("features belong to a generator that is named by its path: give that, or leave them away.")
        settings = (*generator.prior.calibration.settings, *overrides)
        config = config or compose(ShapeConfig, category or ShapeConfig.category, preset, settings)
    else:
        generator, own = open_prior(category, generator, preset, overrides, features, device)
        config = own if config is None else replace(config, render=replace(config.render, size=own.render.size))
    check_given(image, mask, latent, generator.prior.generator.n_layers, generator.prior.w_mean.shape[-1])
    image, mask = (None if given is None else resized(given, config.render.size) for given in (image, mask))
    device_used = generator.prior.w_mean.device
    began = time.perf_counter()
    if latent is not None:
        observation = observe_latent(latent.to(device_used), generator, mask)
    elif image is not None:
        observation = observe_image(image, generator, config, mask, report)
    else:
        observation = observe_seed(seed, generator, mask)
    observed = time.perf_counter()
    outcome = learn(observation, generator, config, report, state_dir)
    seconds = {"observe": observed - began, **outcome.progress.seconds, "total": time.perf_counter() - began}
    return Reconstruction(observation, outcome, generator, config, seconds)
