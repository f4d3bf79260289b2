"""Which generator it is, whatever file it came from: networks that were trained for one are refused by another."""

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from gan2shape.core.resources import known_categories, pack_dir
from gan2shape.prior.packs import Prior

HASH_DIGITS = 16
RUNS = Path("runs")  # where networks are trained, unless a folder is named


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


def trained_file(
    kind: str, prior: Prior, shipped: str, fits: Callable[[Path], bool] = Path.is_file, file: str | None = None
) -> Path:
    """The file of a network of some kind: of those that are there, the first one that `fits`, else the first one.

    They are `shipped`, beside the bundled pack; `runs/KIND-NAME/KIND.safetensors`, where training leaves it (also the
    answer where there is none; NAME: the generator's file, or the category); and that of folders `runs/KIND-NAME-…`.
    file: the name in those folders, where it is another.
    """
    name, bundled, usual = file or f"{kind}.safetensors", pack_folder(prior), _usual_folder(kind, prior)
    folders = [usual, *sorted(usual.parent.glob(f"{usual.name}-*"))]
    named = [*([] if bundled is None else [bundled / shipped]), *(folder / name for folder in folders)]
    present = [path for path in named if path.is_file()]
    return next(filter(fits, present), next(iter(present), usual / name))


def training_command(verb: str, kind: str, prior: Prior, path: Path | None = None, further: str = "") -> str:
    """The command that trains a network of that kind for this prior where `trained_file` finds it, or at the `path`
    that was named and is missing. further: more words of it.
    """
    usual, out = _usual_folder(kind, prior), None
    if path is not None and not path.exists() and path.stem == kind and path.parent != usual:
        out = path.parent
    elif (usual / f"{kind}.safetensors").is_file():  # which is of another task, or of another generator
        out = next(folder for n in range(2, 10_000) if not (folder := usual.with_name(f"{usual.name}-{n}")).exists())
    further += "" if out is None else f" --out {shlex.quote(out.as_posix())}"
    return f"gan2shape {verb} --kind {kind}{options_of(prior)}{further}"


def options_of(prior: Prior) -> str:
    """What names this prior in a command: ` --category head`, or ` --generator FILE --category head`."""
    origin = prior.origin
    path = origin.generator or prior.card.get("checkpoint")
    category = origin.category or (None if path else prior.card.get("category"))
    words = {"generator": None if path is None else Path(path).as_posix(), "category": category}
    words["class"] = None if origin.class_index is None else str(origin.class_index)
    return "".join(f" --{name} {shlex.quote(word)}" for name, word in words.items() if word)


def _usual_folder(kind: str, prior: Prior) -> Path:
    path = prior.origin.generator or prior.card.get("checkpoint")
    name = prior.origin.category or prior.card.get("category", "car") if path is None else Path(path).stem
    return RUNS / f"{kind}-{name}"


def pack_folder(prior: Prior) -> Path | None:
    """The folder of the bundled pack whose category the prior's card names, where further networks lie; None without
    one.
    """
    category = prior.card.get("category")
    return pack_dir(category) if category in known_categories() else None
