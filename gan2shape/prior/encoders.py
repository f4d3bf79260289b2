"""Trained encoders in files: opened for the generator that they were trained for, and used.

    psp = open_encoder("psp", prior)                        a name, or the path of a file
    rows = psp.encode(images, prior.generator.synthesis)    W+ of each picture, in a pass
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan2shape.core.errors import UserError
from gan2shape.core.network_files import load_network, read_network_card, save_network
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.nn.latent_encoder import LatentEncoder, LatentEncoderConfig
from gan2shape.prior.identity import generator_hash, trained_file
from gan2shape.prior.packs import Prior

FORMAT = "gan2shape-encoder-1"
PREFIX = "encoder:"  # of a space, or a start: `encoder:psp`, `encoder:runs/mine/psp.safetensors`
SUFFIX = ".safetensors"
PAIRS_KEY = "pairs"  # on the card: the kind of pairs that an encoder has learnt from, if any


def save_encoder(path: Path, encoder: LatentEncoder, card: Mapping[str, Any]) -> Path:
    """Write an encoder in half precision with its card, whole or not at all. Returns the path."""
    return save_network(path, encoder, encoder.config, FORMAT, card)


def open_encoder(name: str, prior: Prior, pairs: str = "") -> LatentEncoder:
    """The encoder at a path, or of that name (psp, e4e …) beside the bundled pack or where it was trained; frozen, on
    the prior's device. pairs: the kind of pairs that it turns one picture into another by; none for what it was given.

    Raises UserError for a file that is missing, damaged, or was trained for another generator or other pairs.
    """
    name = name.removeprefix(PREFIX)
    is_path, kind = name.endswith(SUFFIX), "KIND"
    path = Path(name)
    if not is_path:
        path, kind = trained_file(name, prior, f"encoder-{name}{SUFFIX}"), name
    command = f"gan2shape train-encoder --kind {kind}"
    encoder = load_network(path, _built, FORMAT, "encoder", command).to(prior.w_mean.device)
    own = generator_hash(prior.generator)
    if encoder.config.generator != own:
        raise UserError(
            f"{path} was trained for another generator ({encoder.config.generator}; this one is {own}): train one for "
            f"it with `{command}`."
        )
    if (learnt := read_network_card(path).get(PAIRS_KEY, "")) != pairs:
        does, wanted = (task or "pictures as they are" for task in (learnt, pairs))
        further = f" task={pairs}" if pairs else ""
        raise UserError(f"{path} was trained for {does}, not for {wanted}: train one with `{command}{further}`.")
    return encoder


def _built(fields: dict[str, Any]) -> LatentEncoder:
    made: dict[str, Any] = {"origin": None}
    for name, kind in (("trunk", DiscriminatorConfig), ("origin", GeneratorConfig)):
        own = fields.pop(name)
        if own is not None:
            made[name] = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in own.items()})
    return LatentEncoder(LatentEncoderConfig(**made, **fields))
