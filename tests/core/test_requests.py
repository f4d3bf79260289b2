"""A run's request: written, read back, refused where it is of an earlier version or damaged."""

import json
from pathlib import Path

import pytest

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.requests import REQUEST_NAME, RunRequest, resumed


def written(folder: Path, **changes) -> Path:
    """A run's folder whose request has `changes`; None takes a key away."""
    plain = json.loads(RunRequest("car", seed=3, overrides=("steps.n_joint=10",)).to_json()) | changes
    plain = {key: value for key, value in plain.items() if changes.get(key, value) is not None or key not in changes}
    (folder / REQUEST_NAME).write_text(json.dumps(plain), encoding="utf-8")
    return folder


def test_a_request_comes_back_with_its_folder_and_further_overrides(tmp_path) -> None:
    request = resumed(written(tmp_path), "cpu", ("n_stages=2",))
    assert (request.category, request.seed, request.device) == ("car", 3, "cpu")
    assert request.out == request.resume == tmp_path
    assert request.overrides == ("steps.n_joint=10", "n_stages=2")


def test_a_request_does_not_say_where_its_own_folder_lies(tmp_path) -> None:
    text = RunRequest("car", seed=3, out=tmp_path / "runs", resume=tmp_path / "runs").to_json()
    assert tmp_path.as_posix() not in text
    (tmp_path / REQUEST_NAME).write_text(text, encoding="utf-8")
    assert resumed(tmp_path).out == tmp_path


@pytest.mark.parametrize(
    "changes", [{"class_index": None}, {"generator": None, "features": None}, {"seed": "three"}, {"overrides": 3}]
)
def test_requests_of_earlier_versions_are_one_sentence(changes: dict, tmp_path) -> None:
    with pytest.raises(UserError, match="no run of this version") as raised:
        resumed(written(tmp_path, **changes))
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("start anew.")


@pytest.mark.parametrize("text", ["", "[1]", "null", "{", '{"category": "car"}'])
def test_damaged_requests_are_one_sentence(text: str, tmp_path) -> None:
    (tmp_path / REQUEST_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="no run of this version"):
        resumed(tmp_path)


def test_keys_of_earlier_versions_have_no_aliases(tmp_path) -> None:
    request = resumed(written(tmp_path, overrides=["prior_shape.turns_deg=[10]"]))
    with pytest.raises(UserError, match=r"unknown key 'prior_shape\.turns_deg'"):
        compose(ShapeConfig, request.category, request.preset, request.overrides)
