"""A pair of picture and sentence networks of the user's own, as two TorchScript files, in the place of the toy.

    pictures   [N, 3, S, S] -> [N, E]; pictures are enlarged to S and normalised as the file's sidecar says
    sentences  whole numbers [1, T] -> [1, E]; the tokens come from a .npy file, or a vocabulary (edit/vocabulary.py)

A sidecar `NAME.json` beside the first file may hold {"size", "mean", "std"}; without it they are those of CLIP's
published networks. TorchScript files hold CODE, which runs: load only those that you trust.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.core.files import UNREADABLE_ARRAYS
from gan2shape.core.images import resized


@dataclass(frozen=True)
class Normalisation:
    """How pictures in [0, 1] are handed to a network; the defaults are those of CLIP's published networks."""

    size: int = 224  # pixels a side
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


def script_asking(
    pictures: Path, sentences: Path, tokens: Int[Tensor, "1 T"], device: torch.device | str = "cpu"
) -> Callable[[Tensor], Float[Tensor, " B"]]:
    """Pictures in [-1, 1] -> 1 - cosine to the sentence of these tokens; differentiable.

    Raises UserError for files that cannot be used, and for networks that do not fit each other.
    """
    network, own = _script(pictures, device), _normalisation(pictures)
    with torch.no_grad():
        wanted = _tried(_script(sentences, device), tokens.to(device), sentences)
        _tried(network, torch.zeros(1, 3, own.size, own.size, device=device), pictures, wanted.shape[-1])
    wanted = F.normalize(wanted.float(), dim=-1)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (own.mean, own.std))

    def asks(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, " B"]:
        shown = resized(images, own.size, "bicubic") / 2 + 0.5
        return 1.0 - (F.normalize(network((shown - mean) / std).float(), dim=-1) * wanted).sum(-1)

    return asks


def _script(path: Path, device: torch.device | str) -> torch.jit.ScriptModule:
    if not Path(path).is_file():
        raise UserError(f"--network {path} is not a file: check the path.")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"{path} is no TorchScript module: save one with torch.jit.save.") from error
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _tried(module: torch.jit.ScriptModule, given: Tensor, path: Path, length: int | None = None) -> Tensor:
    """What it gives, if that is one vector (of this length)."""
    try:
        found = module(given)
    except Exception as error:  # whatever somebody else's module raises
        shape = tuple(given.shape)
        raise UserError(f"{path} fails on an input of shape {shape}: give the network that belongs here.") from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1:
        raise UserError(f"{path} gives no vector for each input: give the network that belongs here.")
    if length is not None and found.shape[-1] != length:
        raise UserError(f"the two networks give vectors of {found.shape[-1]} and {length} numbers: give a pair.")
    return found


def read_tokens(path: Path) -> Int[Tensor, "1 T"]:
    """The tokens of one sentence in a .npy file. Raises UserError for a file that holds none."""
    try:
        values = np.load(path, allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("an archive")
    except UNREADABLE_ARRAYS as error:
        raise UserError(f"--tokens {path} is no .npy file of numbers: save the tokens with numpy.save.") from error
    if not np.issubdtype(values.dtype, np.integer) or values.size == 0 or values.squeeze().ndim > 1:
        raise UserError(f"--tokens {path} holds no list of whole numbers: save those of one sentence.")
    return torch.from_numpy(values.reshape(1, -1).astype(np.int64))


def _normalisation(path: Path) -> Normalisation:
    sidecar = Path(path).with_suffix(".json")
    if not sidecar.is_file():
        return Normalisation()
    try:
        page = json.loads(sidecar.read_text(encoding="utf-8"))
        return Normalisation(int(page["size"]), *(tuple(map(float, page[name])) for name in ("mean", "std")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{sidecar} is damaged: write size, mean and std (three numbers each) into it.") from error
