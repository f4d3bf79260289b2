"""Trained encoders in files: opened for the generator that they were trained for, and used.

    psp = open_encoder("psp", prior)                        a name, or the path of a file
    rows = psp.encode(images, prior.generator.synthesis)    W+ of each picture, in a pass
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.core.network_files import (
    load_network,
    network_format,
    read_network_card,
    read_network_config,
    save_network,
)
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.nn.latent_encoder import LatentEncoder, LatentEncoderConfig
from gan2shape.prior.identity import generator_hash, trained_file, training_command
from gan2shape.prior.packs import Prior

FORMAT = "gan2shape-encoder-1"
PREFIX = "encoder:"  # of a space, or a start: `encoder:psp`, `encoder:runs/mine/psp.safetensors`
SUFFIX = ".safetensors"
KINDS = ("psp", "e4e", "restyle", "idinvert", "alae")  # that `train-encoder` makes for this
PAIRS_KEY = "pairs"  # on the card: the kind of pairs that an encoder has learnt from, if any


def save_encoder(path: Path, encoder: LatentEncoder, card: Mapping[str, Any]) -> Path:
    """Write an encoder in half precision with its card, whole or not at all. Returns the path."""
    return save_network(path, encoder, encoder.config, FORMAT, card)


def open_encoder(name: str, prior: Prior, pairs: str = "") -> LatentEncoder:
    """The encoder at a path, or of that name (psp, e4e …) beside the bundled pack or where it was trained; frozen, on
    the prior's device. pairs: the kind of pairs that it turns one picture into another by; none for what it was given.

    Raises UserError for a file that is missing, damaged, or was trained for another generator or other pairs.
    """
    name, own = name.removeprefix(PREFIX), generator_hash(prior.generator)
    path, kind = _located(name, prior, own, pairs)
    further = f" task={pairs}" if pairs else ""
    command = training_command("train-encoder", kind, prior, path, further)
    encoder = load_network(path, _built, FORMAT, "encoder", command).to(prior.w_mean.device)
    if encoder.config.generator != own:
        beside = path.parent / "pack"  # of a generator that was trained with its encoder (ALAE)
        remedy = f"train one for it with `{command}`"
        if kind == "alae" and beside.is_dir():
            remedy = f"give its own with `--generator {beside.as_posix()}`, and {PREFIX}{path.as_posix()}"
        raise UserError(
            f"{path} was trained for another generator ({encoder.config.generator}; this one is {own}): {remedy}."
        )
    if (learnt := read_network_card(path).get(PAIRS_KEY, "")) != pairs:
        does, wanted = (task or "pictures as they are" for task in (learnt, pairs))
        raise UserError(f"{path} was trained for {does}, not for {wanted}: train one with `{command}`.")
    return encoder


def _located(name: str, prior: Prior, own: str, pairs: str) -> tuple[Path, str]:
    """(file of an encoder, its kind). Raises UserError for a name that is no kind and has no file."""
    if name.endswith(SUFFIX):
        path = Path(name)
        kind = str(read_network_card(path).get("kind", "")) if network_format(path) == FORMAT else path.stem
        return path, kind if kind in KINDS else KINDS[0]

    def fits(path: Path) -> bool:
        if network_format(path) != FORMAT:
            return False
        does = read_network_card(path).get(PAIRS_KEY, "")
        return does == pairs and read_network_config(path).get("generator") == own

    path = trained_file(name, prior, f"encoder-{name}{SUFFIX}", fits)
    if name not in KINDS and not path.is_file():
        raise UserError(f"unknown encoder {name!r}{nearest(name, KINDS)}")
    return path, name


def _built(fields: dict[str, Any]) -> LatentEncoder:
    made: dict[str, Any] = {"origin": None}
    for name, kind in (("trunk", DiscriminatorConfig), ("origin", GeneratorConfig)):
        own = fields.pop(name)
        if own is not None:
            made[name] = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in own.items()})
    return LatentEncoder(LatentEncoderConfig(**made, **fields))
