"""Layouts of other publishers, and the averaged generator wherever a file keeps it: published numbers come out."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan2shape.checkpoints.layouts import GOLDEN
from gan2shape.checkpoints.open import inspect
from gan2shape.checkpoints.summary import describe
from gan2shape.core.errors import UserError
from gan2shape.prior.checkpoint import load_generator
from tests.checkpoints import golden, lookalike, publishers
from tests.checkpoints.test_checkpoints import close, saved, state_dicts

SMALL = (16, (8, 6, 4), 10, 2)


def rosinality() -> dict[str, Tensor]:
    """The published file, whose numbers are known."""
    return torch.load(golden.FOLDER / "rosinality_32.pt", weights_only=True)


def assert_rosinality(path: Path) -> None:
    """The file's generator makes the published images."""
    io, prior = golden.load("rosinality_32_io.npz"), load_generator(path)
    close(prior.generator(io["z"]), io["image"])
    assert inspect(path)["source"]["tested"] == GOLDEN


PREFIXES = (
    *("g_ema.module.", "netG_ema.", "model_ema.", "g_running.", "module.G_ema.", "_orig_mod.g_ema."),
    *("g_ema._orig_mod.", "ema_model.generator.", "EMA.", "emaModel.", "netGema.", "params_ema."),
    *("generator_smooth.", "Gs.", "EMAgenerator.", "modelema.", "runninggenerator.", "generatorEMA.", "nets.GRunning."),
)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("is_flat", [True, False])
def test_average_is_found_by_any_part_of_its_prefix(prefix: str, is_flat: bool, tmp_path: Path) -> None:
    trained, averaged = (lookalike.rosinality_state(*SMALL)["g_ema"] for _ in range(2))
    if is_flat:
        value = {f"{other_name(prefix)}{name}": tensor for name, tensor in trained.items()}
        value |= {f"{prefix}{name}": tensor for name, tensor in averaged.items()}
    else:
        value = {"generator": trained, prefix.rstrip("."): averaged, "step": 7}
    path = saved(value, tmp_path)
    prior = load_generator(path)
    assert torch.equal(prior.generator.mapping.fc0.weight, averaged["style.1.weight"])
    found = inspect(path)["source"]
    assert found["taken"] == prefix
    assert any("being trained" in line for line in found["ignored"])
    assert f"taken          {prefix}" in describe(inspect(path))


def other_name(prefix: str) -> str:
    """The trained generator beside an averaged one."""
    return "module." if "module" in prefix else "netG."


UNRELATED = (
    *("schema.", "remainder.semantic.", "cinema.", "remaining.", "modelschema.", "SchemaGenerator.", "gsnet."),
    *("emanate.", "Thematic.", "runningshoes."),
)


@pytest.mark.parametrize("prefix", UNRELATED)
def test_other_names_are_no_average(prefix: str, tmp_path: Path) -> None:
    trained, other = (lookalike.rosinality_state(*SMALL)["g_ema"] for _ in range(2))
    value = {f"G.{name}": tensor for name, tensor in trained.items()}
    path = saved(value | {f"{prefix}{name}": tensor for name, tensor in other.items()}, tmp_path)
    assert inspect(path)["source"]["taken"] == "G."
    assert f"{prefix}: another generator" in inspect(path)["source"]["ignored"]


def test_count_of_averages_beside_a_module_marks_an_average(tmp_path: Path) -> None:
    """torch's AveragedModel has no name of its own."""
    trained, averaged = (lookalike.rosinality_state(*SMALL)["g_ema"] for _ in range(2))
    swa = {f"module.{name}": tensor for name, tensor in averaged.items()} | {"n_averaged": torch.tensor(3)}
    path = saved({"generator": trained, "swa": swa}, tmp_path)
    assert torch.equal(load_generator(path).generator.mapping.fc0.weight, averaged["style.1.weight"])


def test_what_was_ignored_is_listed(tmp_path: Path) -> None:
    value = lookalike.rosinality_state(*SMALL)
    path = saved({**value, "g": value["g_ema"], "args": {"lr": 0.1}, "ada_aug_p": 0.5}, tmp_path)
    assert inspect(path)["source"]["ignored"] == [
        "g.: the generator being trained, not its average",
        "args, ada_aug_p: no part of a generator or discriminator that is read here",
    ]


def test_generator_that_nothing_calls_an_average_is_noted(tmp_path: Path) -> None:
    value = lookalike.rosinality_state(*SMALL)
    notes = inspect(saved({"g": value["g_ema"], "d": value["d"]}, tmp_path))["source"]["notes"]
    assert any("may be the one being trained" in note for note in notes)


@pytest.mark.parametrize("key", ["params_ema", "params"])
def test_basicsr(key: str, tmp_path: Path) -> None:
    state = publishers.basicsr(rosinality()["g_ema"])
    assert_rosinality(saved({key: state}, tmp_path))


def test_gfpgan_holds_a_basicsr_generator(tmp_path: Path) -> None:
    state = publishers.basicsr(rosinality()["g_ema"])
    value = {f"stylegan_decoder.{name}": tensor for name, tensor in state.items()}
    value |= {"conv_body_first.weight": torch.zeros(4, 3, 1, 1), "condition_scale.0.0.weight": torch.zeros(4, 4, 3, 3)}
    assert_rosinality(saved({"params_ema": value}, tmp_path))


def test_gfpgan_of_the_clean_kind_is_refused_by_name(tmp_path: Path) -> None:
    state = publishers.basicsr(rosinality()["g_ema"])
    state["style_conv1.bias"] = state.pop("style_conv1.activate.bias")[None, :, None, None]
    with pytest.raises(UserError, match="clean decoder"):
        load_generator(saved({"params_ema": state}, tmp_path))


def test_mmgeneration(tmp_path: Path) -> None:
    trained = publishers.mmgeneration(lookalike.rosinality_state(*SMALL)["g_ema"])
    state = {f"generator.{name}": tensor for name, tensor in trained.items()}
    averaged = publishers.mmgeneration(rosinality()["g_ema"])
    state |= {f"generator_ema.{name}": tensor for name, tensor in averaged.items()}
    path = saved({"meta": {"epoch": 1}, "state_dict": state}, tmp_path)
    assert_rosinality(path)
    assert any("BGR" in note for note in inspect(path)["source"]["notes"])


def test_genforce(tmp_path: Path) -> None:
    io, state = golden.load("nvidia_ada_skip_32_io.npz"), publishers.genforce(state_dicts()["G_ema"])
    other = {name: tensor + 1 if "const" in name else tensor for name, tensor in state.items()}
    path = saved({"generator": other, "generator_smooth": state, "discriminator": {}}, tmp_path)
    prior = load_generator(path)
    close(prior.generator(io["z"]), io["image"])
    close(prior.generator(io["z"], float(io["truncation"])), io["image_truncated"])
    assert inspect(path)["source"]["tested"] == GOLDEN


@pytest.mark.parametrize("holder", ["decoder", "net.decoder"])
def test_encoders_hold_their_generator_as_decoder(holder: str, tmp_path: Path) -> None:
    """pSp, e4e and ReStyle; their mean of w is repeated for each layer and lies outside the weights."""
    value = rosinality()
    state = {f"{holder}.{name}": tensor for name, tensor in value["g_ema"].items()}
    state |= {"encoder.input_layer.0.weight": torch.zeros(4, 3, 3, 3)}
    mean = value["latent_avg"].repeat(8, 1)
    path = saved({"state_dict": state, "latent_avg": mean, "opts": {"n_styles": 8}}, tmp_path)
    assert_rosinality(path)
    close(load_generator(path).generator.w_avg, value["latent_avg"])


def test_dualstylegan_is_read_without_its_second_path(tmp_path: Path) -> None:
    state = {f"generator.{name}": tensor for name, tensor in rosinality()["g_ema"].items()}
    state |= {"style.1.weight": torch.zeros(4, 4), "res.0.conv.0.weight": torch.zeros(4, 4, 3, 3)}
    path = saved({"g_ema": state}, tmp_path)
    assert_rosinality(path)
    assert inspect(path)["source"]["kind"] == "DualStyleGAN"
    assert any("intrinsic" in note for note in inspect(path)["source"]["notes"])


@pytest.mark.parametrize("spread", [10.0, 100.0])
def test_multiplier_of_a_bare_state_dict_is_estimated_from_its_weights(spread: float, tmp_path: Path) -> None:
    state = dict(state_dicts()["G_ema"])
    for name in list(state):
        if name.startswith("mapping.fc") and name.endswith("weight"):
            state[name] = torch.randn_like(state[name]) * spread
    found = inspect(saved({"G_ema": state}, tmp_path))
    assert found["generator"]["mapping_lr_multiplier"] == pytest.approx(1 / spread)
    assert "standard deviation" in found["source"]["origins"]["mapping multiplier"]
    assert found["source"]["tested"] == GOLDEN


def test_multiplier_that_cannot_be_estimated_is_assumed(tmp_path: Path) -> None:
    state = {name: t * (0.3 if "mapping.fc" in name else 1) for name, t in state_dicts()["G_ema"].items()}
    found = inspect(saved({"G_ema": state}, tmp_path))
    assert found["generator"]["mapping_lr_multiplier"] == 0.01
    assert found["source"]["origins"]["mapping multiplier"].startswith("assumed")
    assert "assumed" in found["source"]["tested"]
