"""The prior in any checkpoint: networks built from a file that `checkpoints.open` has understood."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gan2shape.checkpoints.assemble import ByteAllowance, build, read
from gan2shape.checkpoints.errors import UnreadableError, remedy_of_networks
from gan2shape.checkpoints.open import (
    PACK_NAME,
    Checkpoint,
    inspect,
    open_checkpoint,
    plain_errors,
    summary,
    with_average,
)
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator
from gan2shape.nn.generator import Generator
from gan2shape.prior.calibration import Calibration, from_page, read_calibration
from gan2shape.prior.packs import Prior, freeze, latent_statistics, write_prior


def load_generator(path: str | Path, device: torch.device | str = "cpu", class_index: int | None = None) -> Prior:
    """The prior in a checkpoint: float32, eval mode, frozen.

    class_index: of a class-conditional network, the class to generate (the first unless given). Raises UserError with
    cause and remedy.
    """
    checkpoint = open_checkpoint(path, class_index)
    with plain_errors(Path(path)), remedy_of_networks():
        allowance = ByteAllowance(checkpoint.n_bytes)
        generator = build(Generator, checkpoint.generator_config, with_average(checkpoint), allowance)
        generator = freeze(generator.to(device, memory_format=torch.channels_last))
        discriminator = None
        if checkpoint.discriminator is not None:
            discriminator = build(Discriminator, checkpoint.discriminator_config, checkpoint.discriminator, allowance)
            discriminator = freeze(discriminator.to(device, memory_format=torch.channels_last))
        mean, covariance, networks = _further(checkpoint, generator, allowance)
        if "mapping.w_avg" not in checkpoint.generator:
            generator.mapping.w_avg.copy_(mean)
    further = checkpoint.further
    return Prior(
        generator=generator,
        discriminator=discriminator,
        w_mean=mean,
        w_cov=covariance,
        networks=networks,
        network_configs=further.get("network_configs", {}),
        card=further.get("card") or {"checkpoint": Path(path).name, **summary(checkpoint)},
        calibration=_calibration(Path(path), further.get("calibration", {})),
    )


def _calibration(path: Path, page: dict[str, Any]) -> Calibration:
    """That beside a pack, or the one that `convert` put inside the file. Raises UserError for a damaged one."""
    if path.is_dir() or path.name == PACK_NAME:
        return read_calibration(path if path.is_dir() else path.parent)
    try:
        return from_page(page) if page else Calibration()
    except ValueError as error:
        raise UserError(f"The calibration inside {path} is damaged ({error}): convert the pack again.") from error


def convert(path: str | Path, out: str | Path, class_index: int | None = None) -> dict[str, Any]:
    """Write any checkpoint as one safetensors file of ours, float32. Returns what `inspect` gives for the new file.

    Raises UserError for an input that cannot be used or an output that cannot be written.
    """
    out = Path(out)
    if out.suffix != ".safetensors":
        raise UserError(f"{out} does not end in .safetensors: name the output so.")
    if not out.parent.is_dir():
        raise UserError(f"The folder {out.parent} does not exist: make it first.")
    if out.exists() and out.samefile(path):
        raise UserError(f"{out} is the input itself: name another output.")
    checkpoint = open_checkpoint(path, class_index)
    prior = load_generator(path, "cpu", class_index)
    inside = {"source": summary(checkpoint)["source"], "card": prior.card}
    if prior.calibration.values:
        inside["calibration"] = prior.calibration.to_page()
    try:
        write_prior(out, prior, torch.float32, {name: json.dumps(value) for name, value in inside.items()})
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise UserError(f"{out} cannot be written ({cause}): choose another place.") from error
    return inspect(out)


def _further(
    checkpoint: Checkpoint, generator: Generator, allowance: ByteAllowance
) -> tuple[Tensor, Tensor, dict[str, dict[str, Tensor]]]:
    """Mean and covariance of w, and further networks by name."""
    device = generator.w_avg.device
    statistics = checkpoint.further.get("statistics", {})
    if "w_mean" in statistics and "w_cov" in statistics:
        mean, covariance = (_finite(statistics[name], allowance, name).to(device) for name in ("w_mean", "w_cov"))
        if len(mean) != generator.config.w_dim:
            raise UnreadableError("has latent statistics in a wrong shape")
    else:
        mean, covariance = latent_statistics(generator)
    networks: dict[str, dict[str, Tensor]] = {}
    for name, tensor in checkpoint.further.get("networks", {}).items():
        network, _, weight = name.partition("/")
        allowance.spend(tensor.n_bytes)
        values = tensor.read()
        networks.setdefault(network, {})[weight] = (values.float() if values.is_floating_point() else values).to(device)
    return mean, covariance, networks


def _finite(tensor: Any, allowance: ByteAllowance, name: str) -> Tensor:
    allowance.spend(tensor.n_bytes)
    values = read(tensor)
    if not torch.isfinite(values).all():
        raise UnreadableError(f"holds numbers that are not finite, in {name}")
    return values
