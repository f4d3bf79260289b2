"""Class-conditional networks: one class is put into the mapping; a class of a network that has none is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from gan2shape.checkpoints.layouts import GOLDEN
from gan2shape.checkpoints.open import inspect
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.core.images import write_png
from gan2shape.prior.cache import cache_name
from gan2shape.prior.checkpoint import convert, load_generator
from tests.checkpoints import hostile_parts, lookalike
from tests.checkpoints.test_checkpoints import saved, state_dicts


def conditional(n_classes: int = 3) -> dict[str, Tensor]:
    """A generator's state with a class embedding beside z."""
    state = dict(state_dicts()["G_ema"])
    torch.manual_seed(1)
    state["mapping.embed.weight"], state["mapping.embed.bias"] = torch.randn(40, n_classes), torch.randn(40)
    state["mapping.fc0.weight"] = torch.cat([state["mapping.fc0.weight"], torch.randn(40, 40)], dim=1)
    return state


def test_class_is_put_into_the_mapping(tmp_path: Path) -> None:
    """Against the definition: the normalised embedding is appended to the normalised z."""
    state, z = conditional(), torch.randn(5, 48)
    path = saved({"G_ema": state}, tmp_path)
    label = state["mapping.embed.weight"][:, 2] / 3**0.5 + state["mapping.embed.bias"]
    unit = [x / x.square().mean(-1, keepdim=True).sqrt() for x in (z, label.expand(5, -1))]
    x = torch.cat(unit, dim=1)
    for i in range(3):
        weight, bias = state[f"mapping.fc{i}.weight"], state[f"mapping.fc{i}.bias"]
        y = x @ weight.t() * (0.01 / weight.shape[1] ** 0.5) + bias * 0.01
        x = torch.nn.functional.leaky_relu(y, 0.2) * 2**0.5
    torch.testing.assert_close(load_generator(path, class_index=2).generator.mapping(z), x, atol=1e-5, rtol=0)
    found = inspect(path, 2)["source"]
    assert (found["n_classes"], found["class_index"], found["tested"]) == (3, 2, GOLDEN)
    with pytest.raises(UserError, match=r"no class 3: give a --class up to 2\.$"):
        load_generator(path, class_index=3)


def test_conditional_discriminator_has_one_logit(tmp_path: Path) -> None:
    critic = dict(state_dicts()["D"])
    critic |= {"b4.out.weight": torch.randn(24, 24), "b4.out.bias": torch.randn(24)}
    critic |= {"mapping.embed.weight": torch.randn(24, 3), "mapping.embed.bias": torch.randn(24)}
    critic |= {"mapping.fc0.weight": torch.randn(24, 24) * 100, "mapping.fc0.bias": torch.randn(24)}
    prior = load_generator(saved({"G_ema": conditional(), "D": critic}, tmp_path), class_index=1)
    assert prior.discriminator(torch.randn(4, 3, 32, 32)).shape == (4, 1)


def test_first_class_is_used_and_noted_unless_another_is_given(tmp_path: Path) -> None:
    path = saved({"G_ema": conditional()}, tmp_path)
    assert any("class 0 is used" in note for note in inspect(path)["source"]["notes"])
    first, second = (load_generator(path, class_index=i).generator.mapping.fc0.bias for i in (0, 1))
    assert torch.equal(load_generator(path).generator.mapping.fc0.bias, first)
    assert not torch.equal(first, second)


def test_class_of_a_network_without_classes_is_refused(tmp_path: Path) -> None:
    path = saved(lookalike.rosinality_state(*hostile_parts.SMALL), tmp_path)
    with pytest.raises(UserError, match="has no classes: leave out --class"):
        load_generator(path, class_index=0)


def test_converted_file_holds_one_class(tmp_path: Path) -> None:
    path, out = saved({"G_ema": conditional()}, tmp_path), tmp_path / "out.safetensors"
    convert(path, out, class_index=1)
    assert load_generator(out).generator.config.z_dim == 48
    assert load_generator(out, class_index=1).generator.config.z_dim == 48
    with pytest.raises(UserError, match="holds class 1 and no other"):
        load_generator(out, class_index=2)


VERBS = (
    "inspect {path} --class 1",
    "convert {path} {out} --class 1",
    "prior {path} --class 1",
    "run --generator {path} --category car --class 1 --seed 0 --out {folder}",
    "run --class 1 --seed 0 --out {folder}",
    "bench shape --generator {path} --category car --class 1 --out {folder}",
    "bench shape --category car --class 1 --out {folder}",
    "bench ladder --generator {path} --category car --rung O3 --class 1",
    "bench card --generator {path} --category car --class 1",
    "bench edit --generator {path} --category car --class 1 --out {folder}",
    "bench restore --generator {path} --category car --class 1 --out {folder}",
    "bench defence --generator {path} --category car --class 1 --out {folder}",
    "bench learn --generator {path} --category car --class 1 --out {folder}",
    "bench learn --kind supervised --category car --class 1 --out {folder}",
    "build car --generator {path} --class 1 --out {folder}",
    "restore {image} --generator {path} --class 1 --out {folder}",
    "invert {image} --generator {path} --class 1 --out {folder}",
    "morph {image} {image} --generator {path} --class 1 --out {folder}",
    "jitter {image} --generator {path} --class 1 --out {folder}",
    "combine {image} {image} --mask {image} --generator {path} --class 1 --out {folder}",
    "transfer {image} --class 1 --to 0 --generator {path} --out {folder}",
    "train-encoder --generator {path} --category car --class 1 --out {folder}",
    "train-encoder --kind alae --generator {path} --category car --class 1 --out {folder}",
    "train-encoder --kind icgan --class 1 --out {folder}",
    "train-restorer --generator {path} --category car --class 1 --out {folder}",
)


@pytest.mark.parametrize("command", VERBS)
def test_every_verb_with_a_generator_takes_a_class_and_refuses_a_missing_one(command: str, tmp_path: Path) -> None:
    path = saved(lookalike.rosinality_state(*hostile_parts.SMALL), tmp_path)
    image = write_png(tmp_path / "image.png", np.full((16, 16, 3), 128, np.uint8))
    places = {"path": path, "image": image, "out": tmp_path / "out.safetensors", "folder": tmp_path / "run"}
    result = CliRunner().invoke(app, [word.format(**places) for word in command.split()])
    assert result.exit_code == 2, result.output
    assert "leave out --class" in result.stderr.splitlines()[-1]
    assert not any(places[name].exists() for name in ("out", "folder"))


def test_each_class_keeps_its_own_estimates(tmp_path: Path) -> None:
    path = saved({"G_ema": conditional()}, tmp_path)
    names = [cache_name(path, i) for i in (None, 0, 1, 2)]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_export_without_its_embedding_is_refused(tmp_path: Path) -> None:
    """z and an embedding, 16 numbers, for a w of 8."""
    value = lookalike.rosinality_state(8, (4, 4), 8, 2)
    value["g_ema"]["style.1.weight"] = torch.randn(8, 16)
    with pytest.raises(UserError, match="class embedding was left out"):
        inspect(saved(value, tmp_path))


def test_state_dict_that_may_have_lost_its_embedding_is_noted(tmp_path: Path) -> None:
    state = dict(state_dicts()["G_ema"])
    state["mapping.fc0.weight"] = torch.randn(40, 80) * 100
    assert any("embedding" in note for note in inspect(saved({"G_ema": state}, tmp_path))["source"]["notes"])


def test_pickle_with_classes_needs_its_embedding(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    network = lookalike.nvidia_network(state_dicts()["G_ema"], "Generator", {"z_dim": 48, "c_dim": 10})
    path.write_bytes(lookalike.nvidia_pickle({"G_ema": network}))
    with pytest.raises(UserError, match="class embedding was left out"):
        inspect(path)
