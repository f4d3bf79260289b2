"""Pairs of pictures: the wanted one is the object of the given one, from the standard view or within its mask."""

from pathlib import Path

import numpy as np
import pytest

from gan2shape.core.errors import UserError
from gan2shape.core.images import to_uint8
from gan2shape.synth.dataset import EXAM_FIRST_SEED, render_set
from gan2shape.synth.pairs import PAIRS, given_beside, prerender_pairs, render_pairs
from gan2shape.synth.registry import CATEGORIES

SIZE, SEEDS = 32, [3, 4, 5]


def test_a_silhouette_is_the_object_s_mask() -> None:
    given, wanted = render_pairs("car", SEEDS, SIZE, "silhouette")
    truth = render_set("car", SEEDS, SIZE).truth
    assert np.array_equal(wanted, to_uint8(truth.image))
    covered = truth.mask[:, 0].numpy()
    assert np.array_equal(given[covered == 1], np.full_like(given[covered == 1], 255))
    assert not given[covered == 0].any()


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_the_wanted_picture_shows_the_object_from_the_standard_view(category: str) -> None:
    given, wanted = render_pairs(category, SEEDS, SIZE, "frontal")
    assert np.array_equal(given, to_uint8(render_set(category, SEEDS, SIZE).truth.image))
    background = (given[:, 0, 0].astype(int) - wanted[:, 0, 0]).max()
    assert background == 0  # the same room
    again = render_pairs(category, SEEDS[1:], SIZE, "frontal")[1]
    assert np.array_equal(again, wanted[1:])  # whatever batch it is in


def test_all_objects_are_turned_to_one_heading() -> None:
    def shares_of_half(pictures: np.ndarray) -> np.ndarray:
        dark = np.abs(pictures.astype(float) - pictures[:, :1, :1]).sum(-1) > 30
        return dark[:, :, : SIZE // 2].sum((1, 2)) / dark.sum((1, 2))

    seeds = list(range(12))
    given, wanted = render_pairs("head", seeds, SIZE, "frontal")
    # A head from straight ahead is as wide on either side, under any other heading it is not.
    assert np.abs(shares_of_half(wanted) - 0.5).max() < np.abs(shares_of_half(given) - 0.5).max()


def test_shards_are_kept_and_stamped(tmp_path: Path) -> None:
    prerender_pairs("car", 5, 0, tmp_path, 3, 16, "frontal")
    shards = sorted(tmp_path.glob("images_*.npy"))
    assert [len(np.load(path)) for path in shards] == [len(np.load(given_beside(path))) for path in shards] == [3, 2]
    given, wanted = render_pairs("car", [3, 4], 16, "frontal")
    assert np.array_equal(np.load(shards[1]), wanted)
    assert np.array_equal(np.load(given_beside(shards[1])), given)
    shards[1].unlink()  # stopped between the two files
    stamp = shards[0].stat().st_mtime_ns
    prerender_pairs("car", 5, 0, tmp_path, 3, 16, "frontal")
    assert shards[1].is_file()
    assert shards[0].stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="other images"):
        prerender_pairs("car", 5, 0, tmp_path, 3, 16, "silhouette")


def test_unknown_kinds_and_exam_seeds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=", ".join(PAIRS)):
        render_pairs("car", [0], 16, "sideways")
    with pytest.raises(UserError, match="kept for exams"):
        prerender_pairs("car", 2, EXAM_FIRST_SEED - 1, tmp_path, 2, 16, "frontal")
