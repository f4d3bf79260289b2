"""Networks of one pass that come with the car pack: whose they are, how large, and that each does what it is for."""

import pytest
import torch

from gan2shape.bench.exam import exam_objects
from gan2shape.build.attribute_images import pairs_on_disk
from gan2shape.build.attributes import HELD_OUT_FIRST_SEED
from gan2shape.build.text_pair import measure_text_pair
from gan2shape.core.network_files import read_network_card
from gan2shape.core.resources import pack_dir
from gan2shape.edit.text import TEXT_NAME, open_text_pair
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.encoders import open_encoder
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.open import open_prior
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import parse_damage
from gan2shape.synth.registry import get_category

SHIPPED = ("encoder-psp.safetensors", "encoder-e4e.safetensors", "restorer-glean.safetensors",
           "restorer-gpen.safetensors", TEXT_NAME)  # fmt: skip
MOST_BYTES = 16_000_000  # of all together


@pytest.fixture(scope="module")
def prior():
    return open_prior("car", device="cpu")[0].prior


@pytest.fixture(scope="module")
def cars() -> torch.Tensor:
    return torch.cat([one.image for one in exam_objects("car", "val", 8)])


def decibels(made: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(psnr_db(made, wanted, torch.ones_like(wanted[:, :1]) > 0).mean())


def test_they_belong_to_the_pack_s_generator_and_are_small(prior) -> None:
    files = [pack_dir("car") / name for name in SHIPPED]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for path in files:
        card = read_network_card(path)
        assert card["plan"]["n_steps"] > 0
        assert card["seconds"] > 0
        if path.name != TEXT_NAME:
            assert card["generator"] == generator_hash(prior.generator)


@pytest.mark.parametrize("name", ["psp", "e4e"])
@torch.no_grad()
def test_encoders_reproduce_cars_better_than_the_pack_s_own(name: str, prior, cars) -> None:
    synthesis = prior.generator.synthesis
    rows = open_encoder(f"encoder:{name}", prior).encode(cars, synthesis)
    assert rows.std(1).max() > 0.01
    assert decibels(synthesis(rows), cars) > decibels(synthesis(prior.guess_latent(cars)), cars) + 0.3


@pytest.mark.parametrize(("task", "method"), [("superres:4", "glean"), ("blind:2", "gpen")])
def test_restorers_beat_enlargement_by_far(task: str, method: str, prior, cars) -> None:
    made, plain = (restore_images(cars, parse_damage(task), one, prior, degrade=True) for one in (method, "bicubic"))
    assert decibels(made.image, cars) > decibels(plain.image, cars) + 2.0


def test_a_damage_of_many_parts_is_undone_in_one_pass_unless_a_method_is_named(prior, cars) -> None:
    made = restore_images(cars[:1], parse_damage("blind"), None, prior, degrade=True)
    assert made.method.title.startswith("GPEN")


def test_the_pair_finds_sentences_that_it_never_saw(prior, tmp_path) -> None:
    unseen = pairs_on_disk("car", HELD_OUT_FIRST_SEED, 60, 64, tmp_path)
    found = measure_text_pair(open_text_pair(None, prior), get_category("car"), unseen)
    assert found["n"] >= 8
    assert found["accuracy"] > 0.9 > 3 * found["chance"]
