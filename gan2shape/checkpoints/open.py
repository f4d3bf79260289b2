"""StyleGAN2 checkpoints from anywhere, read without running a line of what they bring.

    prior = load_generator("stylegan2-car.pkl")

Known: rosinality `.pt` (`g_ema`, `d`, `latent_avg`), NVIDIA's PyTorch `.pkl` (`G_ema`, `D`; the stylegan2-ada-pytorch
and stylegan3 repositories) and TensorFlow `.pkl`, state dicts in rosinality's or NVIDIA's names, safetensors, our
packs. Contents decide what a file holds, not its name. Sizes and architecture follow from names and
shapes; activation clamp, minibatch group and mapping multiplier from the constructor arguments in a pickle, else the
published defaults.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from gan2shape.checkpoints.assemble import (
    State,
    check_shapes,
    config_from_json,
    discriminator_config,
    discriminator_of_class,
    empty_network,
    generator_config,
    generator_of_class,
    own_of_class,
    shape_of,
)
from gan2shape.checkpoints.containers import map_file, read_container
from gan2shape.checkpoints.contents import part
from gan2shape.checkpoints.errors import NoFileError, UnreadableError, remedy_of_networks
from gan2shape.checkpoints.foreign import read_foreign
from gan2shape.checkpoints.layouts import GOLDEN, Foreign
from gan2shape.checkpoints.summary import summary
from gan2shape.core.errors import UserError
from gan2shape.core.requests import address_of
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig

REMEDY = "give a StyleGAN2 checkpoint (rosinality .pt, NVIDIA .pkl) or a file that `gan2shape convert` wrote"
OUR_OWN = "this package's own networks: nothing published to compare with"
PACK_NAME = "prior.safetensors"
CARD_NAME = "card.json"
PACK_FORMAT = "gan2shape-prior-1"
MAX_CARD_BYTES = 1_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A file whose networks are known and whose shapes are right; its numbers are not read yet."""

    kind: str  # who wrote it, for people
    n_bytes: int
    generator_config: GeneratorConfig
    generator: State
    discriminator_config: DiscriminatorConfig | None
    discriminator: State | None
    n_classes: int = 0
    class_index: int | None = None  # the class taken, of a class-conditional network
    tested: str = GOLDEN
    notes: tuple[str, ...] = ()  # sentences for the user
    taken: str = ""  # prefix of the generator's names in the file
    ignored: tuple[str, ...] = ()  # what else is in it, and why it is not used
    origins: Mapping[str, str] = field(default_factory=dict)  # where settings that shapes do not determine come from
    further: Mapping[str, Any] = field(default_factory=dict)  # statistics, further networks, card: of our own files


@contextmanager
def plain_errors(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Anything wrong with the file at `path` becomes one sentence."""
    try:
        yield
    except UnreadableError as error:
        raise UserError(f"{path} {error}: {error.remedy or remedy}.") from error
    except (MemoryError, RecursionError) as error:
        raise UserError(f"{path} needs more memory than there is: {remedy}.") from error


def open_checkpoint(path: str | Path, class_index: int | None = None) -> Checkpoint:
    """What is in a file (or a pack's folder), without its numbers.

    class_index: of a class-conditional network, the class to generate; the first unless given. Raises UserError for
    what cannot be used, and for a class of a network that has none.
    """
    if address := address_of(path):
        raise UserError(f"{address} is an address, and nothing is downloaded: give a file's path.")
    path = Path(path)
    with plain_errors(path):
        file = path / PACK_NAME if path.is_dir() else path
        if path.is_dir() and not file.exists():
            raise NoFileError(f"is a folder without a pack ({PACK_NAME})", "check the path, or give the file in it")
        data = map_file(file)
        container, value, metadata = read_container(data)
        if metadata.get("format") == PACK_FORMAT:
            checkpoint = _own(file, value, metadata, len(data))
            if checkpoint.generator_config.n_classes:
                checkpoint = _of_own_class(checkpoint, class_index)
        elif metadata.get("format", "").startswith("gan2shape"):
            raise UnreadableError("was written by another version of gan2shape")
        else:
            found = read_foreign(container, value)
            with remedy_of_networks():
                checkpoint = _foreign(found, len(data), class_index)
        if class_index is not None and checkpoint.class_index != class_index:
            raise UnreadableError(_no_class(checkpoint), "leave out --class")
        with remedy_of_networks():
            check_shapes(empty_network(Generator, checkpoint.generator_config), with_average(checkpoint))
        if checkpoint.discriminator is not None:
            check_shapes(empty_network(Discriminator, checkpoint.discriminator_config), checkpoint.discriminator)
        return checkpoint


def _no_class(checkpoint: Checkpoint) -> str:
    if checkpoint.class_index is None:
        return "has no classes"
    return f"holds class {checkpoint.class_index} and no other any more"


def inspect(path: str | Path, class_index: int | None = None) -> dict[str, Any]:
    """What a file holds, as plain values; no weights are read. Raises UserError for what `load_generator` refuses."""
    return {"path": Path(path).as_posix(), **summary(open_checkpoint(path, class_index))}


def _foreign(found: Foreign, n_bytes: int, wanted: int | None) -> Checkpoint:
    """A checkpoint of somebody else's."""
    class_index = wanted or 0
    generator, n_classes = generator_of_class(found.generator, class_index)
    config = generator_config(generator, found.generator_settings)
    notes = list(found.notes)
    critic, critic_config = _critic(found, class_index if n_classes else None, notes)
    if n_classes and wanted is None:
        notes.append(f"The network has the classes 0 to {n_classes - 1}; class 0 is used unless --class names another.")
    return Checkpoint(
        kind=found.kind,
        n_bytes=n_bytes,
        generator_config=config,
        generator=generator,
        discriminator_config=critic_config,
        discriminator=critic,
        n_classes=n_classes,
        class_index=class_index if n_classes else None,
        tested=found.tested,
        notes=tuple(notes),
        taken=found.taken,
        ignored=tuple(found.ignored),
        origins=found.origins,
    )


def _critic(found: Foreign, class_index: int | None, notes: list[str]) -> tuple[State | None, Any]:
    """The discriminator and its configuration; none, and a note, where it is no network of ours."""
    if found.discriminator is None:
        return None, None
    try:
        critic = found.discriminator
        critic = discriminator_of_class(critic, class_index) if class_index is not None else critic
        config = discriminator_config(critic, found.discriminator_settings)
        check_shapes(empty_network(Discriminator, config), critic)
    except UnreadableError as error:
        notes.append(f"The discriminator {error}; it is left out.")
        return None, None
    return critic, config


def _own(path: Path, value: dict, metadata: Mapping[str, str], n_bytes: int) -> Checkpoint:
    """A pack, or what `convert` wrote."""
    has_critic = "discriminator" in metadata
    source = _json(metadata.get("source", "{}"))
    if "statistics/w_mean" in value and "statistics/w_cov" in value:
        w_dim = shape_of(value, "statistics/w_mean", 1)[0]
        if shape_of(value, "statistics/w_cov", 2) != (w_dim, w_dim):
            raise UnreadableError("has latent statistics in a wrong shape")
    further = {
        "statistics": part(value, "statistics/"),
        "networks": part(value, "networks/"),
        "network_configs": _json(metadata.get("network_configs", "{}")),
        "card": _card(path, metadata),
        "calibration": _json(metadata.get("calibration", "{}")),
    }
    n_classes, notes, ignored = source.get("n_classes", 0), source.get("notes", []), source.get("ignored", [])
    return Checkpoint(
        kind=str(source.get("kind", "gan2shape")),
        n_bytes=n_bytes,
        generator_config=config_from_json(GeneratorConfig, metadata.get("generator")),
        generator=part(value, "generator/"),
        discriminator_config=config_from_json(DiscriminatorConfig, metadata["discriminator"]) if has_critic else None,
        discriminator=part(value, "discriminator/") if has_critic else None,
        n_classes=n_classes if isinstance(n_classes, int) else 0,
        class_index=source.get("class_index"),
        tested=str(source.get("tested", OUR_OWN)),
        notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
        taken=str(source.get("taken", "")),
        ignored=tuple(map(str, ignored)) if isinstance(ignored, list) else (),
        origins=_texts(source.get("origins")),
        further=further,
    )


def _of_own_class(checkpoint: Checkpoint, wanted: int | None) -> Checkpoint:
    """A class-conditional pack as the ordinary one of a class; what is measured on all classes is left out."""
    class_index, config, critic_config = wanted or 0, checkpoint.generator_config, checkpoint.discriminator_config
    with remedy_of_networks():
        generator, critic = own_of_class(checkpoint.generator, checkpoint.discriminator, config, class_index)
    names = checkpoint.further.get("card", {}).get("classes", [])
    notes = [*checkpoint.notes]
    if wanted is None:
        known = f" ({', '.join(map(str, names))})" if names else ""
        last = config.n_classes - 1
        notes.append(f"The network has the classes 0 to {last}{known}; class 0 is used unless --class names another.")
    return replace(
        checkpoint,
        generator_config=replace(config, n_classes=0),
        generator=generator,
        discriminator_config=None if critic_config is None else replace(critic_config, n_classes=0),
        discriminator=critic,
        n_classes=config.n_classes,
        class_index=class_index,
        notes=tuple(notes),
        further={**checkpoint.further, "statistics": {}},
    )


def _texts(value: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _json(text: str) -> dict:
    """A JSON object. Raises UnreadableError for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("has damaged metadata") from error
    if not isinstance(value, dict):
        raise UnreadableError("has damaged metadata")
    return value


def _card(path: Path, metadata: Mapping[str, str]) -> dict:
    """The card beside a pack, or the one that `convert` put inside."""
    card = path.with_name(CARD_NAME)
    if path.name != PACK_NAME or not card.is_file():
        return _json(metadata.get("card", "{}"))
    try:
        return _json(card.read_bytes()[:MAX_CARD_BYTES].decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError("has an unreadable card beside it") from error


def with_average(checkpoint: Checkpoint) -> dict[str, Any]:
    """The generator's weights; where the mean of w is missing, zero until it is measured."""
    empty = torch.zeros(checkpoint.generator_config.w_dim)
    return {"mapping.w_avg": empty, **checkpoint.generator}
