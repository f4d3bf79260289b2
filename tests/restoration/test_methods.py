"""Methods are YAML: each is read, and carries the constants that were published."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.config import InvertConfig
from gan2shape.core.errors import UserError
from gan2shape.invert.spaces import FREE, parse_space
from gan2shape.invert.terms import TERMS
from gan2shape.restoration.methods import (
    STEP_MS,
    expected_seconds,
    inversion_in,
    known_methods,
    load_method,
    methods_dir,
)
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import parse_damage
from gan2shape.shape.inversion import inversion_method
from tests.shape.tiny import SIZE, tiny_generator, with_encoder

STEMS = sorted(path.stem for path in methods_dir().glob("*.yaml"))

# Published constants by file: (space, learning rates by stage and group, steps by stage, Adam's betas). Where ours
# differ, `lr_factors` and `steps_factor` say so beside them.
PUBLISHED = {
    "dgp_colorize": ("Z + Theta", [(2e-3, 5e-5), (1e-3, 5e-5), (5e-4, 5e-5), (5e-5, 5e-5), (2e-5, 2e-5)],
                     [200, 200, 300, 400, 300]),
    "dgp_superres": ("Z + Theta", [(2e-3, 5e-5), (1e-3, 5e-5), (2e-5, 2e-5), (1e-5, 1e-5), (1e-5, 1e-5)], [200] * 5),
    "dgpmse_superres": ("Z + Theta", [(1e-3, 2e-4), (1e-3, 2e-4), (1e-4, 1e-4), (1e-4, 1e-4), (1e-5, 1e-5)], [200] * 5),
    "dgp_inpaint": ("Z + Theta", [(1e-3, 2e-4), (1e-3, 2e-4), (1e-4, 1e-4), (1e-4, 1e-4), (1e-5, 1e-5)], [200] * 5),
    "dgp_reconstruct": ("Z + Theta", [(1e-3, 2e-4), (1e-3, 2e-4), (1e-4, 1e-4), (1e-4, 1e-4), (1e-5, 1e-5)],
                        [200] * 5),
    "dgp_manipulate": ("Z + Theta", [(1e-1, 2e-7), (1e-2, 2e-5), (2e-4, 2e-6)], [125, 125, 100]),
    "pulse": ("P", [(0.4, None)], [100]),
    "brgm": ("W+", [(0.1, None)], [501]),
    "brgmvi": ("W+ + Spread", [(0.1, None)], [501]),
    "i2s": ("W+", [(0.01, None)], [5000]),
    "projector": ("W + N", [(0.1, None)], [1000]),
}  # fmt: skip
WEIGHTS = {
    ("dgp_colorize", "features"): (1.0,),
    ("dgp_colorize", "z_normal"): (0.02,),
    ("dgp_inpaint", "features"): (1.0, 1.0, 1.0, 0.1, 0.1),
    ("dgp_inpaint", "pixel_l2"): (10.0, 10.0, 10.0, 100.0, 100.0),
    ("dgpmse_superres", "pixel_l2"): (10.0, 10.0, 10.0, 50.0, 100.0),
    ("dgp_manipulate", "z_normal"): (0.2,),
    ("pulse", "pixel_l2"): (100.0,),
    ("pulse", "geocross"): (0.05,),
    ("brgm", "w_prior"): (100.0,),
    ("brgm", "pixel_l2"): (1e-3,),
    ("brgm", "colinearity"): (0.1,),
    ("projector", "noise_regulariser"): (1e5,),
}


def loaded(stem: str):
    name, _, task = stem.partition("_")
    return load_method(name, task or "reconstruct")


@pytest.mark.parametrize("stem", STEMS)
def test_every_file_is_a_method_whose_parts_are_known(stem: str) -> None:
    method, space = loaded(stem), parse_space(loaded(stem).space)
    assert method.title
    assert method.source
    assert all(term.term in TERMS for term in method.terms)
    groups = {group for stage in method.stages for group in stage.lr}
    assert groups <= {"latent", "noise", "spread", "theta"}
    assert ("spread" in groups) == space.spread
    assert ("theta" in groups) == (space.theta or space.latent == "Net")
    assert ("noise" in groups) == (space.n_noise != 0)
    assert space.latent in FREE or "latent" in groups or stem == "combine_join"  # noise alone, after W+


@pytest.mark.parametrize("stem", [stem for stem in STEMS if not stem.startswith("combine")])
def test_every_file_restores_a_picture(stem: str) -> None:
    """Two steps a stage of each, of a task that it has a recipe for."""
    prior, method = with_encoder(tiny_generator()).prior, loaded(stem)
    task = stem.partition("_")[2].replace("manipulate", "reconstruct") or "inpaint"
    stages = tuple(replace(stage, n_steps=min(2, stage.n_steps)) for stage in method.stages)
    quick = replace(method, stages=stages, steps_factor=1.0, start=replace(method.start, n=4))
    clean = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = restore_images(clean, parse_damage(task), quick, prior, degrade=True)
    assert made.image.shape == clean.shape
    assert bool(made.image.isfinite().all())
    assert made.solved.n_steps == sum(stage.n_steps for stage in stages)


def test_expected_seconds_grow_with_steps_and_pixels() -> None:
    method = loaded("dgp_inpaint")
    each = expected_seconds(method, 64)
    assert each == pytest.approx(500 * STEP_MS["Theta"] / 1000)
    assert expected_seconds(replace(method, steps_factor=1.0), 128) == pytest.approx(8 * each)
    assert expected_seconds(loaded("tv"), 64) < expected_seconds(loaded("dip"), 64)


@pytest.mark.parametrize("stem", sorted(PUBLISHED))
def test_published_constants(stem: str) -> None:
    space, rates, steps = PUBLISHED[stem]
    method = loaded(stem)
    assert method.space == space
    assert [(stage.lr["latent"], stage.lr.get("theta")) for stage in method.stages] == rates
    assert [stage.n_steps for stage in method.stages] == steps
    assert method.betas == (0.9, 0.999)


@pytest.mark.parametrize(("stem", "term"), sorted(WEIGHTS))
def test_published_weights(stem: str, term: str) -> None:
    found = [settings.weight for settings in loaded(stem).terms if settings.term == term]
    assert found == [WEIGHTS[stem, term]]


def test_progressive_reconstruction_unlocks_a_block_a_stage() -> None:
    """DGP: shallow blocks first. The published inpainting has them all from the start."""
    assert [stage.n_groups for stage in loaded("dgp_colorize").stages] == [1, 2, 3, 4, 5]
    assert [stage.group_ratio for stage in loaded("dgp_colorize").stages] == [0.7, 0.7, 0.8, 0.9, 1.0]
    assert {stage.n_groups for stage in loaded("dgp_inpaint").stages} == {99}


def test_pulse_stops_at_its_epsilon_and_begins_at_random() -> None:
    method = loaded("pulse")
    assert method.terms[0].floor == pytest.approx(4 * 2e-3)  # of values in [-1, 1]: 2e-3 in [0, 1]
    assert (method.start.kind, method.stages[0].schedule, method.kernel) == ("random", "one_cycle_drop", "bicubic")


def test_w_is_the_inversion_of_the_shape_half() -> None:
    ours, theirs = load_method("w", "reconstruct"), inversion_method(InvertConfig())
    assert ours.stages == tuple(replace(stage, name="") for stage in theirs.stages)
    assert (ours.space, ours.betas, ours.start) == (theirs.space, theirs.betas, theirs.start)
    assert [(term.term, term.weight, term.n_blocks) for term in ours.terms] == [
        (term.term, term.weight, term.n_blocks) for term in theirs.terms
    ]


def test_a_method_differs_by_task_where_it_has_a_file_for_it() -> None:
    assert load_method("dgp", "colorize") != load_method("dgp", "inpaint")
    assert load_method("brgm", "inpaint") == load_method("brgm", "superres")
    assert "dgp" in known_methods("colorize")
    assert "combine" not in known_methods("colorize")


@pytest.mark.parametrize(("name", "task", "words"), [
    ("brgn", "colorize", "did you mean brgm"),
    ("dgp", "deblur", "has no recipe for deblur"),
])  # fmt: skip
def test_unknown_methods_are_named(name: str, task: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_method(name, task)


def test_an_inversion_finds_the_latent_first_and_then_what_is_added() -> None:
    assert [set(stage.lr) for stage in inversion_in("W+ + N").stages] == [{"latent"}, {"noise"}]
    assert [set(stage.lr) for stage in inversion_in("W + Theta").stages] == [{"latent"}, {"theta"}]
    assert len(inversion_in("W+").stages) == 1
    assert set(inversion_in("Z + Y").stages[0].lr) == {"latent", "embedding"}
