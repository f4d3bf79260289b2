"""What a checkpoint holds, for people and for `--json`."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gan2shape.checkpoints.assemble import empty_network
from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.generator import Generator
from gan2shape.nn.layers import n_parameters

if TYPE_CHECKING:
    from gan2shape.checkpoints.open import Checkpoint


def summary(checkpoint: "Checkpoint") -> dict[str, Any]:
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
        "taken": checkpoint.taken,
        "ignored": list(checkpoint.ignored),
    }
    further = sorted({name.partition("/")[0] for name in checkpoint.further.get("networks", {})})
    plain = {"source": source, "n_bytes": checkpoint.n_bytes, "generator": described, "discriminator": critic}
    return {**plain, "networks": further}


def describe(summarised: Mapping[str, Any]) -> list[str]:
    """Lines for people from what `inspect` returns."""
    source, generator, critic = (summarised[name] for name in ("source", "generator", "discriminator"))
    pixels = f"{generator['resolution']} x {generator['resolution']}"
    lines = [
        ("written by", source["kind"]),
        *([("taken", source["taken"])] if source.get("taken") else []),
        ("generator", f"{pixels}, {generator['architecture']}, {generator['n_parameters']:,} weights"),
        ("widths", " ".join(map(str, generator["channels"])) + " (coarse to fine)"),
        ("latents", f"z {generator['z_dim']}, w {generator['w_dim']}, {generator['n_layers']} layers"),
        ("mapping", f"{generator['n_mapping']} layers, multiplier {generator['mapping_lr_multiplier']:g}"),
        ("mean of w", "stored" if generator["w_avg"] else "not stored; measured when loaded"),
        ("noise inputs", "yes" if generator["noise"] else "none"),
        ("clamp", "none" if generator["clamp"] is None else f"{generator['clamp']:g}"),
    ]
    if source["n_classes"]:
        lines.append(("classes", f"{source['n_classes']}; class {source['class_index']} is used"))
    if critic is None:
        lines.append(("discriminator", "none"))
    else:
        group = f"minibatch group {critic['stddev_group']}"
        size = f"{critic['n_parameters']:,} weights"
        lines.append(("discriminator", f"{critic['architecture']}, {size}, {group}"))
    if summarised["networks"]:
        lines.append(("networks", ", ".join(summarised["networks"])))
    lines += [("settings", f"{name}: {origin}") for name, origin in source["origins"].items()]
    lines += [("ignored", text) for text in source.get("ignored", ())]
    lines += [("tested", source["tested"]), *(("note", note) for note in source["notes"])]
    return [f"{name:14s} {text}" for name, text in lines]
