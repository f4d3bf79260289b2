"""Foreign checkpoints: every published number, before and after `convert`, from every container."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gan2shape.checkpoints.layouts import GOLDEN
from gan2shape.checkpoints.open import OUR_OWN, inspect, open_checkpoint
from gan2shape.checkpoints.summary import describe
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.checkpoint import convert, load_generator
from gan2shape.prior.packs import Prior, make_prior, save_pack
from tests.checkpoints import golden, lookalike

TOLERANCE = 1e-4  # max abs, float32
NETWORKS = ("rosinality", "skip", "resnet", "orig")


def close(ours: Tensor, published: Tensor) -> None:
    torch.testing.assert_close(ours, published, atol=TOLERANCE, rtol=0)


def published(name: str, folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """A checkpoint of the named network and its published numbers."""
    if name == "rosinality":
        return golden.FOLDER / "rosinality_32.pt", golden.load("rosinality_32_io.npz")
    state = golden.load(f"nvidia_ada_{name}_32_state.npz")
    return lookalike.nvidia_file(folder / f"{name}.pkl", state), golden.load(f"nvidia_ada_{name}_32_io.npz")


@pytest.fixture(scope="module", params=NETWORKS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    return published(request.param, tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module", params=["as it is", "converted"])
def prior(request: pytest.FixtureRequest, case: tuple, tmp_path_factory: pytest.TempPathFactory) -> Prior:
    path = case[0]
    if request.param == "converted":
        path = tmp_path_factory.mktemp("converted") / "out.safetensors"
        convert(case[0], path)
    return load_generator(path)


def test_w(case: tuple, prior: Prior) -> None:
    w, expected = prior.generator.mapping(case[1]["z"]), case[1]["w"]
    close(w if expected.ndim == 2 else w[:, None].expand_as(expected), expected)


def test_image(case: tuple, prior: Prior) -> None:
    close(prior.generator(case[1]["z"]), case[1]["image"])


def test_truncated_image(case: tuple, prior: Prior) -> None:
    close(prior.generator(case[1]["z"], float(case[1]["truncation"])), case[1]["image_truncated"])


def test_image_of_wplus(case: tuple, prior: Prior) -> None:
    close(prior.generator.synthesis(case[1]["wplus"]), case[1]["image_wplus"])


def test_logits(case: tuple, prior: Prior) -> None:
    io = case[1]
    close(prior.discriminator(io["images8"]), io["discriminator_logit8"])
    if "discriminator_logit" in io:
        close(prior.discriminator(io["image"]), io["discriminator_logit"])
    else:
        close(prior.discriminator(io["image"][[0, 1, 2, 0]]), io["discriminator_logit4"])


def test_blocks(case: tuple, prior: Prior) -> None:
    blocks = [tensor for name, tensor in sorted(case[1].items()) if name.startswith("discriminator_block")]
    for ours, expected in zip(prior.discriminator.features(case[1]["images8"][:2], len(blocks)), blocks, strict=True):
        close(ours, expected)


def test_prior_is_frozen(prior: Prior) -> None:
    for network in (prior.generator, prior.discriminator):
        assert not network.training
        assert all(not p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


def state_dicts(architecture: str = "skip") -> dict[str, dict[str, Tensor]]:
    """`G_ema` and `D` as dictionaries of tensors."""
    state = golden.load(f"nvidia_ada_{architecture}_32_state.npz")
    parts: dict[str, dict[str, Tensor]] = {"G_ema": {}, "D": {}}
    for name, tensor in state.items():
        network, _, rest = name.partition("/")
        parts[network][rest] = tensor
    return parts


def saved(value: object, folder: Path, **how: object) -> Path:
    path = folder / "file.pt"
    torch.save(value, path, **how)
    return path


def as_pickle(protocol: int) -> Callable[[Path], Path]:
    return lambda folder: lookalike.nvidia_file(folder / "a.pkl", golden.load("nvidia_ada_skip_32_state.npz"), protocol)


def as_safetensors(folder: Path) -> Path:
    from safetensors.torch import save_file

    save_file(state_dicts()["G_ema"], folder / "g.safetensors")
    return folder / "g.safetensors"


CONTAINERS = {
    "state dicts": lambda folder: saved(state_dicts(), folder),
    "old torch format": lambda folder: saved(state_dicts(), folder, _use_new_zipfile_serialization=False),
    "bare state dict": lambda folder: saved(state_dicts()["G_ema"], folder),
    "prefixed": lambda folder: saved({f"module.{k}": v for k, v in state_dicts()["G_ema"].items()}, folder),
    "nested": lambda folder: saved({"state_dict": {"g_ema": state_dicts()["G_ema"]}, "step": 7}, folder),
    "pickle protocol 2": as_pickle(2),
    "pickle protocol 3": as_pickle(3),
    "pickle protocol 4": as_pickle(4),
    "pickle protocol 5": as_pickle(5),
    "safetensors": as_safetensors,
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers(container: str, tmp_path: Path) -> None:
    io = golden.load("nvidia_ada_skip_32_io.npz")
    close(load_generator(CONTAINERS[container](tmp_path)).generator(io["z"]), io["image"])


@pytest.mark.parametrize("is_zip", [True, False])
def test_same_values_as_torch(is_zip: bool, tmp_path: Path) -> None:
    """Our reader of torch's two formats agrees with torch.load, views and types included."""
    from gan2shape.checkpoints.containers import map_file, read_container

    base = torch.randn(6, 5)
    value = {"t": base.t(), "part": base[2:4, 1:], "half": base.half(), "bf": base.bfloat16(), "n": torch.tensor(3)}
    value |= {"flags": base > 0, "parameter": torch.nn.Parameter(base), "empty": torch.zeros(0, 3), "float": 0.5}
    path = saved(value, tmp_path, _use_new_zipfile_serialization=is_zip)
    ours, theirs = read_container(map_file(path))[1], torch.load(path, weights_only=True)
    assert ours.pop("float") == theirs.pop("float")
    for name, tensor in theirs.items():
        assert torch.equal(ours[name].read(), tensor), name
        assert ours[name].dtype == tensor.dtype


def test_training_checkpoint_with_arguments_and_optimizers(tmp_path: Path) -> None:
    """What rosinality's training writes: the run's arguments are an object, which `torch.load` would refuse."""
    from argparse import Namespace

    value = lookalike.rosinality_state(16, (8, 6, 4), 10, 2)
    parameter = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    path = saved({**value, "g": value["g_ema"], "g_optim": optimizer.state_dict(), "args": Namespace(n=1)}, tmp_path)
    prior = load_generator(path)
    assert torch.equal(prior.generator.w_avg, value["latent_avg"])
    assert prior.generator.config.channels == (8, 6, 4)


def test_decoder_of_an_encoder_file(tmp_path: Path) -> None:
    """Inversion networks keep a rosinality generator under `decoder`, and repeat the mean latent for each layer."""
    value = lookalike.rosinality_state(16, (8, 6, 4), 10, 2)
    state = {f"decoder.{name}": tensor for name, tensor in value["g_ema"].items()}
    state |= {"encoder.body.0.weight": torch.randn(3, 3), "decoder.latent_avg": value["latent_avg"].repeat(6, 1)}
    prior = load_generator(saved({"state_dict": state, "opts": {"device": "cpu"}}, tmp_path))
    assert prior.discriminator is None
    torch.testing.assert_close(prior.generator.w_avg, value["latent_avg"])


def test_missing_mean_is_measured(tmp_path: Path) -> None:
    value = lookalike.rosinality_state(16, (8, 6, 4), 10, 2)["g_ema"]
    path = saved({name: t for name, t in value.items() if "noises" not in name}, tmp_path)
    prior = load_generator(path)
    assert torch.equal(prior.generator.w_avg, prior.w_mean)
    assert "not stored" in "\n".join(describe(inspect(path)))
    assert prior.generator(torch.randn(2, 10)).shape == (2, 3, 16, 16)


def test_settings_from_constructor_arguments_and_layers(tmp_path: Path) -> None:
    parts = state_dicts()
    kwargs = {"mapping_kwargs": {"lr_multiplier": 0.02}, "synthesis_kwargs": {"conv_clamp": 256}}
    generator = lookalike.nvidia_network(parts["G_ema"], "Generator", kwargs, conv_clamp=7)
    critic = lookalike.nvidia_network(parts["D"], "Discriminator", {}, conv_clamp=64, group_size=8)
    path = tmp_path / "a.pkl"
    path.write_bytes(lookalike.nvidia_pickle({"G_ema": generator, "D": critic}))
    found = open_checkpoint(path)
    assert (found.generator_config.clamp, found.generator_config.mapping_lr_multiplier) == (256.0, 0.02)
    assert found.discriminator_config.clamp == 64.0
    assert found.tested == GOLDEN
    assert load_generator(path).generator(torch.randn(1, 48)).shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("group", "expected"), [(8, 8), (None, 2**16)])
def test_minibatch_group(group: int | None, expected: int, tmp_path: Path) -> None:
    parts = state_dicts()
    generator = lookalike.nvidia_network(parts["G_ema"], "Generator", {})
    critic = lookalike.nvidia_network(parts["D"], "Discriminator", {"epilogue_kwargs": {"mbstd_group_size": group}})
    path = tmp_path / "a.pkl"
    path.write_bytes(lookalike.nvidia_pickle({"G_ema": generator, "D": critic}))
    assert open_checkpoint(path).discriminator_config.stddev_group == expected


def test_conversion_keeps_what_is_known(tmp_path: Path) -> None:
    path = lookalike.nvidia_file(tmp_path / "a.pkl", golden.load("nvidia_ada_skip_32_state.npz"))
    before, after = inspect(path), convert(path, tmp_path / "b.safetensors")
    assert {k: before[k] for k in ("source", "generator", "discriminator")} == {
        k: after[k] for k in ("source", "generator", "discriminator")
    }
    assert after["source"]["tested"] == GOLDEN
    assert json.loads(json.dumps(after)) == json.loads(json.dumps(inspect(tmp_path / "b.safetensors")))
    assert torch.equal(load_generator(path).w_cov, load_generator(tmp_path / "b.safetensors").w_cov)


def test_pack_is_a_checkpoint(tmp_path: Path) -> None:
    generator = Generator(GeneratorConfig(resolution=16, channels=(8, 6, 4), z_dim=8, w_dim=8))
    critic = Discriminator(DiscriminatorConfig(resolution=16, channels=(8, 6)))
    save_pack(tmp_path, make_prior(generator, critic, {"category": "blobs"}), torch.float32)
    prior = load_generator(tmp_path)
    z = torch.randn(2, 8)
    close(prior.generator(z), generator(z))
    assert prior.card == {"category": "blobs"}
    found = inspect(tmp_path)
    assert found["discriminator"]["unshuffle"] is True
    assert found["networks"] == []
    assert found["source"]["tested"] == OUR_OWN


def test_further_networks_of_a_pack_are_named(tmp_path: Path) -> None:
    generator = Generator(GeneratorConfig(resolution=16, channels=(8, 6, 4), z_dim=8, w_dim=8))
    networks = {name: {"last.weight": torch.ones(2)} for name in ("scene", "mask")}
    prior = replace(make_prior(generator, None), networks=networks)
    save_pack(tmp_path, prior, torch.float32)
    assert inspect(tmp_path)["networks"] == ["mask", "scene"]
    assert "networks       mask, scene" in describe(inspect(tmp_path))
