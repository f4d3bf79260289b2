"""The method: depth, albedo, view and light of one observed image (Pan et al., ICLR 2021). Table of contents:

    observe      image, mask and latent                                        shape/observe.py (invert/, prior/)
    initialise   an ellipsoid with a slant, or a pack's depth network           shape/initialize.py
    stages       albedo step -> projection step -> joint step, n times          shape/stages.py
                 pseudo samples are rendered                                    scene/render.py
                 and pulled onto the GAN                                        shape/projection.py
    result       the scene, rendered and exported                               here, export/

After each step the state is kept (shape/state.py); every step has its own random numbers, so that a run that was
interrupted and resumed gives what an uninterrupted one gives.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import to_yaml
from gan2shape.core.config import GREATEST_SEED, ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Observation, Render, Scene, Verdict
from gan2shape.export.bundle import Bundle, write_all, write_few
from gan2shape.export.photo import Photo
from gan2shape.prior.masked_generator import MaskedGenerator, full_image
from gan2shape.scene.camera import rotation
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.light import normals_from_depth, rotate_light, shade
from gan2shape.scene.render import render_input_view, render_scene
from gan2shape.shape.confidence import confidence_of
from gan2shape.shape.initialize import DEPTH_NETWORK, initialize, read_pitch_yaw_rad
from gan2shape.shape.observe import MIN_MASK_LEVEL
from gan2shape.shape.projection import project, refine
from gan2shape.shape.relit import takes_relit_form
from gan2shape.shape.stages import STEP_NAMES, run_step
from gan2shape.shape.state import (
    STATE_NAME,
    ObjectState,
    Progress,
    Target,
    current_scene,
    load_state,
    make_target,
    new_state,
    save_state,
)
from gan2shape.shape.strips import effect_strips
from gan2shape.shape.verdict import INSIDE, inversion_figures, require_picture, verdicts_of

OnScene = Callable[[Scene], None]


@dataclass(frozen=True)
class Reconstruction:
    """The result for one image. The canonical frame is the input's own view."""

    observation: Observation
    scenes: tuple[Scene, ...]  # the initial one first, then one a stage, the result last
    state: ObjectState
    target: Target
    progress: Progress
    generator: MaskedGenerator
    config: ShapeConfig
    seconds: dict[str, float]  # wall time by part
    # Whether the image lies inside what the prior knows; None for a sample or a latent, and without limits.
    verdict: Verdict | None = None
    # Of depth, in [0, 1] on the object (shape/confidence.py); None where the pack cannot tell.
    confidence: Float[Tensor, "1 1 S S"] | None = None
    # What was measured of an image that was given, by name (shape/verdict.py); nothing of a sample or a latent.
    figures: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences about the input: what was assumed, what was done to it before
    photo: Photo | None = None  # the observed image at its own resolution, where that is higher

    @property
    def scene(self) -> Scene:
        """Depth, albedo, view (zero) and light."""
        return self.scenes[-1]

    @property
    def canvas(self) -> Canvas:
        """Where the object is in the input, and what lies behind it."""
        return self.target.canvas

    @property
    def inversion_psnr_db(self) -> float | None:
        """How near the generator comes to the input image inside the mask; None for a sample or a latent."""
        return self.figures.get("inversion_psnr_db")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader has to know before trusting the shape, in sentences."""
        return () if self.verdict is None or self.verdict.level == INSIDE else (self.verdict.sentence,)

    @property
    def names(self) -> tuple[str, ...]:
        """What each scene is: the initial depth ("ellipsoid" or "depth network"), "stage 1", "stage 2" …"""
        return (self.progress.initial, *(f"stage {i}" for i in range(1, len(self.scenes))))

    def render(
        self,
        yaw_deg: float = 0.0,
        pitch_deg: float = 0.0,
        roll_deg: float = 0.0,
        light: Sequence[float | int] | None = None,
        light_frame: str = "canonical",
    ) -> Render:
        """The scene in another view and under another light.

        light: (ambient, diffuse, lx, ly), from above for ly < 0; the input's own unless given. `light_frame`:
        whether its direction is meant in the canonical frame or in the new camera's ("camera"). Raises UserError for
        another value.
        """
        if light_frame not in ("canonical", "camera"):
            raise UserError(f"Unknown light_frame {light_frame!r}: give 'canonical' or 'camera'.")
        device = self.scene.depth.device
        angles = torch.tensor([pitch_deg, yaw_deg, roll_deg], device=device) * (math.pi / 180)
        view = torch.nn.functional.pad(angles, (0, 3))[None]
        chosen = self.scene.light if light is None else self.scene.light.new_tensor([list(light)])
        if light is not None and light_frame == "camera":
            chosen = rotate_light(chosen, rotation(angles[None]).transpose(1, 2))
        with torch.no_grad():
            camera = self.config.render
            return render_scene(self.scene, view, chosen, camera.fov_deg, self.target.canvas, backend=camera.backend)

    @torch.no_grad()
    def project(self, rendered: Render, reference: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "B *L D"]:
        """Latents of renders of this object, pulled onto the generator by what was learnt here.

        `reference`, the render of the input's own view and light, has the input's latent.
        """
        prior, latent = self.generator.prior, self.observation.latent
        return project(self.state.encoder, prior, latent, rendered.image, reference, self.config)[0]

    def refine(self, latents: Float[Tensor, "B *L D"], rendered: Render, n_steps: int) -> Float[Tensor, "B *L D"]:
        """Latents after some Adam steps towards renders."""
        config = replace(self.config, ablation=replace(self.config.ablation, refine_steps=n_steps))
        return refine(latents, rendered, self.generator.prior, config)

    @torch.no_grad()
    def read_pose(self, image: Float[Tensor, "1 3 S S"]) -> tuple[Float[Tensor, "1 2"], Float[Tensor, "1 4"]]:
        """(pitch and yaw in radians against the input, light) that the view and light networks see in a picture."""
        networks = self.state.model.networks
        return read_pitch_yaw_rad(networks, image, self.target.image), networks.lights(image)

    def export(self, out_dir: str | Path) -> dict[str, Path]:
        """Write meshes, pictures, arrays and the report into a folder; returns short name -> path."""
        write = write_all if self.config.files == "all" else write_few
        return write(self.bundle(), Path(out_dir))

    def _texture(self) -> Photo | None:
        """The observed image at more than working resolution: the photo, or what the generator itself makes."""
        if self.photo is not None or self.observation.is_inverted:
            return self.photo
        made = full_image(self.generator, self.observation.latent)
        return None if made is None else to_uint8(made[0])

    def _object_view(self) -> Float[Tensor, "1 6"]:
        """Of the object's own frame, for meshes that are closed symmetrically; zero where nothing is known of it. The
        yaw is that which was given, else the heading that the pack's attribute network reads, else the view network's.
        """
        mesh, prior, view = self.config.mesh, self.generator.prior, self.scene.view.new_zeros(1, 6)
        if mesh.back != "symmetric":
            return view
        if mesh.symmetry_yaw_deg is not None:
            view[:, 1] = math.radians(mesh.symmetry_yaw_deg)
            return view
        if self.progress.initial == DEPTH_NETWORK:
            upright = prior.generator.synthesis(prior.w_mean[None]).clamp(-1, 1)
            view[:, :2] = read_pitch_yaw_rad(self.state.model.networks, self.observation.image, upright)
        if prior.attributes is not None:
            view[:, 1] = prior.attributes.read(self.observation.image).heading_rad
        return view

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from gan2shape.shape.notebook import as_html

        return as_html(self)

    def __repr__(self) -> str:
        return f"Reconstruction of a {self.config.category} ({', '.join(self.names)})"

    @torch.no_grad()
    def bundle(self) -> Bundle:
        """Everything that is exported."""
        scene, camera = self.scene, self.config.render
        normals = normals_from_depth(scene.depth, camera.fov_deg)
        shading = shade(normals, scene.light)
        latent = self.observation.latent
        images, labels, config_yaml = {}, {}, ""
        if self.config.files == "all":
            images, labels = effect_strips(scene, self.target, self.state.encoder, latent, self.generator, self.config)
            config_yaml = to_yaml(self.config)
        return Bundle(
            category=self.config.category,
            image=self.observation.image,
            mask=self.observation.mask,
            depth=scene.depth,
            confidence=self.confidence,
            albedo=scene.albedo.clamp(-1, 1),
            normal=normals,
            shading=shading,
            recon=render_input_view(scene.albedo, shading, self.target.canvas),
            view=scene.view,
            light=scene.light,
            latent=latent,
            fov_deg=camera.fov_deg,
            depth_half_range=camera.depth_half_range,
            strips=images,
            strip_labels=labels,
            losses=list(self.progress.losses),
            timings=self.seconds,
            config_yaml=config_yaml,
            photo=self._texture(),
            figures=self.figures,
            verdict=self.verdict,
            mesh=self.config.mesh,
            object_view=self._object_view(),
            notes=[
                *(() if self.verdict is None else (self.verdict.sentence,)),
                *self.notes,
                origin_note(self.progress, len(self.scenes) - 1, takes_relit_form(self.generator, self.config)),
                *substitutions(self.config),
                *self.generator.notes,
            ],
        )


def reconstruct(
    observation: Observation,
    generator: MaskedGenerator,
    config: ShapeConfig,
    report: Reporter = silent,
    state_dir: Path | None = None,
    on_scene: OnScene | None = None,
    resume: bool = True,
) -> Reconstruction:
    """Initialise, then run all stages. With `state_dir` the state is written after each step, and a state found there
    is continued, or with resume=False replaced. `on_scene` gets each scene as soon as it is there, but not those of a
    continued state.

    Raises UserError when a loss is not finite or the state there belongs to another configuration.
    """
    target = make_target(observation, generator if config.ablation.learn_from_inversion else None)
    state = new_state(config, observation.latent.shape[-1], observation.image.device)
    origin = {"image": observation.image, "w_mean": generator.prior.w_mean}  # what a state belongs to
    path = None if state_dir is None else state_dir / STATE_NAME
    scenes: tuple[Scene, ...] = ()
    if resume and path is not None and path.is_file():
        state, progress, scenes = load_state(path, state, config, origin)
    if not scenes:
        state, progress = initialize(state, target, observation.latent, generator, config, report)
        scenes = with_current((), state, target, config, on_scene)
        if path is not None:
            save_state(path, state, progress, scenes, config, origin)
    from_network = progress.initial == DEPTH_NETWORK
    n_stages = config.stages_from(from_network)
    for index in range(progress.n_done, len(STEP_NAMES) * n_stages):
        stage, name = index // len(STEP_NAMES), STEP_NAMES[index % len(STEP_NAMES)]
        noted: list[dict] = []
        noting = note_to(noted, report, f"{name} {stage + 1}/{n_stages}")
        started_at = time.perf_counter()
        state = run_step(state, target, observation.latent, generator, config, index, noting, from_network)
        spent = time.perf_counter() - started_at
        if name == STEP_NAMES[-1]:
            scenes = with_current(scenes, state, target, config, on_scene)
        seconds = {**progress.seconds, name: progress.seconds.get(name, 0.0) + spent}
        progress = replace(progress, n_done=index + 1, losses=progress.losses + tuple(noted), seconds=seconds)
        if path is not None:
            save_state(path, state, progress, scenes, config, origin)
    (verdict,) = verdicts_of([observation], generator)
    confidence = None
    if from_network:
        given = (observation.image, target.image, observation.mask, scenes[-1].depth)
        confidence = confidence_of(*given, generator.prior, config)
    (figures,) = inversion_figures([observation], generator)
    return finished(observation, scenes, state, target, progress, generator, config, verdict, confidence, figures)


def finished(
    observation: Observation,
    scenes: tuple[Scene, ...],
    state: ObjectState,
    target: Target,
    progress: Progress,
    generator: MaskedGenerator,
    config: ShapeConfig,
    verdict: Verdict | None = None,
    confidence: Float[Tensor, "1 1 S S"] | None = None,
    figures: Mapping[str, float] | None = None,
) -> Reconstruction:
    """The result, whose last scene has the input's own albedo and background. figures: of the inversion."""
    scenes = (*scenes[:-1], with_input_albedo(scenes[-1], observation, state, target, config.render.fov_deg))
    target = replace(target, canvas=make_target(observation).canvas)
    known = {**(figures or {}), **({} if verdict is None else verdict.figures)}
    told = (progress.seconds, verdict, confidence, known)
    return Reconstruction(observation, scenes, state, target, progress, generator, config, *told)


def with_current(
    scenes: tuple[Scene, ...], state: ObjectState, target: Target, config: ShapeConfig, on_scene: OnScene | None
) -> tuple[Scene, ...]:
    """The scenes so far and the present one."""
    scene = current_scene(state.model, target, config.render.fov_deg)
    if on_scene is not None:
        on_scene(scene)
    return (*scenes, scene)


def with_input_albedo(
    scene: Scene, observation: Observation, state: ObjectState, target: Target, fov_deg: float
) -> Scene:
    """The learnt shape and light with the albedo of the input itself (the same scene where the inversion is exact)."""
    networks = state.model.networks
    if target.image is observation.image or not networks.explains_input:
        return scene
    shading = shade(normals_from_depth(scene.depth, fov_deg), scene.light)
    return replace(scene, albedo=networks.albedo(make_target(observation).surface, shading))


def note_to(notes: list[dict], report: Reporter, stage: str) -> Reporter:
    """A reporter that also keeps what is reported, under the stage's name."""

    def noted(_: str, step: int, n_steps: int, **numbers: float) -> None:
        notes.append({"stage": stage, "step": step, **numbers})
        report(stage, step, n_steps, **numbers)

    return noted


def origin_note(progress: Progress, n_stages: int, is_relit: bool) -> str:
    """The initial depth and the number of stages on this object, in a sentence."""
    if progress.initial == DEPTH_NETWORK:
        further = ", with fine form from relit pictures" if is_relit else ""
        return f"Initial depth: the pack's own depth network{further}; stages on this object: {n_stages}."
    return f"Initial depth: an ellipsoid with a slant of {progress.slant_deg:g} degrees; stages: {n_stages}."


def substitutions(config: ShapeConfig) -> tuple[str, ...]:
    """What takes the place of something published, in a sentence each; nothing with our own losses."""
    if config.ablation.losses != "published":
        return ()
    return ("Published losses; discriminator features take the place of LPIPS, whose VGG16 cannot be had offline.",)


def check_inputs(image: object, mask: object, latent: object, seed: object, n_layers: int, w_dim: int) -> None:
    """Raises UserError for inputs that are no float tensors of the shapes that `api.reconstruct` states, for numbers
    that are not finite, for an image without a picture, a mask without an object, and a seed that is none.
    """
    if not isinstance(seed, int) or not 0 <= seed <= GREATEST_SEED:
        raise UserError(f"seed={seed} has to be a whole number from 0 to {GREATEST_SEED}.")
    for name, given, channels in (("image", image, 3), ("mask", mask, 1)):
        is_right = isinstance(given, Tensor) and given.ndim == 4 and given.shape == (1, channels, *2 * given.shape[3:])
        if given is not None and not is_right:
            raise UserError(
                f"{name} has to be a tensor of shape [1, {channels}, S, S]: read files with `gan2shape run --image` or "
                "gan2shape.export.inputs.read_image."
            )
    for name, given in (("image", image), ("mask", mask), ("latent", latent)):
        if isinstance(given, Tensor) and given.dtype != torch.float32:
            raise UserError(f"{name} has to hold float32 numbers, not {given.dtype}: give {name}.float().")
    if isinstance(image, Tensor):
        require_picture(image)
    for name, given in (("mask", mask), ("latent", latent)):
        if isinstance(given, Tensor) and not bool(given.isfinite().all()):
            raise UserError(f"{name} holds numbers that are not finite.")
    if isinstance(mask, Tensor) and (not mask.numel() or float(mask.max()) < MIN_MASK_LEVEL):
        raise UserError("The mask is empty: mark the object with 1.")
    shapes = ((1, w_dim), (1, n_layers, w_dim))
    if latent is not None and not (isinstance(latent, Tensor) and tuple(latent.shape) in shapes):
        known = " or ".join(str(list(shape)) for shape in shapes)
        raise UserError(f"latent has to be a tensor of shape {known} for this generator.")
