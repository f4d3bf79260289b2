"""Tasks, composition and restoration on a tiny prior: what is known stays, what is missing comes from the generator."""

from dataclasses import replace

import pytest
import torch
from kornia.color import rgb_to_lab

import gan2shape.restoration.combine as combining
from gan2shape.core.errors import UserError
from gan2shape.degrade.degradations import Gray, box_mask
from gan2shape.invert.method import MethodConfig, StageConfig, StartConfig, TermConfig
from gan2shape.invert.solver import solve
from gan2shape.restoration.combine import KINDS, combine, shrunk_region
from gan2shape.restoration.composition import composed, with_lightness
from gan2shape.restoration.edits import MIXED_FROM, drawn, jittered, mixed, morphed
from gan2shape.restoration.methods import load_method
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import TASKS, Damage, degradations, hole_of, parse_damage
from tests.shape.tiny import SIZE, tiny_generator

QUICK = MethodConfig(start=StartConfig("best", 8), terms=(TermConfig("pixel_l2"),),
                     stages=(StageConfig(40, {"latent": 0.1}, schedule="cosine"),))  # fmt: skip


def picture(prior, n: int = 1, seed: int = 5) -> torch.Tensor:
    z = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return prior.generator.synthesis(prior.generator.mapping(z)).detach().clamp(-1, 1)


@pytest.mark.parametrize("task", sorted(name for name, task in TASKS.items() if not task.is_learnt))
def test_every_task_runs_from_clean_and_from_damaged_pictures(task: str) -> None:
    prior = tiny_generator().prior
    clean = picture(prior, 2)
    damage = parse_damage("superres:2" if task == "superres" else task)
    restored = restore_images(clean, damage, QUICK, prior, degrade=True)
    assert restored.image.shape == clean.shape
    assert set(restored.numbers) >= {"psnr_db", "ssim", "data_term", "latent_distance"}
    again = restore_images(restored.observed, damage, QUICK, prior)
    assert again.truth is None
    assert "psnr_db" not in again.numbers
    torch.testing.assert_close(again.image, restored.image, atol=1e-4, rtol=0)


def test_what_an_inpainted_picture_knows_stays_bit_for_bit() -> None:
    prior = tiny_generator().prior
    clean = picture(prior)
    restored = restore_images(clean, Damage("inpaint"), QUICK, prior, degrade=True)
    known = (box_mask(SIZE) > 0.5).expand_as(clean)
    assert torch.equal(restored.image[known], clean[known])
    assert not torch.equal(restored.image[~known], clean[~known])


def test_a_picture_of_a_batch_is_damaged_and_restored_as_it_would_be_alone() -> None:
    prior = tiny_generator().prior
    clean = picture(prior, 3)
    together = restore_images(clean, Damage("denoise"), QUICK, prior, degrade=True)
    alone = restore_images(clean[2:], Damage("denoise"), QUICK, prior, degrade=True)
    assert torch.equal(together.observed[2:], alone.observed)
    torch.testing.assert_close(together.image[2:], alone.image, atol=2e-3, rtol=0)


def test_a_hole_in_a_generators_own_sample_is_filled_much_better_than_without_it() -> None:
    prior = tiny_generator().prior
    clean = picture(prior, 1, 6)
    long = (StageConfig(150, {"latent": 0.1}, schedule="cosine"),)
    method = replace(QUICK, start=StartConfig("best", 32), stages=long)
    ours, plain = (restore_images(clean, Damage("inpaint"), m, prior, degrade=True) for m in (method, "tv"))
    assert ours.numbers["hole_psnr_db"][0] > plain.numbers["hole_psnr_db"][0] + 5


def test_the_lightness_of_one_picture_meets_the_colours_of_another() -> None:
    colours = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.4 - 0.2
    lightness = Gray()(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.4 - 0.2)
    made = rgb_to_lab(with_lightness(colours, lightness) / 2 + 0.5)
    torch.testing.assert_close(made[:, :1], rgb_to_lab(lightness / 2 + 0.5)[:, :1], atol=0.05, rtol=0)
    torch.testing.assert_close(made[:, 1:], rgb_to_lab(colours / 2 + 0.5)[:, 1:], atol=0.5, rtol=0)
    torch.testing.assert_close(with_lightness(colours, colours), colours, atol=1e-4, rtol=0)


def test_composition_without_a_kind_only_clips() -> None:
    made = torch.full((1, 3, 4, 4), 1.5)
    assert torch.equal(composed(made, made, None, "none"), torch.ones_like(made))


def test_a_method_that_enlarges_compares_at_full_resolution() -> None:
    method = replace(QUICK, enlarges=True)
    phi, after = degradations(parse_damage("superres:4"), method, SIZE)
    small = phi(torch.zeros(1, 3, SIZE, SIZE))
    assert small.shape[-1] == SIZE // 4
    assert after(small).shape[-1] == SIZE


@pytest.mark.parametrize(("text", "words"), [
    ("colourise", "did you mean colorize"), ("superres:x", "no number"), ("colorize:2", "takes no such number"),
    ("superres:-1", "takes no such number"), ("superres:inf", "takes no such number"),
])  # fmt: skip
def test_bad_tasks_are_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_damage(text)


@pytest.mark.parametrize(("text", "words"), [("superres:3", "does not divide"), ("superres:2.5", "no whole number")])
def test_factors_that_do_not_fit_are_refused(text: str, words: str) -> None:
    prior = tiny_generator().prior
    with pytest.raises(UserError, match=words):
        restore_images(picture(prior), parse_damage(text), QUICK, prior, degrade=True)


def test_holes_that_are_nothing_or_everything_are_refused() -> None:
    for kept, words in ((torch.ones(1, 1, 8, 8), "marks nothing"), (torch.zeros(1, 1, 8, 8), "marks everything")):
        with pytest.raises(UserError, match=words):
            hole_of(Damage("inpaint", kept=kept), 8)


def test_a_picture_of_another_size_is_refused() -> None:
    prior = tiny_generator().prior
    with pytest.raises(UserError, match="need 8 x 8"):
        restore_images(picture(prior), parse_damage("superres:4"), QUICK, prior)


def test_morphing_begins_and_ends_at_its_pictures_and_jitter_0_stays() -> None:
    prior = tiny_generator().prior
    method = replace(QUICK, space="Z + Theta", stages=(StageConfig(5, {"latent": 0.1, "theta": 0.01}),))
    restored = restore_images(picture(prior, 2), Damage("reconstruct"), method, prior)
    first, second = restored.solved.states
    strip = morphed(first, second, method.space, prior, 3)
    torch.testing.assert_close(strip[::2], restored.image, atol=1e-4, rtol=0)
    torch.testing.assert_close(drawn(first, method.space, prior), restored.image[:1], atol=1e-4, rtol=0)
    still, moved = (jittered(first, method.space, prior, sd, 2) for sd in (0.0, 0.7))
    torch.testing.assert_close(still, restored.image[:1].expand(2, -1, -1, -1), atol=1e-4, rtol=0)
    assert float((moved - still).abs().mean()) > 0.01
    with pytest.raises(UserError, match="different spaces"):
        morphed(first, {"latent0": first["latent0"]}, method.space, prior)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_pictures_are_combined(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What W+ found stays where it is wanted; around it the given pictures come back."""
    found = []

    def quick(name: str, task: str) -> MethodConfig:
        recipe = load_method(name, task)
        return recipe if task == "join" else replace(recipe, steps_factor=0.3 * recipe.steps_factor)

    monkeypatch.setattr(combining, "load_method", quick)
    monkeypatch.setattr(combining, "solve", lambda *given, **named: found.append(solve(*given, **named)) or found[-1])
    prior = tiny_generator().prior
    first, second = picture(prior, 1, 1), picture(prior, 1, 2)
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., : SIZE // 2] = 1.0
    solved = combine(first, second, mask, kind, prior)
    inside, outside = (shrunk_region(part, 5).expand_as(first) > 0.5 for part in (mask, 1.0 - mask))

    def error(target: torch.Tensor, where: torch.Tensor) -> float:
        return float((solved.image - target)[where].square().mean())

    answer = found[0].image.clamp(-1, 1)
    assert torch.equal(solved.w, found[0].w)  # noise alone
    if kind == "crossover":
        assert error(first, inside) < 0.1 * error(second, inside)
        assert error(second, outside) < 0.1 * error(first, outside)
    else:
        given = first if kind == "style" else second
        assert error(given, outside) < 0.3 * float((answer - given)[outside].square().mean())
        assert error(answer, inside) < 0.3 * error(given, inside)


def test_a_seam_is_left_free_where_there_is_room() -> None:
    half = torch.zeros(1, 1, 16, 16)
    half[..., :8] = 1.0
    assert int(shrunk_region(half).sum()) == 16 * 6
    point = torch.zeros(1, 1, 16, 16)
    point[..., 3, 3] = 1.0
    assert torch.equal(shrunk_region(point), point)


def test_bad_combinations_are_refused() -> None:
    prior = tiny_generator().prior
    image, mask = picture(prior), torch.zeros(1, 1, SIZE, SIZE)
    with pytest.raises(UserError, match="did you mean crossover"):
        combine(image, image, mask, "cross", prior)
    with pytest.raises(UserError, match="marks nothing"):
        combine(image, image, mask, "crossover", prior)


def test_mixed_rows_keep_the_coarse_ones() -> None:
    prior = tiny_generator().prior
    rows = prior.w_mean.expand(prior.generator.n_layers, -1) + torch.linspace(-1, 1, prior.generator.n_layers)[:, None]
    seen, synthesis = [], prior.generator.synthesis
    prior.generator.synthesis.forward, whole = (lambda w: seen.append(w) or whole(w)), synthesis.forward
    pictures = mixed(rows, prior, 5)
    del prior.generator.synthesis.forward
    n_kept = round(MIXED_FROM * len(rows))
    assert 0 < n_kept < len(rows)
    assert torch.equal(seen[0][:, :n_kept], rows[:n_kept].expand(5, -1, -1))
    assert len({float(w[n_kept, 0]) for w in seen[0]}) == 5  # each with fine rows of its own
    assert pictures.shape == (5, 3, SIZE, SIZE)
    assert torch.equal(pictures, mixed(rows, prior, 5))
    assert not torch.allclose(pictures, mixed(rows, prior, 5, seed=1), atol=1e-3)
