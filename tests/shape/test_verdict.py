"""Figures that can tell what a prior knows, and the verdict that they give."""

import json
import math
from dataclasses import replace

import pytest
import torch

from gan2shape.api import metrics, reconstruct
from gan2shape.bench.exam import exam_objects
from gan2shape.core.errors import UserError
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.calibration import read_calibration, write_calibration
from gan2shape.prior.open import open_prior
from gan2shape.shape.verdict import (
    EDGE,
    INSIDE,
    OUTSIDE,
    excess,
    feature_distance,
    judge,
    latent_distance,
    level_of,
    require_picture,
    trust_figures,
)
from tests.tiny_pack import FEW_STEPS, SMALL, disc_mask, write_tiny_pack

SIZE = 32
LIMITS = {"guess_psnr_db": (20.0, 10.0), "round_trip": (1.0, 2.0), "mask_iou": (0.9, 0.8)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A draft run on a pack that has learnt nothing; its limits are chosen by hand."""
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    pack = write_tiny_pack(tmp_path, "car", SIZE)
    known = replace(read_calibration(pack), limit_guess_psnr_db=(40.0, 30.0), limit_mask_iou=(0.2, 0.1))
    write_calibration(pack, known)
    return lambda **given: reconstruct(device="cpu", overrides=(*SMALL, *FEW_STEPS), mask=disc_mask(SIZE), **given)


@pytest.fixture(scope="module")
def bundled():
    """Both bundled priors."""
    return {name: open_prior(name, device="cpu")[0] for name in ("car", "head")}


def exam(category: str, count: int):
    items = exam_objects(category, "test", count)
    return torch.cat([item.image for item in items]), torch.cat([item.mask for item in items])


def test_the_figure_of_an_image_is_of_what_the_generator_makes_of_it(run, tmp_path) -> None:
    made = run(image=torch.rand(1, 3, SIZE, SIZE) * 2 - 1)
    image, generator = made.observation.image, made.generator
    with torch.no_grad():
        expected = psnr_db(generator(made.observation.latent)[0], image, made.observation.mask > 0.5).item()
    assert metrics(made)["inversion_psnr_db"] == pytest.approx(expected)
    assert expected < 20  # noise; a render with its divided albedo would have more than 40
    assert made.verdict.level == OUTSIDE
    assert metrics(made).items() >= made.verdict.figures.items()
    assert made.warnings == (made.verdict.sentence,)
    bundle = made.bundle()
    assert bundle.notes[0] == made.verdict.sentence
    assert (bundle.figures, bundle.verdict) == (made.figures, made.verdict)
    written = json.loads(made.export(tmp_path / "out")["scene_json"].read_text())
    assert written["verdict"] == {"level": "outside", "sentence": made.verdict.sentence}
    assert written["figures"]["inversion_psnr_db"] == pytest.approx(expected)


def test_a_sample_has_no_verdict(run) -> None:
    made = run(seed=1)
    assert made.inversion_psnr_db is None
    assert made.verdict is None
    assert made.warnings == ()
    assert made.figures == {}


def test_without_limits_there_is_no_verdict_but_figures_of_the_inversion(run, tmp_path) -> None:
    write_calibration(tmp_path / "car", replace(read_calibration(tmp_path / "car"), limit_guess_psnr_db=None,
                                                limit_mask_iou=None))  # fmt: skip
    made = run(image=torch.rand(1, 3, SIZE, SIZE) * 2 - 1)
    assert made.verdict is None
    assert set(made.figures) == {"inversion_psnr_db", "latent_distance"}


def test_bundled_priors_tell_their_own_objects_from_others_and_from_noise(bundled) -> None:
    for name, other in (("car", "head"), ("head", "car")):
        generator = bundled[name]
        limits = generator.prior.calibration.limits

        def levels(images, masks=None, generator=generator, limits=limits):
            found = trust_figures(images, generator, masks)
            rows = [dict(zip(found, row, strict=True)) for row in torch.stack(list(found.values()), 1).tolist()]
            return [judge(row, limits, "car").level for row in rows]

        own, masks = exam(name, 16)
        assert levels(own, masks).count(INSIDE) >= 14
        assert OUTSIDE not in levels(own)
        assert set(levels(exam(other, 16)[0])) == {OUTSIDE}
        assert set(levels(torch.rand(8, 3, 64, 64) * 2 - 1)) == {OUTSIDE}
        assert set(levels(torch.linspace(-0.4, 0.4, 4).view(4, 1, 1, 1).expand(4, 3, 64, 64))) == {OUTSIDE}


def test_figures_of_a_batch_are_those_of_its_images(bundled) -> None:
    images, masks = exam("head", 3)
    images[1] = 0.1 * images[1]
    together = trust_figures(images, bundled["head"], masks)
    for i in range(3):
        alone = trust_figures(images[i : i + 1], bundled["head"], masks[i : i + 1])
        assert list(alone) == list(together)
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][i], rtol=1e-3, atol=1e-4)


def test_figures_are_those_of_the_encoders_picture(bundled) -> None:
    images, masks = exam("car", 2)
    generator = bundled["car"]
    made, seen = generator(generator.prior.guess_latent(images))
    found = trust_figures(images, generator, masks)
    error = (((images - made) ** 2).mean(1, keepdim=True) * (masks > 0.5)).sum((1, 2, 3)) / (masks > 0.5).sum((1, 2, 3))
    torch.testing.assert_close(found["guess_psnr_db"], 10 * torch.log10(4 / error))
    both, either = ((masks > 0.5) & (seen > 0.5)).sum((1, 2, 3)), ((masks > 0.5) | (seen > 0.5)).sum((1, 2, 3))
    torch.testing.assert_close(found["mask_iou"], both / either)
    assert "mask_iou" not in trust_figures(images, generator)
    assert feature_distance(made, made, generator.prior).tolist() == [0.0, 0.0]
    own = trust_figures(made, generator)
    assert bool((own["round_trip"] < found["round_trip"] + 0.5).all())
    moved = replace(generator.prior, w_cov=4 * generator.prior.w_cov)
    half = trust_figures(images, replace(generator, prior=moved))["round_trip"]
    torch.testing.assert_close(half, found["round_trip"] / 2)


def test_a_latents_distance_is_counted_in_its_own_deviations(bundled) -> None:
    prior = bundled["head"].prior
    variances, axes = torch.linalg.eigh(prior.w_cov.double())
    strongest = axes[:, -1].float() * float(variances[-1].sqrt())
    dims = len(prior.w_mean)
    found = latent_distance(torch.stack([prior.w_mean, prior.w_mean + 3 * strongest]), prior)
    torch.testing.assert_close(found, torch.tensor([0.0, 3 / math.sqrt(dims)]), atol=1e-3, rtol=1e-3)
    layered = prior.w_mean.expand(1, 5, -1) + torch.arange(5.0)[None, :, None] * strongest
    mean_square = sum(i**2 for i in range(5)) / 5
    assert latent_distance(layered, prior).item() == pytest.approx(math.sqrt(mean_square / dims), rel=1e-3)


def test_the_worst_figure_decides_and_is_named() -> None:
    assert [excess(value, (20.0, 10.0)) for value in (25.0, 20.0, 15.0, 10.0, 5.0)] == [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert [level_of(excess(value, (1.0, 2.0))) for value in (0.5, 1.0, 1.5, 2.0, 2.1)] == [
        INSIDE, INSIDE, EDGE, EDGE, OUTSIDE,
    ]  # fmt: skip
    known = {"guess_psnr_db": 22.0, "round_trip": 0.5, "mask_iou": 0.95, "feature_distance": 99.0}
    inside = judge(known, LIMITS, "car")
    assert (inside.level, inside.sentence) == (INSIDE, "This image lies inside what the car prior knows.")
    edge = judge({**known, "round_trip": 1.4}, LIMITS, "car")
    assert edge.level == EDGE
    assert "1.40" in edge.sentence
    outside = judge({**known, "round_trip": 1.4, "mask_iou": 0.61}, LIMITS, "car")
    assert outside.level == OUTSIDE
    assert "61%" in outside.sentence
    assert "90%" in outside.sentence
    assert "guess" in outside.sentence
    assert judge(known, {}, "car") is None


@pytest.mark.parametrize("value", [-1.0, 0.3, 1.0, float("nan"), float("inf")])
def test_an_image_in_which_nothing_can_be_seen_is_refused(value: float, run) -> None:
    image = torch.full((1, 3, SIZE, SIZE), value)
    with pytest.raises(UserError, match="flat colour" if abs(value) <= 1 else "not finite"):
        run(image=image)
    require_picture(torch.cat([image[..., :16].nan_to_num(0, 0), torch.full((1, 3, SIZE, 16), 0.5)], -1))
