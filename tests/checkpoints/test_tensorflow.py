"""NVIDIA's TensorFlow pickles: look-alikes written by the inverse of the reader's rules make the published images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.checkpoints.layouts import SHAPES_ONLY
from gan2shape.checkpoints.open import inspect, open_checkpoint
from gan2shape.core.errors import UserError
from gan2shape.prior.checkpoint import load_generator
from tests.checkpoints import golden, lookalike
from tests.checkpoints.test_checkpoints import close


def written(folder: Path, architecture: str = "skip", **how: object) -> Path:
    """A TensorFlow pickle of a network whose numbers are known."""
    path = folder / "tf.pkl"
    path.write_bytes(lookalike.tensorflow_pickle(golden.load(f"nvidia_ada_{architecture}_32_state.npz"), **how))
    return path


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_tensorflow_pickle(architecture: str, tmp_path: Path) -> None:
    """A look-alike written by the inverse of the reader's rules: the layout is tested, not the published numbers."""
    state, path = golden.load(f"nvidia_ada_{architecture}_32_state.npz"), tmp_path / "tf.pkl"
    path.write_bytes(lookalike.tensorflow_pickle(state))
    io, prior = golden.load(f"nvidia_ada_{architecture}_32_io.npz"), load_generator(path)
    close(prior.generator(io["z"]), io["image"])
    close(prior.discriminator(io["images8"]), io["discriminator_logit8"])
    assert inspect(path)["source"]["tested"] == SHAPES_ONLY


@pytest.mark.parametrize("scalars", ["numpy.float32", "0-d arrays"])
def test_variables_without_axes(scalars: str, tmp_path: Path) -> None:
    """`Session.run` returns numpy.float32 for them, and no array."""
    io = golden.load("nvidia_ada_skip_32_io.npz")
    path = written(tmp_path, has_scalars=scalars == "numpy.float32")
    close(load_generator(path).generator(io["z"]), io["image"])


def test_settings_of_the_ada_repository(tmp_path: Path) -> None:
    path = written(
        tmp_path, settings={"conv_clamp": 256, "mapping_lrmul": np.float32(0.02)}, module="dnnlib.tflib.network"
    )
    found = open_checkpoint(path)
    assert found.generator_config.clamp == 256.0
    assert found.discriminator_config.clamp == 256.0
    assert found.generator_config.mapping_lr_multiplier == pytest.approx(0.02)
    assert (found.taken, found.ignored) == ("Gs", ("G: the generator being trained, not its average",))


def test_network_class_of_another_package(tmp_path: Path) -> None:
    assert open_checkpoint(written(tmp_path, module="stylegan2.dnnlib.tflib.network")).generator_config.resolution == 32


@pytest.mark.parametrize("wrap", [list, lambda nets: dict(zip("GDS", nets, strict=True)), lambda nets: nets[2]])
def test_networks_in_other_collections(wrap: object, tmp_path: Path) -> None:
    io = golden.load("nvidia_ada_skip_32_io.npz")
    close(load_generator(written(tmp_path, wrap=wrap)).generator(io["z"]), io["image"])


def trained_apart(networks: tuple) -> tuple:
    """G, D and Gs, where G has other numbers than its average: whose images are made shows which one was taken."""
    trained, critic, averaged = networks
    parts = dict(trained.components)
    arrays = [
        (name, 2 * array if name.endswith("Const/const") else array) for name, array in parts["synthesis"].variables
    ]
    parts["synthesis"] = lookalike.Network("synthesis", dict(arrays), {})
    return lookalike.Network("G", dict(trained.variables), parts, **trained.static_kwargs), critic, averaged


def nameless(networks: tuple) -> tuple:
    """The same networks, as somebody built them who gave them no names."""
    for network in networks:
        network.name = None
    return networks


TRAINED = "the generator being trained, not its average"
ARRANGED = {  # how G, D and Gs lie in a file, what is printed as taken, and as ignored
    "average first": (lambda g, d, gs: [gs, g], "Gs", [f"G: {TRAINED}"]),
    "average first, all": (lambda g, d, gs: (gs, d, g), "Gs", [f"G: {TRAINED}"]),
    "without its average": (lambda g, d, gs: (gs, d), "Gs", []),
    "dictionary": (lambda g, d, gs: {"Gs": gs, "G": g, "D": d}, "Gs", [f"G: {TRAINED}"]),
    "nested": (lambda g, d, gs: [0, {"nets": {"all": (gs, g, d)}}], "nets.all.Gs", [f"nets.all.G: {TRAINED}"]),
    "twice": (lambda g, d, gs: {"nets": [g, d, gs], "Gs": gs}, "Gs", [f"nets.G: {TRAINED}"]),
    "keys": (
        lambda g, d, gs: dict(zip(("G_ema", "G", "D"), nameless((gs, g, d)), strict=True)),
        "G_ema",
        [f"G: {TRAINED}"],
    ),
    "order": (lambda g, d, gs: nameless((g, d, gs)), "without a name", ["without a name: another generator"]),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_averaged_generator_is_taken_wherever_it_lies(name: str, tmp_path: Path) -> None:
    arrange, taken, ignored = ARRANGED[name]
    path = written(tmp_path, wrap=lambda networks: arrange(*trained_apart(networks)))
    io, found = golden.load("nvidia_ada_skip_32_io.npz"), open_checkpoint(path)
    assert (found.taken, list(found.ignored)) == (taken, ignored)
    assert any("may be the one being trained" in note for note in found.notes) == (name == "order")
    assert (found.discriminator is None) == (name in ("average first", "keys, average first"))
    prior = load_generator(path)
    close(prior.generator(io["z"]), io["image"])
    if prior.discriminator is not None:
        close(prior.discriminator(io["images8"]), io["discriminator_logit8"])


def test_only_generator_is_taken_though_a_discriminator_comes_after_it(tmp_path: Path) -> None:
    found = open_checkpoint(written(tmp_path, wrap=lambda networks: networks[:2]))
    assert (found.taken, found.discriminator is None) == ("G", False)
    assert any("may be the one being trained" in note for note in found.notes)
    with pytest.raises(UserError, match="no StyleGAN2 generator"):
        inspect(written(tmp_path, wrap=lambda networks: {"D": networks[1]}))


def test_classes_of_the_ada_repository(tmp_path: Path) -> None:
    """LabelEmbed is read like the embedding of the PyTorch implementation."""
    state = golden.load("nvidia_ada_skip_32_state.npz")
    extra = {"mapping.embed.weight": torch.randn(40, 3), "mapping.embed.bias": torch.randn(40)}
    extra["mapping.fc0.weight"] = torch.cat([state["G_ema/mapping.fc0.weight"], torch.randn(40, 40)], dim=1)
    full = {**state, **{f"G_ema/{name}": tensor for name, tensor in extra.items()}}
    path, plain = tmp_path / "tf.pkl", tmp_path / "plain.pt"
    path.write_bytes(lookalike.tensorflow_pickle(full, settings={"label_size": 3}))
    torch.save({"G_ema": {k[6:]: t for k, t in full.items() if k.startswith("G_ema/")}}, plain)
    z = torch.randn(2, 48)
    ours, theirs = (load_generator(p, class_index=2).generator(z) for p in (path, plain))
    close(ours, theirs)


@pytest.mark.parametrize("setting", [{"nonlinearity": "relu"}, {"resample_kernel": [1, 2, 1]}, {"normalize_z": False}])
def test_unusual_networks_are_refused(setting: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unusual kind"):
        inspect(written(tmp_path, settings=setting))


def test_levels_of_a_network_that_grew(tmp_path: Path) -> None:
    """Their to-RGB layers are counted from the finest: ToRGB_lod0 is that of 32 x 32."""

    def grown(networks: tuple) -> tuple:
        for network in networks[::2]:
            parts = network.components["synthesis"]
            parts.variables = [(name.replace("32x32/ToRGB", "ToRGB_lod0"), array) for name, array in parts.variables]
        return networks

    io, path = golden.load("nvidia_ada_orig_32_io.npz"), written(tmp_path, "orig", wrap=grown)
    assert b"ToRGB_lod0" in path.read_bytes()
    close(load_generator(path).generator(io["z"]), io["image"])
