"""From what the user gives (an image, a latent, or nothing) to an Observation: image, object mask, latent."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.config import ShapeConfig
from gan2shape.gan.mask_head import MaskHead, MaskHeadConfig
from gan2shape.gan.packs import Prior
from gan2shape.invert.w_space import invert
from gan2shape.progress import Reporter, silent
from gan2shape.records import Observation, UserError

SAMPLE_TRUNCATION = 0.7  # psi of samples that serve as input (published)


@dataclass(frozen=True)
class MaskedGenerator:
    """The frozen generator with its mask head: latents -> images and object masks."""

    prior: Prior
    head: MaskHead | None

    def __call__(self, latents: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B 3 S S"], Float[Tensor, "B 1 S S"]]:
        """Images in [-1, 1] and masks in [0, 1]; a pack without a head says that everything is object."""
        images, features = self.prior.generator.synthesis(latents, return_features=True)
        images = images.clamp(-1, 1)
        return images, torch.ones_like(images[:, :1]) if self.head is None else self.head(features)


def masked_generator(prior: Prior) -> MaskedGenerator:
    """Generator and mask head of a pack."""
    if "mask" not in prior.networks:
        return MaskedGenerator(prior, None)
    settings = prior.network_configs["mask"]
    head = MaskHead(MaskHeadConfig(**{**settings, "feature_channels": tuple(settings["feature_channels"])}))
    head.load_state_dict(prior.networks["mask"])
    return MaskedGenerator(prior, head.to(prior.w_mean.device).eval().requires_grad_(False))


def observe_latent(latent: Float[Tensor, "1 D"], generator: MaskedGenerator) -> Observation:
    """What the generator draws for a latent."""
    with torch.no_grad():
        image, mask = generator(latent)
    return Observation(image, mask, latent)


def observe_seed(seed: int, generator: MaskedGenerator) -> Observation:
    """A sample of the generator at truncation .7, as published samples are."""
    z_dim = generator.prior.generator.config.z_dim
    z = torch.randn(1, z_dim, generator=torch.Generator().manual_seed(seed)).to(generator.prior.w_mean.device)
    with torch.no_grad():
        w = generator.prior.generator.mapping(z)
    return observe_latent(generator.prior.w_mean + SAMPLE_TRUNCATION * (w - generator.prior.w_mean), generator)


def observe_image(
    image: Float[Tensor, "1 3 S S"],
    generator: MaskedGenerator,
    config: ShapeConfig,
    mask: Float[Tensor, "1 1 S S"] | None = None,
    report: Reporter = silent,
) -> Observation:
    """Invert an image; its mask is the one given, else the one that the generator's features show through the
    inversion.

    Raises UserError when no object is found.
    """
    image = image.to(generator.prior.w_mean.device)
    found = invert(image, generator.prior, config.invert, config.seed, mask, report)
    if mask is None:
        with torch.no_grad():
            _, mask = generator(found.latent)
    if float(mask.max()) < 0.7:
        raise UserError("No object was found in the image: give its mask with --mask.")
    return Observation(image, mask.to(image.device), found.latent)


def read_latent(path: Path, w_dim: int) -> Float[Tensor, "1 D"]:
    """A w vector from .npz / .npy (first array) or .safetensors (first tensor). Raises UserError where there is
    none.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no latent file {path}: give a .npy, .npz or .safetensors file with one w.")
    try:
        array = _read_array(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"The latent file {path} cannot be read: give a .npy, .npz or .safetensors file.") from error
    if array.size != w_dim:
        raise UserError(f"The latent in {path} has {array.size} numbers but this generator takes {w_dim}.")
    if not np.isfinite(array).all():
        raise UserError(f"The latent in {path} holds numbers that are not finite: give another one.")
    return torch.from_numpy(array.reshape(1, w_dim).astype(np.float32))


def _read_array(path: Path) -> np.ndarray:
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
        return tensors.get("latent", next(iter(tensors.values())))
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return loaded["latent"] if "latent" in loaded.files else loaded[loaded.files[0]]
