"""State files: read back, and refused in one sentence where they are damaged or of another version."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from gan2shape.core.errors import UserError
from gan2shape.shape.state import ObjectState, Progress, fingerprint, load_state, new_state, save_state
from tests.shape.tiny import CONFIG

ORIGIN = {"image": torch.zeros(1, 3, 4, 4)}


@pytest.fixture
def state() -> ObjectState:
    return new_state(CONFIG, 8, "cpu")


@pytest.fixture
def path(state, tmp_path) -> Path:
    save_state(tmp_path / "state.safetensors", state, Progress(n_done=2), (), CONFIG, ORIGIN)
    return tmp_path / "state.safetensors"


def rewrite(path: Path, notes: object) -> None:
    """The same tensors with other notes."""
    with safe_open(path, framework="pt") as stored:
        tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    save_file(tensors, path, {} if notes is None else {"notes": json.dumps(notes)})


def test_a_state_reads_back(path, state) -> None:
    loaded, progress, scenes = load_state(path, state, CONFIG, ORIGIN)
    assert (progress.n_done, scenes) == (2, ())
    for name, tensor in state.model.networks.state_dict().items():
        assert torch.equal(loaded.model.networks.state_dict()[name], tensor)


NOTES = {
    "another version's settings": ({"config": "ShapeConfig(prior_shape=...)"}, "another version: resume"),
    "no settings": ({"n_done": 1}, "damaged"),
    "no progress": ({"config": fingerprint(CONFIG), "n_scenes": 0}, "damaged"),
    "a list": ([1], "damaged"),
    "none": (None, "damaged"),
}


@pytest.mark.parametrize(("notes", "hint"), NOTES.values(), ids=NOTES)
def test_other_notes_are_one_sentence(notes, hint: str, path, state) -> None:
    rewrite(path, notes)
    with pytest.raises(UserError, match=hint) as raised:
        load_state(path, state, CONFIG, ORIGIN)
    assert "\n" not in str(raised.value)
    assert "start anew" in str(raised.value)
