"""Composition of typed defaults, YAML and overrides; saving and reading back; run folders; progress lines."""

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gan2shape.core import files as outdir
from gan2shape.core import resources
from gan2shape.core.compose import (
    compose,
    dotted_keys,
    from_yaml,
    to_yaml,
)
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import (
    PlainReporter,
    format_seconds,
    open_reporter,
    silent,
)
from gan2shape.prior.open import WITHOUT_ENCODER


@dataclass(frozen=True)
class Inner:
    pair: tuple[float, float] = (1.0, 2.0)  # fixed length
    name: str | None = None


@dataclass(frozen=True)
class Outer:
    category: str = "none"
    preset: str = "none"
    n: int = 1
    on: bool = True
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = (Inner(),)  # of dataclasses
    counts: tuple[int, ...] = (1, 2, 3)
    maybe: tuple[int, ...] | None = None
    weights: dict[str, float] = field(default_factory=lambda: {"a": 1.0})
    names: list[str] = field(default_factory=list)


@pytest.fixture
def root(tmp_path) -> Path:
    files = {
        "category/cat.yaml": "n: 5\ninner: {pair: [3, 4]}\n",
        "category/dog.yaml": "many: [{name: x}, {pair: [0, 1]}]\n",
        "category/typo.yaml": "inner: {pear: [3, 4]}\n",
        "preset/fast.yaml": "n: 7\nweights: {b: 2.5}\n",
        "preset/slow.yaml": "counts: [9]\nmaybe: [4, 5]\n",
        "preset/plain.yaml": "",
        "preset/fast/cat.yaml": "counts: [6]\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("# @package _global_\n" + text)
    return tmp_path


def test_no_choice_gives_the_defaults(root) -> None:
    assert compose(Outer, root=root) == Outer()


def test_preset_overrides_category_and_overrides_both(root) -> None:
    made = compose(Outer, "cat", "fast", root=root)
    assert (made.category, made.preset, made.n) == ("cat", "fast", 7)
    assert made.inner.pair == (3.0, 4.0)
    assert made.weights == {"a": 1.0, "b": 2.5}
    assert compose(Outer, "cat", "plain", root=root).n == 5
    assert compose(Outer, "cat", "fast", ["n=9", "inner.name=tom"], root=root).n == 9


def test_a_preset_may_have_other_values_for_a_category(root) -> None:
    assert compose(Outer, "cat", "fast", root=root).counts == (6,)
    assert compose(Outer, "cat", "fast", ["counts=[8]"], root=root).counts == (8,)
    for category, preset in (("dog", "fast"), ("cat", "plain"), (None, "fast")):
        assert compose(Outer, category, preset, root=root).counts == (1, 2, 3)


def test_types_survive(root) -> None:
    made = compose(Outer, "dog", "slow", ["names=[a,b]", "on=false", "weights.c=1"], root=root)
    assert made.many == (Inner(name="x"), Inner(pair=(0.0, 1.0)))
    assert made.counts == (9,)
    assert made.maybe == (4, 5)
    assert made.names == ["a", "b"]
    assert made.on is False
    assert made.weights["c"] == 1.0
    assert isinstance(made.many[0], Inner)


def test_saved_configuration_reads_back_equal(root) -> None:
    made = compose(Outer, "dog", "slow", ["inner.name=tom"], root=root)
    assert from_yaml(Outer, to_yaml(made)) == made
    shape = replace(ShapeConfig(), n_stages=3)
    assert from_yaml(ShapeConfig, to_yaml(shape)) == shape


BAD = {
    "category": (("cta", "fast", []), "unknown category 'cta'; did you mean cat?"),
    "preset": (("cat", "zzzz", []), "known: fast, plain, slow"),
    "key": (("cat", "fast", ["inner.pare=[1,2]"]), "did you mean inner.pair?"),
    "bare key": (("cat", "fast", ["pair=[1,2]"]), "did you mean inner.pair?"),
    "type": (("cat", "fast", ["n=three"]), "n: "),
    "length": (("cat", "fast", ["inner.pair=[1,2,3]"]), "needs 2 values"),
    "syntax": (("cat", "fast", ["counts=[1"]), "bad configuration"),
    "sweep": (("cat", "fast", ["n=1,2"]), "bad configuration"),
    "option": (("cat", "fast", ["preset=slow"]), "--preset slow"),
    "no equals": (("cat", "fast", ["n"]), "key=value"),
    "yaml key": (("typo", "fast", []), "inner.pear"),
}


@pytest.mark.parametrize(("call", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(call, hint: str, root) -> None:
    with pytest.raises(UserError) as raised:
        compose(Outer, *call, root=root)
    assert hint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_unreadable_saved_configuration_is_one_sentence() -> None:
    for text in ("n: [", "unknown: 1", "n: three", "just words"):
        with pytest.raises(UserError) as raised:
            from_yaml(Outer, text)
        assert "\n" not in str(raised.value)


def test_every_shipped_category_composes_with_every_preset() -> None:
    categories, presets = resources.known_categories(), resources.known_presets()
    assert "car" in categories
    assert {"smoke", "draft", "full", "paper"} <= set(presets)
    for category in categories:
        for preset in presets:
            made = compose(ShapeConfig, category, preset)
            assert (made.category, made.preset) == (category, preset)


def test_shipped_yaml_holds_only_differences() -> None:
    """A value that equals the typed default is a second source of it. The paper's preset states all of its constants
    all the same, `instant` that it fuses nothing, and `full` what custom generators have less of in draft: a category,
    a pack's calibration and what suits a custom generator come before them.
    """
    defaults = yaml.safe_load(to_yaml(ShapeConfig()))

    def same(tree: dict, base: dict, path: str) -> list[str]:
        found = []
        for key, value in tree.items():
            if isinstance(value, dict):
                found += same(value, base[key], f"{path}.{key}")
            elif value == base[key]:
                found.append(f"{path}.{key}")
        return found

    paths = {path for group in ("category", "preset") for path in (resources.configs_dir() / group).glob("*.yaml")}
    for path in paths - {resources.configs_dir() / "preset" / "paper.yaml"}:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        restored = {f"full.{key}" for key in WITHOUT_ENCODER}
        without = {"instant.initial.fusion_yaws_deg", "instant.initial.relit_cutoff", "full.initial.relit_cutoff"}
        assert set(same(tree, defaults, path.stem)) <= without | restored


def test_keys_are_listed_with_their_branches() -> None:
    assert dotted_keys(Inner) == ["pair", "name"]
    assert "inner.pair" in dotted_keys(Outer)
    assert "inner" in dotted_keys(Outer)


@pytest.mark.parametrize("name", ["configs", "viz", "weights"])
def test_data_folders_obey_the_environment(name: str, monkeypatch, tmp_path) -> None:
    find = getattr(resources, f"{name}_dir")
    monkeypatch.delenv(f"GAN2SHAPE_{name.upper()}", raising=False)
    assert find().name == name
    monkeypatch.setenv(f"GAN2SHAPE_{name.upper()}", str(tmp_path))
    assert find() == tmp_path


def test_data_in_a_wheel_is_preferred(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("GAN2SHAPE_VIZ", raising=False)
    package = tmp_path / "gan2shape"
    (package / "_data" / "viz").mkdir(parents=True)
    monkeypatch.setattr(resources, "PACKAGE_DIR", package)
    assert resources.viz_dir() == package / "_data" / "viz"
    assert resources.configs_dir() == tmp_path / "configs"


def test_run_folders_count_up(tmp_path) -> None:
    assert outdir.next_run_dir(tmp_path / "runs", "car").name == "0000-car"
    for name in ("0003-head", "0010-car-full", "notes", "12-short"):
        (tmp_path / name).mkdir()
    assert outdir.next_run_dir(tmp_path, "car").name == "0011-car"


def test_claimed_folders_go_again_while_empty(tmp_path) -> None:
    created = outdir.claim(tmp_path / "a" / "b")
    assert [path.name for path in created] == ["b", "a"]
    (tmp_path / "a" / "kept").write_text("x")
    outdir.release(created)
    assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "kept").exists()
    assert outdir.claim(tmp_path / "a") == []


def test_plain_progress_speaks_at_the_ends_and_now_and_then() -> None:
    now, stream = [0.0], io.StringIO()
    report = PlainReporter(stream, interval_s=5.0, clock=lambda: now[0])
    for step in range(1, 11):
        now[0] += 2.0
        report("joint", step, 10, loss=1.0 / step)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == ["joint: 1/10", "joint: 4/10", "joint: 7/10", "joint: 10/10"]
    assert "loss 0.25" in lines[1]
    assert lines[1].endswith("6 s gone, 12 s left")
    assert "left" not in lines[-1]


def test_the_same_stage_of_the_next_object_has_its_own_time() -> None:
    now, stream = [0.0], io.StringIO()
    report = PlainReporter(stream, interval_s=0.0, clock=lambda: now[0])
    for seconds, step in ((0.0, 10), (1.0, 20), (500.0, 10), (501.0, 20)):  # minutes of something else between them
        now[0] = seconds
        report("invert", step, 30)
    lines = stream.getvalue().splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["", "1 s gone, 1 s left"] * 2


def test_json_is_what_other_programs_read(tmp_path) -> None:
    payload = {"ci": float("nan"), "rows": (1, 2.5, np.float32(0.5), torch.tensor(2)), "at": tmp_path, "none": None}
    plain = json.loads(outdir.to_json(payload))
    assert plain == {"ci": None, "rows": [1, 2.5, 0.5, 2], "at": tmp_path.as_posix(), "none": None}
    assert "NaN" not in outdir.to_json([float("inf")])


def test_reporters_for_pipes_and_for_silence() -> None:
    stream = io.StringIO()
    with open_reporter(stream) as report:
        report("a", 1, 1)
    assert stream.getvalue() == "a: 1/1  0 s gone\n"
    with open_reporter(stream, quiet=True) as report:
        assert report is silent
        report("b", 1, 1, loss=1.0)
    assert "b" not in stream.getvalue()


def test_bars_on_a_terminal_show_stage_and_numbers() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with open_reporter(stream) as report:
        for step in (1, 2, 3):
            report("projection", step, 3, loss=0.5)
    assert "projection" in stream.getvalue()
    assert "loss 0.5" in stream.getvalue()


TIMES = [(0.4, "0 s"), (59.4, "59 s"), (65.0, "1 min 05 s"), (7620.0, "2 h 07 min")]


@pytest.mark.parametrize(("seconds", "text"), TIMES)
def test_seconds_for_people(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_one_number_for_a_series_means_that_number_alone(root: Path) -> None:
    assert compose(Outer, overrides=["counts=7"], root=root).counts == (7,)
    assert compose(Outer, overrides=["counts=[7,8]"], root=root).counts == (7, 8)
    with pytest.raises(UserError, match="counts"):
        compose(Outer, overrides=["counts=many"], root=root)
    with pytest.raises(UserError, match="pair"):
        compose(Outer, overrides=["inner.pair=1"], root=root)  # of fixed length
