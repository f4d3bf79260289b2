"""Packs: a category's prior in one safetensors file, with a card and a calibration beside it.

`prior.safetensors` holds float16 weights under `generator/…`, `discriminator/…`, `networks/<name>/…`, the latent
statistics in float32 under `statistics/…`, and every configuration as JSON in the file's metadata. `card.json` is for
people: training images, duration, seed, measured quality, licence, limits. `calibration.json`, where there is one, is
read by `prior.calibration`, `confidence.safetensors` by `nn.confidence`, `attributes.safetensors` by
`measure.attributes`, `editing.safetensors` by `nn.editing`. Nothing is pickled.

A class-conditional pack is read as it is (for training), or as the ordinary prior of one class (`of_class`, for use).
"""

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from gan2shape.checkpoints.open import CARD_NAME, PACK_FORMAT, PACK_NAME
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_atomic, write_text_atomic
from gan2shape.core.seeding import seeded
from gan2shape.measure.attributes import AttributeNetwork, attributes_beside
from gan2shape.nn.confidence import ConfidenceNetwork, confidence_beside
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig, critic_of_class
from gan2shape.nn.editing import EditingNetwork, editing_beside
from gan2shape.nn.feature_metric import FeatureMetric
from gan2shape.nn.generator import Generator, GeneratorConfig, state_of_class
from gan2shape.nn.image_encoder import ENCODER_NAME, ImageEncoder, build_encoder
from gan2shape.prior.calibration import Calibration, read_calibration, write_calibration

READABLE_BY_ALL = 0o644  # mode of a pack's file
STATISTICS_SAMPLES = 20_000  # latents behind w_mean and w_cov
STATISTICS_BATCH = 2_000


@dataclass(frozen=True)
class Origin:
    """How a command names a prior; nothing of it is stored with one."""

    category: str | None = None  # whose pack, or whose ranges a generator is used with
    generator: Path | None = None  # in the place of the category's pack
    class_index: int | None = None  # of a class-conditional one


@dataclass(frozen=True)
class Prior:
    """The frozen GAN of one category, and what was learnt about it."""

    generator: Generator  # averaged weights, eval mode, no gradients
    # Its blocks serve as perceptual distance; None for bare generators, which may borrow another network.
    discriminator: Discriminator | FeatureMetric | None
    w_mean: Float[Tensor, " D"]  # mean of w over the latent distribution
    w_cov: Float[Tensor, "D D"]  # covariance of w
    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # state dicts of further networks, by name
    network_configs: dict[str, dict] = field(default_factory=dict)  # what is needed to build them
    card: dict = field(default_factory=dict)  # category, training, measurements, licence, limits
    calibration: Calibration = field(default_factory=Calibration)  # settings that suit these weights
    confidence: ConfidenceNetwork | None = None  # how far its depth may be off, where the pack can tell
    attributes: AttributeNetwork | None = None  # reads heading, light and identity, where the pack can
    editing: EditingNetwork | None = None  # turns and relights latents in one pass, where the pack can
    origin: Origin = field(default_factory=Origin)  # as it was named, for remedies and for where its networks lie

    @property
    def resolution(self) -> int:
        """Of the images, pixels a side: a large generator may be used at a smaller one than its own."""
        return getattr(self.generator.synthesis, "size", self.generator.config.resolution)

    @property
    def w_std(self) -> Float[Tensor, " D"]:
        """Standard deviation of each component of w."""
        return self.w_cov.diagonal().clamp(min=0).sqrt()

    @cached_property
    def encoder(self) -> ImageEncoder | None:
        """The image encoder that was trained beside the generator, frozen; None where there is none (as beside foreign
        ones).
        """
        if ENCODER_NAME not in self.networks:
            return None
        encoder = build_encoder(self.network_configs[ENCODER_NAME], self.networks[ENCODER_NAME])
        return freeze(encoder.to(self.w_mean.device, memory_format=torch.channels_last))

    def guess_latent(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"] | None:
        """w of each image in one pass of the encoder, without gradient; None where there is none."""
        if self.encoder is None:
            return None
        with torch.no_grad():
            return self.generator.mapping(self.encoder(images)[0])


@torch.no_grad()
def latent_statistics(
    generator: Generator, n_samples: int = STATISTICS_SAMPLES, seed: int = 0
) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
    """Mean and covariance of w over random z."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(n_samples, generator.config.z_dim, generator=rng).to(generator.w_avg.device)
    first, second, origin = 0.0, 0.0, generator.mapping(z[:STATISTICS_BATCH]).mean(dim=0)
    for part in z.split(STATISTICS_BATCH):  # summed as it goes, about a point near the mean: all w at once are large
        w = (generator.mapping(part) - origin).cpu().double()
        first, second = first + w.sum(dim=0), second + w.t() @ w
    mean = first / n_samples
    covariance = (second - n_samples * mean[:, None] * mean) / (n_samples - 1)
    return origin + mean.float().to(origin.device), covariance.float().to(origin.device)


def make_prior(generator: Generator, discriminator: Discriminator | None, card: dict | None = None) -> Prior:
    """Freeze trained networks (the AVERAGED generator) and measure the latent statistics."""
    freeze(generator)
    if discriminator is not None:
        freeze(discriminator)
    w_mean, w_cov = latent_statistics(generator)
    return Prior(generator, discriminator, w_mean, w_cov, card=dict(card or {}))


def freeze(module: nn.Module) -> nn.Module:
    """Eval mode, no parameter gradients."""
    return module.eval().requires_grad_(False)


def save_pack(folder: str | Path, prior: Prior, dtype: torch.dtype = torch.float16) -> Path:
    """Write the pack, its card and its calibration, if it has any, into `folder`, each atomically.

    Returns the path of the safetensors file.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = write_prior(folder / PACK_NAME, prior, dtype)
    write_card(folder, prior.card)
    if prior.calibration.values:
        write_calibration(folder, prior.calibration)
    return path


def write_prior(path: Path, prior: Prior, dtype: torch.dtype, further_metadata: dict[str, str] | None = None) -> Path:
    """One safetensors file with everything but the card, written whole or not at all. Returns its path."""
    tensors = {f"generator/{name}": tensor.to(dtype) for name, tensor in prior.generator.state_dict().items()}
    metadata = {"format": PACK_FORMAT, "generator": _to_json(prior.generator.config)}
    if prior.discriminator is not None:
        state = prior.discriminator.state_dict()
        tensors |= {f"discriminator/{name}": tensor.to(dtype) for name, tensor in state.items()}
        metadata["discriminator"] = _to_json(prior.discriminator.config)
    for network, state in prior.networks.items():
        tensors |= {
            f"networks/{network}/{name}": t.to(dtype) if t.is_floating_point() else t for name, t in state.items()
        }
    metadata["network_configs"] = json.dumps(prior.network_configs)
    tensors |= {"statistics/w_mean": prior.w_mean.float(), "statistics/w_cov": prior.w_cov.float()}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def save(temporary: Path) -> None:
        save_file(plain, temporary, metadata=metadata | (further_metadata or {}))
        temporary.chmod(READABLE_BY_ALL)  # `save_file` leaves it to its owner, which breaks a shared install

    return write_atomic(path, save)


def _to_json(config: GeneratorConfig | DiscriminatorConfig) -> str:
    """A configuration; without classes it is what it was before there were any, so that earlier versions read it."""
    return json.dumps({name: value for name, value in asdict(config).items() if name != "n_classes" or value})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (floating ones as float32) and metadata of a pack file. Raises UserError if it is none."""
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is damaged or no pack: restore it, or make it anew with `gan2shape build`.") from error
    if metadata.get("format") != PACK_FORMAT:
        raise UserError(f"{path} is no pack of this version ({PACK_FORMAT}): rebuild it.")
    # Cloned: what is read stays mapped to the file, which could not be replaced on Windows then.
    return {name: t.float().clone() if t.is_floating_point() else t.clone() for name, t in tensors.items()}, metadata


def strip_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Entries below `prefix`, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_pack(path: str | Path, device: torch.device | str = "cpu") -> Prior:
    """Read a pack (its folder or file) for use: float32, eval mode, frozen. Raises UserError with cause and remedy."""
    path = Path(path)
    path = path / PACK_NAME if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path} does not exist: give the folder of a pack.")
    tensors, metadata = read_tensors(path)
    try:
        prior = build_prior({name: tensor.to(device) for name, tensor in tensors.items()}, metadata, device)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:  # parts missing, or of other shapes
        raise UserError(f"{path} is damaged: restore it, or make it anew with `gan2shape build`.") from error
    beside = {"card": read_card(path.with_name(CARD_NAME)), "calibration": read_calibration(path.parent)}
    beside |= {"confidence": confidence_beside(path.parent, device)}
    beside |= {"attributes": attributes_beside(path.parent, device)}
    beside |= {"editing": editing_beside(path.parent, prior.w_mean, prior.w_std, device)}
    return replace(prior, **beside)


def of_class(prior: Prior, class_index: int) -> Prior:
    """The ordinary prior that one class of a class-conditional pack is. Its vector becomes a mapping bias
    and part of the discriminator's last layer, and the statistics of w are those of the class.

    Raises UserError for a class that is not there.
    """
    config = prior.generator.config
    if not 0 <= class_index < config.n_classes:
        raise UserError(f"The pack has the classes 0 to {config.n_classes - 1} and no class {class_index}.")
    device = prior.w_mean.device
    with seeded(0):
        generator = Generator(replace(config, n_classes=0)).to(device, memory_format=torch.channels_last)
    generator.load_state_dict(state_of_class(prior.generator.state_dict(), config, class_index))
    critic = prior.discriminator
    if isinstance(critic, Discriminator) and critic.config.n_classes:
        state = critic_of_class(critic.state_dict(), class_index)
        with seeded(0):
            critic = Discriminator(replace(critic.config, n_classes=0)).to(device, memory_format=torch.channels_last)
        critic.load_state_dict(state)
        freeze(critic)
    mean, covariance = latent_statistics(freeze(generator))
    generator.mapping.w_avg.copy_(mean)
    return replace(prior, generator=generator, discriminator=critic, w_mean=mean, w_cov=covariance)


def build_prior(tensors: dict[str, Tensor], metadata: dict[str, str], device: torch.device | str) -> Prior:
    """The networks of a pack from its tensors, which lie on `device`; without its card."""
    with seeded(0):  # the first weights are replaced; the caller's random numbers stay what they were
        return _built(tensors, metadata, device)


def _built(tensors: dict[str, Tensor], metadata: dict[str, str], device: torch.device | str) -> Prior:
    generator = Generator(GeneratorConfig(**read_config(metadata["generator"])))
    generator.load_state_dict(strip_prefix(tensors, "generator/"))
    discriminator = None
    if "discriminator" in metadata:
        discriminator = Discriminator(DiscriminatorConfig(**read_config(metadata["discriminator"])))
        discriminator.load_state_dict(strip_prefix(tensors, "discriminator/"))
        discriminator = freeze(discriminator.to(device, memory_format=torch.channels_last))
    names = {name.split("/")[1] for name in tensors if name.startswith("networks/")}
    return Prior(
        generator=freeze(generator.to(device, memory_format=torch.channels_last)),
        discriminator=discriminator,
        w_mean=tensors["statistics/w_mean"],
        w_cov=tensors["statistics/w_cov"],
        networks={name: strip_prefix(tensors, f"networks/{name}/") for name in sorted(names)},
        network_configs=json.loads(metadata.get("network_configs", "{}")),
    )


def read_card(path: Path) -> dict:
    """A card's contents; nothing where there is no card. Raises UserError for a damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise UserError(f"The card {path} is damaged: restore it, or delete it.") from error


def write_card(folder: Path, card: dict) -> Path:
    """Replace a pack's card, whole or not at all. Returns its path."""
    return write_text_atomic(folder / CARD_NAME, json.dumps(card, indent=1, sort_keys=True) + "\n")


def update_card(folder: Path, entries: dict) -> Path:
    """Put entries into a pack's card, whole or not at all; the others stay. Returns its path.

    Raises UserError for a card that cannot be read.
    """
    return write_card(folder, {**read_card(folder / CARD_NAME), **entries})


def read_config(text: str) -> dict:
    """Configuration fields from JSON, lists as tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in json.loads(text).items()}
