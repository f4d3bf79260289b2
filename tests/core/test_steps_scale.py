"""`steps_scale` shortens any preset."""

from dataclasses import replace

import pytest

from gan2shape.core.compose import compose
from gan2shape.core.config import AblationConfig, InvertConfig, ShapeConfig, StepConfig
from gan2shape.core.resources import known_presets

FULL = ShapeConfig(
    invert=InvertConfig(n_steps=300, n_starts=64, n_tracks=4),
    steps=StepConfig(n_albedo=(700, 0), n_projection=(700, 500), n_joint=(600,), n_collect=800, batch=8),
    ablation=AblationConfig(refine_steps=0, fit_steps=1000),
)


def test_every_count_is_multiplied() -> None:
    made = replace(FULL, steps_scale=0.1).scaled()
    assert (made.steps.n_albedo, made.steps.n_projection, made.steps.n_joint) == ((70, 0), (70, 50), (60,))
    assert (made.steps.n_collect, made.steps.batch) == (80, 8)
    assert (made.invert.n_steps, made.invert.n_starts, made.invert.n_tracks) == (30, 6, 1)
    assert (made.ablation.fit_steps, made.ablation.refine_steps) == (100, 0)
    assert made.steps_scale == 1.0


def test_nothing_falls_below_1_or_the_batch_and_0_stays_0() -> None:
    made = replace(FULL, steps_scale=1e-6).scaled()
    assert (made.steps.n_albedo, made.steps.n_projection, made.steps.n_joint) == ((1, 0), (1, 1), (1,))
    assert made.steps.n_collect == made.steps.batch == 8
    assert (made.invert.n_steps, made.invert.n_starts, made.invert.n_tracks) == (1, 1, 1)
    assert (made.ablation.fit_steps, made.ablation.refine_steps) == (1, 0)


def test_fewer_samples_than_a_batch_stay_as_they_are() -> None:
    few = replace(FULL, steps=replace(FULL.steps, n_collect=5), steps_scale=0.5)
    assert few.scaled().steps.n_collect == 5


@pytest.mark.parametrize("preset", known_presets())
def test_scaling_twice_is_scaling_once(preset: str) -> None:
    once = compose(ShapeConfig, "car", preset, ["steps_scale=0.3"]).scaled()
    assert once.scaled() == once
    whole = compose(ShapeConfig, "car", preset)
    assert whole.scaled() == whole
