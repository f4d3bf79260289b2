"""Packs of custom generators, as `gan2shape build --generator` makes them: what a bundled pack holds beside its GAN.

The generator itself stays where it is. The pack names its file by the hash of its contents, so that a renamed or moved
file is recognised and another one is not.

    pack.json          which generator (hash, path), class, category, resolution, ranges of views and lights, whether
                       the pack is finished
    parts.safetensors  mask head, image encoder and scene networks, in half precision
    calibration.json, card.json      as beside bundled weights

A run with the generator finds its pack beside the checkpoint or in the user's cache, in the folder
`gan2shape-pack-HASH`. A pack that was built elsewhere is named there by `gan2shape-pack-HASH.json`.
"""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gan2shape.checkpoints.open import CARD_NAME, PACK_NAME
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_bytes_atomic, write_text_atomic
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.image_encoder import ENCODER_NAME, ImageEncoder, ImageEncoderConfig
from gan2shape.nn.mask_head import MaskHead, MaskHeadConfig
from gan2shape.prior.cache import cache_folders, cache_name, content_hash, user_cache
from gan2shape.prior.calibration import Calibration, read_calibration
from gan2shape.prior.packs import Prior, read_card, strip_prefix
from gan2shape.prior.ranges import measured_overrides
from gan2shape.prior.scene import NETWORK_NAME

MADE_NAME, PARTS_NAME = "pack.json", "parts.safetensors"
MADE_FORMAT = "gan2shape-generator-pack-1"
STEM = "gan2shape-pack-"  # then the hash: the pack's folder, or with .json a note where it is
MAX_BYTES = 1_000_000  # of pack.json and of a note; more is none of ours
MASK_NAME = "mask"  # of the mask head among the networks


@dataclass(frozen=True)
class MadePack:
    """What was made for one generator (of a class-conditional one: for one class)."""

    generator: Path  # its file
    digest: str  # hash of its contents
    class_index: int | None
    category: str | None  # whose ranges, light strengths and depth scale; None: the typed defaults
    resolution: int  # at which it works, pixels
    ranges: dict[str, dict[str, Any]] = field(default_factory=dict)  # as `ranges.as_page` gives them
    is_finished: bool = False
    networks: dict[str, dict[str, Tensor]] = field(default_factory=dict)  # state dicts by name, as of `Prior`
    network_configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def overrides(self) -> tuple[str, ...]:
        """Ranges that were read off samples, as `key=value` of the configuration."""
        return measured_overrides(self.ranges)


def is_made(path: Path) -> bool:
    """Whether a path is the folder of such a pack."""
    return (Path(path) / MADE_NAME).is_file()


def with_made(prior: Prior, made: MadePack, size: int) -> Prior:
    """The prior at this resolution with what its pack adds: at another than the pack's own, masks alone."""
    added = made.networks if size == made.resolution else {MASK_NAME: made.networks[MASK_NAME]}
    networks, configs = {**prior.networks, **added}, {**prior.network_configs, **made.network_configs}
    calibration, card = made.calibration, {**prior.card, "pack": made.card}
    return replace(prior, networks=networks, network_configs=configs, calibration=calibration, card=card)


def find_made(path: Path, device: torch.device | str = "cpu", class_index: int | None = None) -> MadePack | None:
    """The finished pack of a generator, or the one whose folder `path` is; None where there is none.

    Raises UserError for damaged files, a pack that is not finished or has gone, and a pack without its generator.
    """
    path = Path(path)
    if is_made(path):
        made = read_made(path, device)
        if not made.is_finished:
            raise UserError(
                f"{path} is not finished: go on with `gan2shape build --generator {made.generator} --out {path}`."
            )
        if class_index is not None and class_index != (made.class_index or 0):
            raise UserError(f"{path} was built for class {made.class_index or 0}: leave out --class.")
        return replace(made, generator=generator_of(path, made))
    folder = found_folder(path, class_index)
    if folder is None:
        return None
    made = read_made(folder, device)
    return replace(made, generator=path) if made.is_finished else None


def found_folder(path: Path, class_index: int | None = None) -> Path | None:
    """Where the pack of a generator is; it may be unfinished. Raises UserError where a note names a folder without."""
    name = cache_name(path, class_index, STEM)
    for folder in cache_folders(path):
        if is_made(folder / name):
            return folder / name
        note = folder / f"{name}.json"
        if note.is_file():
            target = Path(_text(_read_json(note), "pack", note))
            if not is_made(target):
                raise UserError(
                    f"The pack of {path} was built in {target} and is there no more: put it back, or forget it with "
                    f"`gan2shape build --generator {path} --remove`."
                )
            return target
    return None


def generator_of(folder: Path, made: MadePack) -> Path:
    """The file of a pack's generator, by its contents. Raises UserError where it has gone or is another one."""
    candidates = (folder / made.generator, folder / made.generator.name)  # the first is the path itself, if absolute
    there = [path for path in candidates if path.is_file() or (path / PACK_NAME).is_file()]
    for path in there:
        if content_hash(path) == made.digest:
            return path
    cause = f"{there[0]} has other contents than the one" if there else f"{made.generator} is not there"
    raise UserError(
        f"The generator of {folder} is missing ({cause}{' that it was built for' if there else ''}): put the file "
        f"with the hash {made.digest} there, or name it with --generator."
    )


def read_made(folder: Path, device: torch.device | str = "cpu") -> MadePack:
    """A pack, finished or not. Raises UserError for damaged files."""
    path = folder / MADE_NAME
    page = _read_json(path)
    try:
        if page["format"] != MADE_FORMAT:
            raise ValueError("another format")
        known = page["generator"]
        made = MadePack(
            generator=Path(_text(known, "path", path)),
            digest=_text(known, "hash", path),
            class_index=None if known["class"] is None else int(known["class"]),
            category=None if page["category"] is None else str(page["category"]),
            resolution=int(page["resolution"]),
            ranges=dict(page["ranges"]),
            is_finished=page["is_finished"] is True,
        )
        _ = made.overrides  # damage shows here
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    networks, configs = read_parts(folder / PARTS_NAME, device)
    if not {MASK_NAME, *((NETWORK_NAME,) if made.is_finished else ())} <= set(networks):
        raise _damaged(folder / PARTS_NAME)  # a run would quietly begin at an ellipsoid
    calibration, card = read_calibration(folder), read_card(folder / CARD_NAME)
    return replace(made, networks=networks, network_configs=configs, calibration=calibration, card=card)


def write_made(folder: Path, made: MadePack) -> None:
    """Write the networks, then what the pack says of itself."""
    write_parts(folder / PARTS_NAME, made.networks, made.network_configs)
    page = {
        "format": MADE_FORMAT,
        "generator": {"path": made.generator.as_posix(), "hash": made.digest, "class": made.class_index},
        "category": made.category,
        "resolution": made.resolution,
        "ranges": made.ranges,
        "is_finished": made.is_finished,
    }
    write_text_atomic(folder / MADE_NAME, json.dumps(page, indent=1) + "\n")


def write_parts(path: Path, networks: dict[str, dict[str, Tensor]], configs: dict[str, dict[str, Any]]) -> Path:
    """Networks as one safetensors file, floating numbers in half precision."""
    tensors = {
        f"networks/{network}/{name}": (t.half() if t.is_floating_point() else t).detach().cpu().contiguous()
        for network, state in networks.items()
        for name, t in state.items()
    }
    return write_bytes_atomic(path, save(tensors, {"format": MADE_FORMAT, "network_configs": json.dumps(configs)}))


def read_parts(
    path: Path, device: torch.device | str = "cpu"
) -> tuple[dict[str, dict[str, Tensor]], dict[str, dict[str, Any]]]:
    """The networks of a pack, as float32, and what is needed to build them; none where there is no file yet.

    Raises UserError for a damaged file, and where shapes are not those that the settings ask for.
    """
    if not path.exists():
        return {}, {}
    try:
        with safe_open(path, framework="pt", device=str(device)) as stored:
            notes = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        if notes.get("format") != MADE_FORMAT:
            raise ValueError("another format")
        configs = json.loads(notes["network_configs"])
        tensors = {name: t.float() if t.is_floating_point() else t.clone() for name, t in tensors.items()}
        names = sorted({name.split("/")[1] for name in tensors})
        networks = {name: strip_prefix(tensors, f"networks/{name}/") for name in names}
        if not all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point()):
            raise ValueError("numbers that are not finite")
        for name, state in networks.items():
            _require_fitting(name, configs[name], state)
        return networks, configs
    except (OSError, SafetensorError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path) from error


def _require_fitting(name: str, settings: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Raises ValueError or TypeError where a network of these settings has other weights. Nothing is allocated: the
    settings may ask for more than any machine has. Scene networks are compared where they are opened.
    """
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    with torch.device("meta"):
        if name == MASK_NAME:
            network: nn.Module = MaskHead(MaskHeadConfig(**plain))
        elif name == ENCODER_NAME:
            trunk = {key: tuple(v) if isinstance(v, list) else v for key, v in settings["trunk"].items()}
            network = ImageEncoder(ImageEncoderConfig(**{**plain, "trunk": DiscriminatorConfig(**trunk)}))
        else:
            return
    if {key: value.shape for key, value in network.state_dict().items()} != {k: v.shape for k, v in state.items()}:
        raise ValueError(f"{name} has weights of other shapes")


def note_made(path: Path, folder: Path, class_index: int | None = None) -> None:
    """Leave a note beside a generator, or in the user's cache, that says where its pack is. None is needed for a pack
    in the folder that is looked at anyway. Raises UserError where neither place can be written.
    """
    name = cache_name(path, class_index, STEM)
    if folder.resolve() in [(place / name).resolve() for place in cache_folders(path)]:
        return
    cause: OSError | None = None
    for place in cache_folders(path):
        try:
            write_text_atomic(place / f"{name}.json", json.dumps({"pack": folder.resolve().as_posix()}) + "\n")
            return
        except OSError as error:
            cause = error
    raise UserError(
        f"Neither the generator's folder nor {user_cache()} can be written: set GAN2SHAPE_CACHE to a folder that can."
    ) from cause


def notes_of(path: Path, class_index: int | None = None) -> list[Path]:
    """The notes that name a pack of this generator."""
    name = cache_name(path, class_index, STEM)
    return [note for place in cache_folders(path) if (note := place / f"{name}.json").is_file()]


def usual_folder(path: Path, class_index: int | None = None) -> Path:
    """Where a pack is built unless a folder is named: beside the generator or, where that folder cannot be written, in
    the user's cache.
    """
    places = cache_folders(path)
    place = places[0] if os.access(places[0], os.W_OK) else places[-1]
    return place / cache_name(path, class_index, STEM)


def weights_hash(path: Path, class_index: int | None = None) -> str:
    """What tells results of one generator from those of another: its hash, and that of its pack where it has one."""
    path = Path(path)
    folder = path if is_made(path) else found_folder(path, class_index)
    if folder is None:
        return content_hash(path)
    made = read_made(folder)
    return f"{made.digest}-{content_hash(folder / PARTS_NAME)}" if made.is_finished else made.digest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        page = json.loads(data.decode("utf-8")) if len(data) <= MAX_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(page, dict):
        raise _damaged(path)
    return page


def _text(page: dict[str, Any], key: str, path: Path) -> str:
    value = page.get(key)
    if not isinstance(value, str) or not value or "\0" in value:
        raise _damaged(path)
    return value


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is damaged: build the pack anew with `gan2shape build --generator … --force`.")
