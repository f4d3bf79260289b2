"""Configuration of one job: typed defaults < category YAML < calibration < preset YAML < `key=value` overrides.

Where a preset has other values for a category, `preset/PRESET/CATEGORY.yaml` comes right after `preset/PRESET.yaml`.

Overrides follow Hydra's override grammar, YAMLs its package headers, and OmegaConf merges. Hydra's Compose API and its
configuration store stay out of it: they belong to the whole process, where threads and a host program's own Hydra meet.
A YAML may only name keys that the dataclass has, so it has no defaults list. Tuples stay tuples.
"""

import difflib
import io
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from gan2shape.core.errors import UserError
from gan2shape.core.resources import configs_dir

Config = TypeVar("Config")
GROUPS = ("category", "preset")
HEADER = re.compile(r"(?:\s*#\s*@\w+\s+\S+)*?\s*#\s*@package\s+(\S+)")  # stands before everything else in a YAML


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the most similar known word, else the list of them (or of the first few)."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"; known: {shown}." if known else "."


def compose(
    config_class: type[Config],
    category: str | None = None,
    preset: str | None = None,
    overrides: Sequence[str] = (),
    root: Path | None = None,
    calibration: Mapping[str, Any] = types.MappingProxyType({}),
) -> Config:
    """An instance of `config_class` for a category and a preset.

    calibration: values by dotted key, which come after the category and before the preset.
    overrides: `key=value` with dotted keys (`steps.n_joint=[100]`, `views.yaw_sd_deg=12`, `lights.lx=[-1,1]`).
    root: the folder with `category/` and `preset/`; the shipped one unless given.
    Raises UserError for an unknown category, preset or key (the nearest known one is named), a bad value or a bad YAML.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    root = Path(root or configs_dir()).resolve()
    choices = {group: name for group, name in zip(GROUPS, (category, preset), strict=True) if name is not None}
    parts = list(choices.items())
    for group, name in choices.items():
        known = sorted(path.stem for path in (root / group).glob("*.yaml"))
        if name not in known:
            raise UserError(f"unknown {group} {name!r}{nearest(name, known)}")
    checked = checked_overrides(config_class, overrides)
    if len(choices) == 2 and (root / "preset" / str(preset) / f"{category}.yaml").is_file():
        parts.append((f"preset/{preset}", category))

    if not root.is_dir():
        raise UserError("bad configuration: Primary config directory not found.")
    settings = _parsed(checked) if checked else []  # only overrides need Hydra's import
    tree = _thawed(OmegaConf.structured(config_class))
    for group, name in parts:
        if group == "preset":
            _merge_values(tree, calibration)
        try:
            tree.merge_with(_read(root, group, name))
        except OmegaConfBaseException as error:
            headline = f"In '{group}/{name}': {type(error).__name__} raised while composing config:"
            raise UserError(f"bad configuration: {_cause(error, headline)}") from error
    if preset is None:
        _merge_values(tree, calibration)
    OmegaConf.set_struct(tree, True)  # overrides bring no new keys but those with `++`
    hints = _dotted_hints(config_class)
    try:
        for key, value, is_new in settings:
            OmegaConf.update(tree, key, _as_series(hints.get(key), value), merge=True, force_add=is_new)
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"bad configuration: {_cause(error)}") from error
    config = _built(config_class, plain)
    named = {group: name for group, name in choices.items() if group in {f.name for f in fields(config_class)}}
    return replace(config, **named)


def _merge_values(tree: Any, values: Mapping[str, Any]) -> None:
    from omegaconf import OmegaConf

    for key, value in values.items():
        OmegaConf.update(tree, key, list(value) if isinstance(value, tuple) else value, merge=True)


def _as_series(hint: Any, value: Any) -> Any:
    """One number for a tuple of any length means that number alone: `steps.n_joint=100` is `[100]`."""
    is_series = typing.get_origin(hint) is tuple and typing.get_args(hint)[1:] == (...,)
    return [value] if is_series and isinstance(value, int | float) and not isinstance(value, bool) else value


def to_yaml(config: Any) -> str:
    """The whole configuration as YAML, in the order of its fields."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.structured(config))


def from_yaml(config_class: type[Config], text: str) -> Config:
    """The inverse of `to_yaml`. Raises UserError where the text does not fit the class."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        tree = OmegaConf.merge(_thawed(OmegaConf.structured(config_class)), OmegaConf.load(io.StringIO(text)))
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
        raise UserError(f"the saved configuration cannot be read: {_cause(error)}") from error
    return _built(config_class, plain)


def checked_overrides(config_class: type, overrides: Sequence[str]) -> list[str]:
    """The overrides as Hydra wants them: new members of dict fields get its `++`.

    Raises UserError for an override that is not `key=value` or whose key the configuration does not have.
    """
    hints, checked = _dotted_hints(config_class), []
    keys, open_keys = list(hints), [key for key, hint in hints.items() if typing.get_origin(hint) is dict]
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals or not key:
            raise UserError(f"{override!r} is not a setting: write key=value, for example {keys[-1]}=…")
        if key in GROUPS:
            raise UserError(f"{override!r} is chosen by an option: write --{key} {override[len(key) + 1 :]}")
        is_member = any(key.startswith(prefix + ".") for prefix in open_keys)
        if key not in keys and not is_member:
            leaves = [known for known in keys if known.rpartition(".")[2] == key]
            raise UserError(f"unknown key {key!r}{f'; did you mean {leaves[0]}?' if leaves else nearest(key, keys)}")
        checked.append(f"++{override}" if is_member else override)
    return checked


def dotted_keys(config_class: type) -> list[str]:
    """Every key of a (nested) configuration class, leaves and branches."""
    return list(_dotted_hints(config_class))


def _dotted_hints(config_class: type, prefix: str = "") -> dict[str, Any]:
    """The type hint of every dotted key, leaves and branches."""
    hints, found = typing.get_type_hints(config_class), {}
    for spec in fields(config_class):
        key, hint = prefix + spec.name, hints[spec.name]
        found |= {key: hint} | (_dotted_hints(hint, key + ".") if is_dataclass(hint) else {})
    return found


def _parsed(overrides: list[str]) -> list[tuple[str, Any, bool]]:
    """Key, value and whether the key may be new, of each override. Raises UserError for bad grammar and for sweeps."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ValueType
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise UserError(f"bad configuration: {_cause(error)}") from error
    for override in parsed:
        if override.value_type is ValueType.SIMPLE_CHOICE_SWEEP:
            raise UserError(f"bad configuration: Ambiguous value for argument '{override.input_line}'.")
        if override.is_sweep_override():
            raise UserError(f"bad configuration: Sweep parameters '{override.input_line}' requires --multirun.")
        if override.package is not None:
            what = f"looks like a config group override, but config group '{override.key_or_group}' does not exist"
            raise UserError(f"bad configuration: Override {override.input_line} {what}.")
    return [(override.key_or_group, override.value(), override.is_force_add()) for override in parsed]


def _read(root: Path, group: str, name: str) -> Any:
    """The tree of a YAML below the key of its `# @package` header: `_global_` is the root, no header the group."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    try:
        with (root / group / f"{name}.yaml").open(encoding="utf-8") as stream:
            header = HEADER.match(stream.read(512))
            stream.seek(0)
            tree = OmegaConf.load(stream)
    except (OSError, YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"bad configuration: In '{group}/{name}': {' '.join(str(error).split())}.") from error
    for key in reversed((header[1] if header else group).removeprefix("_global_").split(".")):
        tree = OmegaConf.create({key: tree}) if key else tree
    return tree


def _thawed(node):
    """The same tree with the read-only marks of frozen dataclasses taken off, so that YAML can be merged into it."""
    from omegaconf import Container, DictConfig

    if isinstance(node, Container) and not node._is_none():
        node._set_flag("readonly", None)
        for key in node if isinstance(node, DictConfig) else range(len(node)):
            _thawed(node._get_node(key))
    return node


def _built(hint: Any, value: Any) -> Any:
    """`value` (plain lists and dicts) as the dataclasses and tuples that `hint` asks for, at every depth."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        parts = {spec.name: _built(hints[spec.name], value[spec.name]) for spec in fields(hint)}
        try:
            return hint(**parts)
        except ValueError as error:  # a configuration class refuses impossible values
            raise UserError(f"bad configuration: {error}.") from error
    if origin in (typing.Union, types.UnionType):
        fitting = [arg for arg in args if isinstance(value, list) and typing.get_origin(arg) in (tuple, list)]
        return _built(fitting[0], value) if fitting else value
    if origin is tuple and isinstance(value, list):
        members = args[:1] * len(value) if args[1:] == (...,) else args
        if len(members) != len(value):
            raise UserError(f"bad configuration: {value} needs {len(members)} values.")
        return tuple(_built(member, part) for member, part in zip(members, value, strict=True))
    if origin is list and isinstance(value, list):
        return [_built(args[0], part) for part in value]
    if origin is dict and isinstance(value, dict):
        return {key: _built(args[1], part) for key, part in value.items()}
    return value


def _cause(error: BaseException, headline: str | None = None) -> str:
    """The innermost message (or `headline`) in one line, with the key where the library names it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")), "")
    first = headline or (lines[0].rstrip(".") if lines else type(error).__name__)
    return (f"{key}: " if key else "") + first + "."
