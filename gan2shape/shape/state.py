"""What is learnt about one object, and how it is kept on disk so that an interrupted run goes on.

State travels in frozen dataclasses; networks are the only things that change in place.
"""

import json
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gan2shape.core.config import GREATEST_SEED, MeshConfig, ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_bytes_atomic
from gan2shape.core.records import Observation, Scene
from gan2shape.core.seeding import seeded
from gan2shape.nn.scene_networks import SceneNetworks, projector
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.canvas import Canvas, fill_background, unmix_background
from gan2shape.scene.light import normals_from_depth, shade
from gan2shape.shape.gauge import DepthBase, depth_from_raw, flat_base, with_border_columns

STATE_NAME = "state.safetensors"
ORIGIN_TOLERANCE = 1e-2  # of pixels and latents that a state belongs to: a GPU repeats its renders only nearly
SEED_STRIDE = 1_000_003  # between the random numbers of two seeds


@dataclass(frozen=True)
class Target:
    """The input as the steps use it."""

    image: Float[Tensor, "1 3 S S"]
    canvas: Canvas
    surface: Float[Tensor, "1 3 S S"]  # the object's own colours: the image without the background in its rim


@dataclass(frozen=True)
class Samples:
    """Images of the object under other views and lights, as the joint step consumes them."""

    images: Float[Tensor, "N 3 S S"]
    masks: Float[Tensor, "N 1 S S"]
    views: Float[Tensor, "N 6"]  # target (or, on the ladder's first rung, true) views
    lights: Float[Tensor, "N 4"]


@dataclass(frozen=True)
class SceneModel:
    """The scene of one object as its networks hold it: depth is what the depth network adds to `base`."""

    networks: SceneNetworks
    base: DepthBase

    def depth(self, image: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "1 1 S S"]:
        """Canonical depth about 1."""
        depth, border = self.free_depth(image), self.networks.border_depth
        return depth if border is None else with_border_columns(depth, border)

    def free_depth(self, image: Float[Tensor, "1 3 S S"]) -> Float[Tensor, "1 1 S S"]:
        """Canonical depth before the published networks' border columns are fixed."""
        return depth_from_raw(self.networks.depth_net(image), self.base, self.networks.depth_half_range)


@dataclass(frozen=True)
class ObjectState:
    """The parts that learn about one object, and the samples that the last projection step left."""

    model: SceneModel
    encoder: nn.Module  # E: what a pseudo sample's latent adds to the prior's guess
    samples: Samples | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run is, and what it noted on the way."""

    n_done: int = 0  # finished steps, three a stage
    initial: str = ""  # the initial depth: "ellipsoid" or "depth network"
    slant_deg: float = 0.0  # of the ellipsoid that was chosen
    losses: tuple[dict, ...] = ()  # {"stage", "step", numbers}
    seconds: dict[str, float] = field(default_factory=dict)  # by step name, summed over stages


def target_from(image: Float[Tensor, "1 3 S S"], mask: Float[Tensor, "1 1 S S"]) -> Target:
    """Image and mask as the steps use them."""
    background = fill_background(image, mask)
    return Target(image, Canvas(mask, background), unmix_background(image, mask, background))


def make_target(observation: Observation, generator: MaskedGenerator | None = None) -> Target:
    """The observation as the steps use it.

    With a generator, the shape is learnt from what it makes of the latent instead of from the input itself: projections
    are its images too, and whatever the inversion misses would otherwise be explained by crumpling the depth.
    """
    image = observation.image
    if generator is not None:
        with torch.no_grad():
            image = generator(observation.latent)[0]
    return target_from(image, observation.mask)


def new_state(config: ShapeConfig, w_dim: int, device: torch.device | str) -> ObjectState:
    """Networks with weights that the seed fixes, at a plane; the caller's random numbers stay what they were."""
    with seeded(config.seed):
        networks = SceneNetworks(config)
        encoder = projector(w_dim, config)
    model = SceneModel(networks.to(device), flat_base(config.render.resolution, device))
    return ObjectState(model, encoder.to(device))


def step_rng(config: ShapeConfig, index: int) -> torch.Generator:
    """Random numbers of one step: a function of the seed and the step's index alone."""
    return torch.Generator().manual_seed((SEED_STRIDE * config.seed + index) % GREATEST_SEED)


@torch.no_grad()
def current_scene(model: SceneModel, target: Target, fov_deg: float) -> Scene:
    """The scene that the networks hold for the input, in the input's view (zero) and light."""
    return scene_with(model, target, model.depth(target.image), model.networks.lights(target.image), fov_deg)


def scene_with(
    model: SceneModel,
    target: Target,
    depth: Float[Tensor, "1 1 S S"],
    light: Float[Tensor, "1 4"],
    fov_deg: float,
) -> Scene:
    """The scene of this depth under this light, in the input's view."""
    shading = shade(normals_from_depth(depth, fov_deg), light)
    return Scene(depth, model.networks.albedo(target.surface, shading), light.new_zeros(1, 6), light)


# --------------------------------------------------------------------------------------------------------- on disk


def save_state(
    path: Path,
    state: ObjectState,
    progress: Progress,
    scenes: tuple[Scene, ...],
    config: ShapeConfig,
    origin: dict[str, Tensor],
) -> None:
    """Everything a restart needs, whole or not at all. `origin`: tensors that tell inputs and generators apart."""
    tensors = {f"networks/{name}": tensor for name, tensor in state.model.networks.state_dict().items()}
    tensors |= {f"base/{spec.name}": getattr(state.model.base, spec.name) for spec in fields(DepthBase)}
    tensors |= {f"encoder/{name}": tensor for name, tensor in state.encoder.state_dict().items()}
    tensors |= {f"origin/{name}": tensor for name, tensor in origin.items()}
    if state.samples is not None:
        tensors |= {f"samples/{spec.name}": getattr(state.samples, spec.name) for spec in fields(Samples)}
    for i, scene in enumerate(scenes):
        tensors |= {f"scenes/{i}/{spec.name}": getattr(scene, spec.name) for spec in fields(Scene)}
    notes = {**{spec.name: getattr(progress, spec.name) for spec in fields(Progress)},
             "n_scenes": len(scenes), "config": fingerprint(config)}  # fmt: skip
    notes["channels_last"] = [name for name, tensor in tensors.items() if _is_channels_last(tensor)]
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes_atomic(path, save(plain, {"notes": json.dumps(notes)}))


def load_state(
    path: Path, state: ObjectState, config: ShapeConfig, origin: dict[str, Tensor]
) -> tuple[ObjectState, Progress, tuple[Scene, ...]]:
    """The inverse of `save_state`. Raises UserError for a damaged file and for another configuration, input or
    generator.
    """
    damaged = UserError(f"The state {path} is damaged: start anew without --resume.")
    try:
        with safe_open(path, framework="pt") as stored:
            notes = json.loads(stored.metadata()["notes"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        if notes["config"] != fingerprint(config):
            raise UserError(
                f"The state {path} belongs to other settings or another version: resume with the same, or start anew."
            )
        for name in notes["channels_last"]:
            tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
        check_origin(path, _part(tensors, "origin/", "cpu"), origin)
        return _restored(tensors, notes, state)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise damaged from error


def _is_channels_last(tensor: Tensor) -> bool:
    """Whether it lies in memory so and not in the plain order: other convolution kernels, other last bits."""
    return tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _restored(tensors: dict[str, Tensor], notes: dict, state: ObjectState):
    """State, progress and scenes from the file's contents."""
    device = state.model.networks.light_mean.device
    state.model.networks.load_state_dict(_part(tensors, "networks/", device))
    state.encoder.load_state_dict(_part(tensors, "encoder/", device))
    samples = _part(tensors, "samples/", device)
    scenes = tuple(Scene(**_part(tensors, f"scenes/{i}/", device)) for i in range(notes["n_scenes"]))
    known = {spec.name: notes[spec.name] for spec in fields(Progress)}
    progress = Progress(**{**known, "losses": tuple(known["losses"])})
    model = replace(state.model, base=DepthBase(**_part(tensors, "base/", device)))
    return replace(state, model=model, samples=Samples(**samples) if samples else None), progress, scenes


def _part(tensors: dict[str, Tensor], prefix: str, device: torch.device | str) -> dict[str, Tensor]:
    # Cloned: what is read stays mapped to the file, which the next step replaces; Windows would not let it.
    own = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    return {name[len(prefix) :]: value.clone().to(device) for name, value in own.items()}


def check_origin(path: Path, stored: dict[str, Tensor], origin: dict[str, Tensor]) -> None:
    """Raises UserError where a state belongs to another input or generator."""
    for name, tensor in origin.items():
        tensor = tensor.cpu()
        known = stored.get(name, tensor.new_empty(0))
        if known.shape != tensor.shape or not torch.allclose(known, tensor, atol=ORIGIN_TOLERANCE):
            raise UserError(f"The state {path} belongs to another input or other weights: start anew without --resume.")


def fingerprint(config: ShapeConfig) -> str:
    """What must be equal for a state to be continued. `n_stages` may grow: the stages that are there stay valid. The
    exported mesh may change.
    """
    return repr(replace(config, n_stages=None, mesh=MeshConfig()))
