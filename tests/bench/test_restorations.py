"""Rows of the restoration table: resumed image by image, paired with the reference of their task."""

import json
from pathlib import Path

import numpy as np
import pytest

import gan2shape.bench.restorations as bench
from gan2shape.bench.requests import BenchRequest
from gan2shape.core.errors import UserError
from gan2shape.invert.terms import TERMS
from gan2shape.restoration.tasks import TASKS
from tests.shape.tiny import tiny_generator

ROWS = ("superres:2=bicubic", "superres:2=pulse")
REQUEST = BenchRequest("car", count=3)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "open_measured", lambda request: (tiny_generator(), None))
    monkeypatch.setattr(bench, "_judge", lambda prior: None)
    monkeypatch.setattr(bench, "_reader", lambda category, prior: None)


@pytest.mark.usefixtures("tiny")
def test_rows_are_means_over_images_and_gains_are_paired(tmp_path: Path) -> None:
    rows = bench.run_restorations(REQUEST, "val", ROWS, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / bench.IMAGES_NAME).read_text().splitlines()]
    by_row = {name: np.array([line["psnr_db"] for line in lines if line["row"] == name]) for name in ROWS}
    assert [row["row"] for row in rows] == list(ROWS)
    assert rows[0]["psnr_db"] == pytest.approx(by_row[ROWS[0]].mean())
    assert "gain_db" not in rows[0]
    assert rows[1]["gain_db"] == pytest.approx((by_row[ROWS[1]] - by_row[ROWS[0]]).mean())
    assert rows[1]["against"] == ROWS[0]
    recipes = json.loads((tmp_path / "rows.json").read_text())["methods"]
    assert recipes[ROWS[1]]["space"] == "P"  # a row says how it was made


@pytest.mark.usefixtures("tiny")
def test_a_second_call_measures_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run_restorations(REQUEST, "val", ROWS[:1], tmp_path)
    path = tmp_path / bench.IMAGES_NAME
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    measured, counts = bench.measured, []
    monkeypatch.setattr(bench, "measured", lambda clean, *rest: counts.append(len(clean)) or measured(clean, *rest))
    bench.run_restorations(REQUEST, "val", ROWS[:1], tmp_path)
    assert counts == [1]
    with pytest.raises(UserError, match="holds rows of other images"):
        bench.run_restorations(REQUEST, "test", ROWS[:1], tmp_path)


def test_every_task_has_a_reference_and_every_row_a_method() -> None:
    solved = {name for name, task in TASKS.items() if not task.is_learnt}
    assert set(bench.REFERENCES) == {*solved, bench.TURN, bench.SAMPLE}
    for row in bench.ROWS:
        _, task, choice = bench._parsed(row)
        recipe = bench._recipes([(row, task, choice)], tiny_generator().prior)[row]
        assert all(term["term"] in TERMS for term in recipe["terms"])
        assert bench.reference_of(task) in bench.ROWS
    for row in bench.ABLATIONS:
        bench._parsed(row)


@pytest.mark.usefixtures("tiny")
def test_rows_of_inversions_and_of_draws_have_their_own_numbers(tmp_path: Path) -> None:
    names = ("sample=w+steps=0.01", "inpaint=brgmvi+steps=0.01")
    rows = {row["row"]: row for row in bench.run_restorations(BenchRequest("car", count=2), "val", names, tmp_path)}
    assert rows[names[0]]["w_distance"] > 0
    assert {"draw_sd", "hole_draw_sd"} <= rows[names[1]].keys()
    assert rows[names[1]]["explained_mse"] > 0


def test_a_row_without_a_method_is_refused() -> None:
    with pytest.raises(UserError, match="write TASK=METHOD"):
        bench._parsed("superres:4")
