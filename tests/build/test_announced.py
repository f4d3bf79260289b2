"""What is said before pictures are rendered for a training: how long they take, and the training."""

from pathlib import Path

import pytest

from gan2shape import api_feedforward, api_icgan
from gan2shape.api_feedforward import FeedForwardRequest, train_alae, train_encoder, train_restorer, train_text
from gan2shape.build import alae, attribute_images, classics, encoders, icgan, restorers
from gan2shape.build.attribute_images import n_missing_pairs, pairs_on_disk
from gan2shape.build.text_pair import TextPlan
from gan2shape.core.errors import UserError
from gan2shape.core.progress import format_seconds
from gan2shape.synth.pairs import FRONTAL
from gan2shape.train.image_source import image_source, n_unrendered, pair_source
from gan2shape.train.session import RENDER_SECONDS
from tests.edit.test_icgan import conditional
from tests.tiny_pack import write_tiny_pack

SIZE = 16


class RenderingError(Exception):
    """Raised where pictures would be rendered."""


def stop(*_: object, **__: object) -> None:
    raise RenderingError


def heard(*_: object, **__: object) -> None:
    """A reporter."""


@pytest.fixture
def _rendering_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_pack(tmp_path, "car", SIZE)
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(api_icgan, "load_pack", lambda path, device: conditional(3))
    for module, name in (
        (api_feedforward, "image_source"),
        (api_feedforward, "pair_source"),
        (api_icgan, "image_source"),
        (attribute_images, "pairs_on_disk"),
    ):
        monkeypatch.setattr(module, name, stop)


TRAININGS = {
    "psp": (train_encoder, 8000, encoders.KINDS["psp"].seconds(SIZE), ()),
    "idinvert": (train_encoder, 1000, encoders.KINDS["idinvert"].seconds(SIZE), ("n_images=1000",)),
    "psp pairs": (train_encoder, 8000, encoders.KINDS["psp"].seconds(SIZE), (f"task={FRONTAL}",)),
    "alae": (train_alae, 8000, alae.KINDS["alae"].seconds(SIZE), ()),
    "gpen": (train_restorer, 8000, restorers.KINDS["gpen"].seconds(SIZE), ()),
    "srgan": (train_restorer, 4000, classics.KINDS["srgan"].seconds("srgan", SIZE), ()),
    "text": (train_text, 2 * 4500, TextPlan().seconds(), ()),
    "icgan": (api_icgan.train_icgan, 4000, icgan.KINDS["icgan"].seconds(SIZE), ()),
}


@pytest.mark.usefixtures("_rendering_stops")
@pytest.mark.parametrize("name", TRAININGS)
def test_both_times_are_said_before_the_first_picture(name: str, tmp_path: Path, capsys) -> None:
    train, n_pictures, seconds, settings = TRAININGS[name]
    kind = name.split()[0]
    with pytest.raises(RenderingError):
        train(FeedForwardRequest(kind, tmp_path / "runs" / kind, "car", overrides=settings), heard)
    rendering = format_seconds(n_pictures * RENDER_SECONDS * SIZE / 64)
    assert capsys.readouterr().err.splitlines() == [
        f"{kind}: {n_pictures} pictures are rendered first, about {rendering} of one core.",
        f"{kind}: the training after them takes about {format_seconds(seconds)} of one core.",
    ]


def test_the_session_says_the_same_time_and_is_alone_where_pictures_are(tmp_path, monkeypatch, capsys) -> None:
    write_tiny_pack(tmp_path, "car", SIZE)
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    few = ("n_images=4", "batch=2", "n_steps=2")
    lines = []
    for folder in ("one", "two"):
        request = FeedForwardRequest("unet", tmp_path / "runs" / folder, "car", overrides=few)
        train_restorer(request, heard)
        lines.append(capsys.readouterr().err.splitlines())
    first, second = lines
    assert [len(first), len(second)] == [3, 1]
    assert first[2] == second[0]
    assert first[1].split("about ")[1].split(" of one")[0] == second[0].split("about ")[1].split(" of one")[0]


def test_pictures_are_counted_as_they_are_rendered(tmp_path: Path) -> None:
    beside, where = tmp_path / "net", ("car", 5, SIZE)
    assert n_unrendered(*where, beside) == 5
    image_source(*where, beside)
    assert n_unrendered(*where, beside) == 0
    assert n_unrendered(*where, beside, ending="-classes") == 5
    image_source(*where, beside, labelled=True)
    assert n_unrendered(*where, beside, ending="-classes") == 0
    assert n_unrendered(*where, beside, kind=FRONTAL) == 5
    pair_source("car", FRONTAL, 5, SIZE, beside)
    assert n_unrendered(*where, beside, kind=FRONTAL) == 0
    assert n_unrendered(*where, tmp_path / "far" / "net", tmp_path) == 0
    assert n_missing_pairs(0, 3, SIZE, tmp_path) == 3
    pairs_on_disk("car", 0, 3, SIZE, tmp_path)
    assert [n_missing_pairs(0, n, SIZE, tmp_path) for n in (3, 4)] == [0, 4]


@pytest.mark.usefixtures("_rendering_stops")
def test_sentences_about_heads_are_refused_before_that(tmp_path: Path, capsys) -> None:
    write_tiny_pack(tmp_path, "head", SIZE)
    with pytest.raises(UserError, match="too few to learn"):
        train_text(FeedForwardRequest("text", tmp_path / "runs" / "text", "head"), heard)
    assert not capsys.readouterr().err
