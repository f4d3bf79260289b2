"""Files that further publishers' code wrote, and networks with classes and a clamp, draw the published images."""

from pathlib import Path

import pytest
import torch

from gan2shape.checkpoints.layouts import GOLDEN
from gan2shape.checkpoints.open import inspect
from gan2shape.checkpoints.summary import describe
from gan2shape.core.errors import UserError
from gan2shape.prior.checkpoint import convert, load_generator
from tests.checkpoints import golden, lookalike
from tests.checkpoints.test_checkpoints import close, saved

KINDS = {
    "basicsr": "BasicSR (or GFPGAN)",
    "gfpgan": "BasicSR (or GFPGAN)",
    "genforce": "genforce",
    "mmgeneration": "mmgeneration",
    "dualstylegan": "DualStyleGAN",
}
CLASSES = "nvidia_ada_classes_16"


@pytest.mark.parametrize("publisher", KINDS)
def test_published_file(publisher: str) -> None:
    path, io = golden.FOLDER / f"{publisher}_16.pt", golden.load(f"{publisher}_16_io.npz")
    generator, source = load_generator(path).generator, inspect(path)["source"]
    close(generator(io["z"]), io["image"])
    close(generator.synthesis(io["wplus"]), io["image_wplus"])
    if "truncation" in io:
        close(generator(io["z"], float(io["truncation"])), io["image_truncated"])
    assert (source["kind"], source["tested"]) == (KINDS[publisher], GOLDEN)


def test_what_lies_beside_the_generator_is_named() -> None:
    ignored = inspect(golden.FOLDER / "genforce_16.pt")["source"]["ignored"]
    assert ignored == [
        "models.generator.: the generator being trained, not its average",
        "running_metadata, models.discriminator: no part of a generator or discriminator that is read here",
    ]


def test_converted_file_says_that_it_holds_the_measured_mean(tmp_path: Path) -> None:
    source, path = golden.FOLDER / "basicsr_16.pt", tmp_path / "a.safetensors"
    assert "mean of w      not stored; measured when loaded" in describe(inspect(source))
    page = describe(convert(source, path))
    assert "mean of w      stored" in page
    assert not any("mean of w" in line and "stored" not in line for line in page)
    io = golden.load("basicsr_16_io.npz")
    close(load_generator(path).generator(io["z"]), io["image"])


@pytest.mark.parametrize("name", ["mapping.label_weight", "mapping.LabelEmbed.weight"])
def test_genforce_with_classes_is_refused_by_name(name: str, tmp_path: Path) -> None:
    state = torch.load(golden.FOLDER / "genforce_16.pt", weights_only=True)["models"]["generator_smooth"]
    with pytest.raises(UserError, match="class-conditional network in genforce's layout"):
        load_generator(saved({"generator_smooth": {**state, name: torch.zeros(3, 12)}}, tmp_path))


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pickle of the published network with three classes and a clamp that its activations pass."""
    parts = {"G_ema": {}, "D": {}}
    for name, tensor in golden.load(f"{CLASSES}_state.npz").items():
        network, _, rest = name.partition("/")
        parts[network][rest] = tensor
    clamp = float(golden.load(f"{CLASSES}_io.npz")["clamp"])
    kwargs = {"z_dim": 12, "c_dim": 3, "w_dim": 10, "synthesis_kwargs": {"conv_clamp": clamp}}
    made = {"G_ema": lookalike.nvidia_network(parts["G_ema"], "Generator", kwargs)}
    kwargs = {"c_dim": 3, "conv_clamp": clamp, "epilogue_kwargs": {"mbstd_group_size": 4}}
    made["D"] = lookalike.nvidia_network(parts["D"], "Discriminator", kwargs)
    path = tmp_path_factory.mktemp("classes") / "a.pkl"
    path.write_bytes(lookalike.nvidia_pickle(made))
    assert inspect(path, 1)["source"]["tested"] == GOLDEN
    return path


def test_images_of_classes_within_a_clamp(classes: Path) -> None:
    io = golden.load(f"{CLASSES}_io.npz")
    for i, index in enumerate(io["classes"].tolist()):
        generator, z = load_generator(classes, class_index=index).generator, io["z"][i : i + 1]
        close(generator(z), io["image"][i : i + 1])
        close(generator(z, float(io["truncation"])), io["image_truncated"][i : i + 1])


def test_logits_of_a_class_within_a_clamp(classes: Path) -> None:
    io = golden.load(f"{CLASSES}_io.npz")
    discriminator = load_generator(classes, class_index=int(io["class8"])).discriminator
    with torch.no_grad():
        close(discriminator(io["images8"]), io["discriminator_logit8"])
