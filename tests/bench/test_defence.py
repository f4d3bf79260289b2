"""Attacks stay within their bound and do harm; a projection onto the generator's images undoes some of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan2shape.bench import defence
from gan2shape.bench.attacks import EPSILON, fgsm, pgd
from gan2shape.bench.defence import judged, labels_of, purified, run_defence
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.requests import BenchRequest
from gan2shape.core.errors import UserError
from gan2shape.measure.attributes import AttributeConfig, AttributeNetwork, bundled_attributes
from gan2shape.prior.packs import Prior, load_pack
from gan2shape.restoration.methods import load_method
from tests.tiny_pack import write_tiny_pack

SIZE = 16


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Prior:
    return load_pack(write_tiny_pack(tmp_path_factory.mktemp("pack"), "car", SIZE, bare=True))


@pytest.fixture(scope="module")
def network() -> AttributeNetwork:
    torch.manual_seed(1)
    config = AttributeConfig(styles=("a", "b", "c"), resolution=SIZE, widths=(8, 8), n_embedding=8)
    return AttributeNetwork(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def classifier(network: AttributeNetwork):
    return lambda images: network(images)[2]


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    return (torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.6).clamp(-1, 1)


def true_likelihood(classifier, images: Tensor, labels: Tensor) -> Tensor:
    return classifier(images).log_softmax(1)[torch.arange(len(labels)), labels]


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_an_attack_stays_within_epsilon_and_makes_the_right_class_less_likely(attack, classifier, pictures) -> None:
    labels = classifier(pictures).argmax(1)
    attacked = attack(classifier, pictures, labels)
    assert (attacked - pictures).abs().max() <= EPSILON + 1e-6
    assert (attacked - pictures).abs().mean() > 0.5 * EPSILON  # it uses what it may
    assert attacked.abs().max() <= 1
    assert (true_likelihood(classifier, attacked, labels) < true_likelihood(classifier, pictures, labels)).all()
    assert not attacked.requires_grad


def test_on_a_linear_classifier_both_attacks_are_the_corner_of_the_cube() -> None:
    """The loss of two classes is monotonic in w.x, whose least value within epsilon is at x - epsilon sign(w)."""
    weight = torch.randn(3 * 4 * 4, generator=torch.Generator().manual_seed(2))
    linear = lambda x: torch.stack([x.flatten(1) @ weight, -(x.flatten(1) @ weight)], 1)  # noqa: E731
    images, labels = torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])
    corner = -EPSILON * weight.sign().view(1, 3, 4, 4) * torch.tensor([1.0, -1.0])[:, None, None, None]
    for attack in (fgsm, pgd):
        torch.testing.assert_close(attack(linear, images, labels), corner)


def test_pgd_does_more_harm_than_one_step_and_treats_a_batch_as_its_images(classifier, pictures) -> None:
    labels = classifier(pictures).argmax(1)
    one, many = (true_likelihood(classifier, attack(classifier, pictures, labels), labels) for attack in (fgsm, pgd))
    assert many.mean() < one.mean()
    alone = pgd(classifier, pictures[2:3], labels[2:3])
    torch.testing.assert_close(alone, pgd(classifier, pictures, labels)[2:3])


class Checkers(nn.Module):
    """Reads whether a picture's checkerboard component is above or below a level: G has nearly none."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, images: Tensor) -> Tensor:
        sign = torch.ones(SIZE, SIZE)
        sign[::2, ::2] = sign[1::2, 1::2] = -1
        found = (images * sign).mean((1, 2, 3)) - self.level
        return torch.stack([-found, found], 1) * 100


def test_a_projection_keeps_the_class_of_clean_samples_and_removes_what_no_sample_has(prior: Prior) -> None:
    method = load_method("w", "reconstruct")
    method = replace(method, start=replace(method.start, kind="mean"), steps_factor=0.3)
    w = prior.w_mean + 0.5 * prior.w_std * torch.randn(4, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        clean = prior.generator.synthesis(w)
    classifier = Checkers(level=0.02)
    labels = classifier(clean).argmax(1)
    assert (labels == 0).all()
    attacked = pgd(classifier, clean, labels)
    assert (classifier(attacked).argmax(1) == 1).all()
    for images in (clean, attacked):
        assert all(one["right"] == 1 for one in judged(images, clean, labels, method, prior, classifier))
    assert torch.equal(purified(attacked, None, prior), attacked)
    assert all(one["right"] == 0 for one in judged(attacked, clean, labels, None, prior, classifier))


def test_rows_count_and_a_second_call_measures_nothing(
    prior: Prior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = BenchRequest("car", count=2, device="cpu")
    rows = run_defence(request, "val", ("none", "bicubic"), ("clean", "fgsm"), tmp_path)
    assert [row["defence"] for row in rows] == ["none", "bicubic"]
    assert rows[0]["clean"] == 1  # the bundled classifier makes no mistake here
    assert rows[0]["fgsm"] == rows[1]["fgsm"] < 1  # the bicubic "restoration" of a whole picture changes nothing
    assert rows[0]["clean_low"] < 1 == rows[0]["clean_high"]
    lines = [json.loads(line) for line in (tmp_path / "images.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 2
    monkeypatch.setattr(defence, "judged", lambda *_: pytest.fail("measured again"))
    assert run_defence(request, "val", ("none", "bicubic"), ("clean", "fgsm"), tmp_path) == rows


def test_labels_are_the_exam_s_styles() -> None:
    items, styles = exam_objects("car", "val", 8), bundled_attributes("car").config.styles
    labels = labels_of(items, styles)
    assert [styles[i] for i in labels] == [item.labels["style"] for item in items]
    assert len(np.unique(labels)) > 1
    with pytest.raises(UserError, match="reads no styles"):
        labels_of(items, ())


@pytest.mark.parametrize(("rows", "inputs", "sentence"), [
    (("dpg:0.7",), (), "unknown method"),
    (("dgp:much",), (), "METHOD:STOP"),
    (("none",), ("cw",), "unknown input"),
])  # fmt: skip
def test_bad_rows_are_one_sentence(rows, inputs, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        run_defence(BenchRequest("car", count=1, device="cpu"), "val", rows, inputs, tmp_path)
