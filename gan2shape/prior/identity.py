"""Which generator it is, whatever file it came from: networks that were trained for one are refused by another."""

import hashlib
from pathlib import Path

import torch
from torch import nn

from gan2shape.core.resources import known_categories, pack_dir
from gan2shape.prior.packs import Prior

HASH_DIGITS = 16


def generator_hash(generator: nn.Module) -> str:
    """First digits of the SHA-256 of its weights in half precision, as packs store them, and their names.

    The running mean of w takes no part: it makes no picture.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        if name.endswith("w_avg") or not tensor.is_floating_point():
            continue
        plain = name.replace("synthesis.synthesis.", "synthesis.")  # one that is used at a smaller size
        digest.update(plain.encode())
        digest.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return digest.hexdigest()[:HASH_DIGITS]


def trained_file(kind: str, prior: Prior, shipped: str) -> Path:
    """The file of a network of some kind: `shipped`, beside the bundled pack, where there is such a one; else where
    training leaves it, `runs/KIND-NAME/KIND.safetensors` (which may not exist). NAME: the category or the checkpoint.
    """
    folder = pack_folder(prior)
    if folder is not None and (folder / shipped).is_file():
        return folder / shipped
    checkpoint = prior.card.get("checkpoint")
    name = prior.card.get("category", "car") if checkpoint is None else Path(checkpoint).stem
    return Path("runs") / f"{kind}-{name}" / f"{kind}.safetensors"


def pack_folder(prior: Prior) -> Path | None:
    """The folder of the bundled pack whose category the prior's card names, where further networks lie; None without
    one.
    """
    category = prior.card.get("category")
    return pack_dir(category) if category in known_categories() else None
