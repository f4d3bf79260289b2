"""StyleGAN2 checkpoints from anywhere, read without running a line of what they bring.

    prior = load_generator("stylegan2-car.pkl")

Known: rosinality `.pt` (`g_ema`, `d`, `latent_avg`), NVIDIA's PyTorch `.pkl` (`G_ema`, `D`; the stylegan2-ada-pytorch
and stylegan3 repositories) and TensorFlow `.pkl`, state dicts in rosinality's or NVIDIA's names, safetensors, our
packs. What a file holds is decided by its contents, not by its name. Sizes and architecture follow from names and
shapes; activation clamp, minibatch group and mapping multiplier from the constructor arguments in a pickle, else the
published defaults.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
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
    shape_of,
)
from gan2shape.checkpoints.containers import NoFileError, map_file, read_container
from gan2shape.checkpoints.foreign import Foreign, read_foreign
from gan2shape.checkpoints.names import part
from gan2shape.checkpoints.pickle_machine import UnreadableError
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.nn.layers import n_parameters

REMEDY = "give a StyleGAN2 checkpoint (rosinality .pt, NVIDIA .pkl) or a file that `gan2shape convert` wrote"
GOLDEN = "exact: compared with numbers of the published code"
OUR_OWN = "this package's own networks: nothing published to compare with"
SHAPES_ONLY = "shapes only: no published numbers were at hand to compare with"
PACK_NAME = "prior.safetensors"
CARD_NAME = "card.json"
PACK_FORMAT = "gan2shape-prior-1"
MAX_CARD_BYTES = 1_000_000


@dataclass(frozen=True)
class Checkpoint:
    """A file whose networks are known and whose shapes are right; its numbers are not read yet."""

    kind: str  # who wrote it, in words
    n_bytes: int
    generator_config: GeneratorConfig
    generator: State
    discriminator_config: DiscriminatorConfig | None
    discriminator: State | None
    n_classes: int = 0
    class_index: int | None = None  # the class taken, of a class-conditional network
    tested: str = GOLDEN
    notes: tuple[str, ...] = ()  # sentences for the user
    origins: Mapping[str, str] = field(default_factory=dict)  # where settings that shapes do not tell come from
    further: Mapping[str, Any] = field(default_factory=dict)  # statistics, further networks, card: of our own files


@contextmanager
def plain_errors(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    """Anything wrong with the file at `path` becomes one sentence."""
    try:
        yield
    except NoFileError as error:
        raise UserError(f"{path} {error}: check the path.") from error
    except UnreadableError as error:
        raise UserError(f"{path} {error}: {remedy}.") from error
    except (MemoryError, RecursionError) as error:
        raise UserError(f"{path} needs more memory than there is: {remedy}.") from error


def open_checkpoint(path: str | Path, class_index: int = 0) -> Checkpoint:
    """What is in a file (or a pack's folder), without its numbers. Raises UserError for what cannot be used."""
    path = Path(path)
    with plain_errors(path):
        file = path / PACK_NAME if path.is_dir() else path
        data = map_file(file)
        container, value, metadata = read_container(data)
        if metadata.get("format") == PACK_FORMAT:
            checkpoint = _own(file, value, metadata, len(data))
        elif metadata.get("format", "").startswith("gan2shape"):
            raise UnreadableError("was written by another version of gan2shape")
        else:
            checkpoint = _foreign(read_foreign(container, value), len(data), class_index)
        check_shapes(empty_network(Generator, checkpoint.generator_config), with_average(checkpoint))
        if checkpoint.discriminator is not None:
            check_shapes(empty_network(Discriminator, checkpoint.discriminator_config), checkpoint.discriminator)
        return checkpoint


def inspect(path: str | Path, class_index: int = 0) -> dict[str, Any]:
    """What a file holds, as plain values; no weights are read. Raises UserError for what `load_generator` refuses."""
    return {"path": Path(path).as_posix(), **summary(open_checkpoint(path, class_index))}


def summary(checkpoint: Checkpoint) -> dict[str, Any]:
    """Plain values for people and `--json`."""
    generator = empty_network(Generator, checkpoint.generator_config)
    described = {**asdict(checkpoint.generator_config), "n_layers": generator.n_layers}
    described |= {"n_parameters": n_parameters(generator), "w_avg": "mapping.w_avg" in checkpoint.generator}
    critic = None
    if checkpoint.discriminator_config is not None:
        network = empty_network(Discriminator, checkpoint.discriminator_config)
        critic = {**asdict(checkpoint.discriminator_config), "n_parameters": n_parameters(network)}
    source = {
        "kind": checkpoint.kind,
        "n_classes": checkpoint.n_classes,
        "class_index": checkpoint.class_index,
        "tested": checkpoint.tested,
        "origins": dict(checkpoint.origins),
        "notes": list(checkpoint.notes),
    }
    further = sorted({name.partition("/")[0] for name in checkpoint.further.get("networks", {})})
    found = {"source": source, "n_bytes": checkpoint.n_bytes, "generator": described, "discriminator": critic}
    return {**found, "networks": further}


def describe(found: Mapping[str, Any]) -> list[str]:
    """Lines for people from what `inspect` returns."""
    source, generator, critic = found["source"], found["generator"], found["discriminator"]
    side = generator["resolution"]
    lines = [
        ("written by", source["kind"]),
        ("generator", f"{side} x {side}, {generator['architecture']}, {generator['n_parameters']:,} weights"),
        ("widths", " ".join(map(str, generator["channels"])) + " (coarse to fine)"),
        ("latents", f"z {generator['z_dim']}, w {generator['w_dim']}, {generator['n_layers']} layers"),
        ("mapping", f"{generator['n_mapping']} layers, multiplier {generator['mapping_lr_multiplier']:g}"),
        ("mean of w", "stored" if generator["w_avg"] else "not stored; measured when loaded"),
        ("noise inputs", "yes" if generator["noise"] else "none"),
        ("clamp", "none" if generator["clamp"] is None else f"{generator['clamp']:g}"),
    ]
    if source["n_classes"]:
        lines.append(("classes", f"{source['n_classes']}; class {source['class_index']} is drawn"))
    if critic is None:
        lines.append(("discriminator", "none"))
    else:
        group = f"minibatch group {critic['stddev_group']}"
        size = f"{critic['n_parameters']:,} weights"
        lines.append(("discriminator", f"{critic['architecture']}, {size}, {group}"))
    if found["networks"]:
        lines.append(("networks", ", ".join(found["networks"])))
    lines += [("settings", f"{name}: {origin}") for name, origin in source["origins"].items()]
    lines += [("tested", source["tested"]), *(("note", note) for note in source["notes"])]
    return [f"{name:14s} {text}" for name, text in lines]


def _foreign(found: Foreign, n_bytes: int, class_index: int) -> Checkpoint:
    """A checkpoint of somebody else's."""
    generator, n_classes = generator_of_class(found.generator, class_index)
    config = generator_config(generator, found.generator_settings)
    critic, critic_config, notes = None, None, list(found.notes)
    if found.discriminator is not None:
        critic = discriminator_of_class(found.discriminator, class_index) if n_classes else found.discriminator
        critic_config = discriminator_config(critic, found.discriminator_settings)
    if "mapping.w_avg" not in generator:
        notes.append("The mean of w is not in the file; it is measured over random latents.")
    exact = found.has_golden_numbers and not n_classes and config.clamp is None
    return Checkpoint(
        kind=found.kind,
        n_bytes=n_bytes,
        generator_config=config,
        generator=generator,
        discriminator_config=critic_config,
        discriminator=critic,
        n_classes=n_classes,
        class_index=class_index if n_classes else None,
        tested=GOLDEN if exact else SHAPES_ONLY,
        notes=tuple(notes),
        origins=found.origins,
    )


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
    n_classes, notes = source.get("n_classes", 0), source.get("notes", [])
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
        origins=_words(source.get("origins")),
        further=further,
    )


def _words(value: Any) -> dict[str, str]:
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
