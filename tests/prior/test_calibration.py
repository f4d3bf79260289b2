"""`calibration.json`: read strictly, written whole, between the category and the user's settings."""

import json
import shutil

import pytest

from gan2shape.core.compose import compose, dotted_keys
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.resources import known_categories, pack_dir
from gan2shape.prior.calibration import (
    CALIBRATION_NAME,
    KEYS,
    NAMES,
    Calibration,
    read_calibration,
    write_calibration,
)
from gan2shape.prior.checkpoint import convert, load_generator
from gan2shape.prior.open import category_config, open_prior

SOME = Calibration(
    depth_scale=1.25, tilt=(0.0, -0.02), fusion_yaws_deg=(), light_alpha=-1.0, chosen_with_true_depth=("tilt",)
)


def test_what_is_written_is_read(tmp_path) -> None:
    path = write_calibration(tmp_path, SOME)
    assert read_calibration(tmp_path) == SOME
    before = path.read_bytes()
    write_calibration(tmp_path, read_calibration(tmp_path))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [CALIBRATION_NAME]


def test_without_a_file_the_defaults_stay(tmp_path) -> None:
    nothing = read_calibration(tmp_path)
    assert nothing == Calibration()
    assert compose(ShapeConfig, "car", "draft", calibration=nothing.settings) == compose(ShapeConfig, "car", "draft")


def test_values_become_settings() -> None:
    assert set(KEYS.values()) <= set(dotted_keys(ShapeConfig))
    config = compose(ShapeConfig, "car", "draft", calibration=SOME.settings)
    assert config.initial.network_depth_scale == 1.25
    assert config.initial.network_tilt == (0.0, -0.02)
    assert config.initial.fusion_yaws_deg == ()
    assert config.lights.alpha == -1.0
    assert config.lights.lx == ShapeConfig().lights.lx


ENTRY = {"value": 1.0, "chosen_with_true_depth": True}
BAD = {
    "not JSON": "{",
    "a list": "[]",
    "no format": "{}",
    "another format": {"format": "x"},
    "unknown key": {"depht_scale": ENTRY},
    "bare value": {"depth_scale": 1.0},
    "further entry": {"depth_scale": {**ENTRY, "why": "x"}},
    "no flag": {"depth_scale": {"value": 1.0, "chosen_with_true_depth": 1}},
    "text": {"depth_scale": {**ENTRY, "value": "1.0"}},
    "boolean": {"depth_scale": {**ENTRY, "value": True}},
    "infinite": {"depth_scale": {**ENTRY, "value": float("inf")}},
    "not a number": {"depth_scale": {**ENTRY, "value": float("nan")}},
    "huge": {"depth_scale": {**ENTRY, "value": 10**400}},
    "negative": {"depth_scale": {**ENTRY, "value": -1.0}},
    "scalar for a list": {"tilt": {**ENTRY, "value": 0.1}},
    "length": {"tilt": {**ENTRY, "value": [0.0]}},
    "member": {"fusion_yaws_deg": {**ENTRY, "value": [0.0, None]}},
    "interval": {"light_lx": {**ENTRY, "value": [1.0, -1.0]}},
    "part": {"highpass_share": {**ENTRY, "value": 1.5}},
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_one_sentence(name, tmp_path) -> None:
    page = BAD[name]
    if isinstance(page, dict):
        page = json.dumps({"format": "gan2shape-calibration-1", **page})
    (tmp_path / CALIBRATION_NAME).write_text(page)
    with pytest.raises(UserError, match="gan2shape build") as raised:
        read_calibration(tmp_path)
    assert "\n" not in str(raised.value)
    assert CALIBRATION_NAME in str(raised.value)


def test_bytes_that_are_no_text_and_folders_are_one_sentence(tmp_path) -> None:
    (tmp_path / CALIBRATION_NAME).write_bytes(b"\xff\xfe{")
    with pytest.raises(UserError, match="damaged"):
        read_calibration(tmp_path)
    (tmp_path / "sub" / CALIBRATION_NAME).mkdir(parents=True)
    with pytest.raises(UserError, match="damaged"):
        read_calibration(tmp_path / "sub")


def test_shipped_packs_set_every_value_and_their_cards_list_what_true_depth_chose() -> None:
    packed = [category for category in known_categories() if pack_dir(category).is_dir()]
    assert {"car", "face", "head"} <= set(packed)
    for category in packed:
        calibration = read_calibration(pack_dir(category))
        assert set(calibration.values) == set(NAMES)
        card = json.loads((pack_dir(category) / "card.json").read_text(encoding="utf-8"))
        assert card["chosen_with_true_depth"] == list(calibration.chosen_with_true_depth)


def test_the_user_s_settings_win_and_a_run_s_configuration_shows_the_values() -> None:
    config = category_config("car", "draft")
    assert config.initial.network_depth_scale == 1.1
    assert config.lights.gain == (-0.15, 0.15)
    key = KEYS["depth_scale"]
    assert category_config("car", "draft", (f"{key}=2",)).initial.network_depth_scale == 2.0


def test_a_copied_pack_uses_its_own_calibration(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    copied = shutil.copytree(pack_dir("car"), tmp_path / "elsewhere")
    write_calibration(copied, SOME)
    generator, config = open_prior(None, copied, device="cpu")
    assert config.initial.network_depth_scale == 1.25
    assert config.lights.lx == ShapeConfig().lights.lx, "the bundled pack's is another one's"
    assert generator.prior.calibration == SOME
    (copied / CALIBRATION_NAME).unlink()
    assert open_prior(None, copied, device="cpu")[1].initial.network_depth_scale == 1.0
    (copied / CALIBRATION_NAME).write_text("{")
    with pytest.raises(UserError, match="calibration"):
        open_prior(None, copied, device="cpu")


def test_the_calibration_travels_inside_a_converted_pack(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_CACHE", str(tmp_path / "cache"))
    convert(pack_dir("head"), tmp_path / "head.safetensors")
    assert load_generator(tmp_path / "head.safetensors").calibration == read_calibration(pack_dir("head"))
    bundled = open_prior("head", device="cpu")[1]
    generator, config = open_prior(None, tmp_path / "head.safetensors", device="cpu")
    assert config == bundled
    (note,) = (note for note in generator.notes if note.startswith("Sampled"))
    assert "lights.gain -0.15 to 0.15 (its own calibration)" in note
