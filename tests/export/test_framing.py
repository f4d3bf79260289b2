"""Photos framed as a prior's own images: size, place and surroundings of the object."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gan2shape.bench.exam import COUNT, exam_objects
from gan2shape.build.frame import frame_of
from gan2shape.core.images import resized
from gan2shape.core.records import UsualFrame
from gan2shape.core.resources import pack_dir
from gan2shape.export.framing import box_of, framed, is_framed, is_on_background, usual_framing
from gan2shape.export.inputs import Framing, Picture
from gan2shape.measure.metrics import iou
from gan2shape.prior.calibration import read_calibration

FRAME = UsualFrame((0.4, 0.6, 0.9), (0.5, 0.55), 0.05, (0.8, 0.8, 0.8), 0.1)


def rectangle(left: int, top: int, width: int, height: int, size: tuple[int, int] = (80, 120)) -> torch.Tensor:
    mask = torch.zeros(1, 1, *size)
    mask[..., top : top + height, left : left + width] = 1
    return mask


def picture(colour: torch.Tensor, cover: torch.Tensor) -> Picture:
    return Picture(colour, cover, 1, (colour.shape[-1], colour.shape[-2]), Path("a.png"))


def pasted(image: torch.Tensor, mask: torch.Tensor, scale: int, left: int, top: int) -> Picture:
    """An exam image grown by a whole factor, its object alone on coloured noise of 300 x 400 pixels."""
    size = scale * image.shape[-1]
    large, cover = resized(image / 2 + 0.5, size, "bicubic").clamp(0, 1), resized(mask, size, "bicubic").clamp(0, 1)
    photo = torch.rand(1, 3, 300, 400, generator=torch.Generator().manual_seed(0))
    whole = torch.zeros(1, 1, 300, 400)
    rows, columns = slice(top, top + size), slice(left, left + size)
    photo[..., rows, columns] = cover * large + (1 - cover) * photo[..., rows, columns]
    whole[..., rows, columns] = cover
    return picture(photo, whole)


def test_the_box_of_a_mask() -> None:
    assert box_of(rectangle(10, 20, 30, 12)) == (25.0, 26.0, 30.0)
    assert box_of(torch.zeros(1, 1, 8, 8)) is None


@pytest.mark.parametrize("place", [(3, 5, 20, 10), (90, 60, 25, 18), (0, 0, 7, 16), (40, 30, 60, 33)])
def test_the_usual_square_gives_the_object_its_usual_size_and_place(place) -> None:
    mask = rectangle(*place)
    x, y, side = box_of(mask)
    square = usual_framing(mask, FRAME)
    assert side / square.size == pytest.approx(0.6, abs=0.6 / square.size)
    assert (x - square.left) / square.size == pytest.approx(0.5, abs=1 / square.size)
    assert (y - square.top) / square.size == pytest.approx(0.55, abs=1 / square.size)
    assert is_framed(mask, square, replace(FRAME, size=(0.5, 0.6, 0.7), shift=2 / square.size))


def test_too_small_too_large_and_shifted_objects_are_not_framed() -> None:
    whole = Framing(0.0, 0.0, 80.0)
    assert is_framed(rectangle(16, 20, 48, 48, (80, 80)), whole, FRAME)
    assert not is_framed(rectangle(30, 34, 20, 20, (80, 80)), whole, FRAME)
    assert not is_framed(rectangle(1, 1, 78, 78, (80, 80)), whole, FRAME)
    assert not is_framed(rectangle(28, 20, 48, 48, (80, 80)), whole, FRAME)


@pytest.mark.parametrize("category", ["car", "head"])
def test_exam_images_stay_as_they_are_bit_for_bit(category: str) -> None:
    frame = read_calibration(pack_dir(category)).frame
    for index, item in enumerate(exam_objects(category, "test", COUNT["test"])):
        found = framed(picture((item.image + 1) / 2, item.mask), frame, 64)
        assert torch.equal(found.image, ((item.image + 1) / 2).clamp(0, 1) * 2 - 1), index
        assert torch.equal(found.mask, item.mask)


@pytest.mark.parametrize(("category", "index"), [("car", 0), ("car", 7), ("head", 3)])
def test_a_small_object_in_a_large_photo_is_seen_as_in_its_own_image(category: str, index: int) -> None:
    """Pasted in a corner, three times as large, before noise; the usual size is taken to be its own."""
    item = exam_objects(category, "val", index + 1)[index]
    x, y, side = box_of(item.mask)
    frame = read_calibration(pack_dir(category)).frame
    own = replace(frame, size=(frame.size[0], side / 64, frame.size[2]), centre=(x / 64, y / 64))
    found = framed(pasted(item.image, item.mask, 3, 190, 90), own, 64)
    assert (found.framing.left, found.framing.top) == (pytest.approx(190, abs=4), pytest.approx(90, abs=4))
    assert iou(found.mask > 0.5, item.mask > 0.5).item() > 0.95
    difference = (found.image - item.image).abs().mean(1, keepdim=True)
    assert difference[item.mask > 0.99].mean().item() < 0.1  # blur, and a shift of half a pixel
    assert difference[item.mask == 0].mean().item() < 0.02  # the noise is gone
    assert is_on_background(found.image, found.mask, frame)


def test_surroundings_of_another_colour_are_replaced_and_the_object_is_not() -> None:
    mask = rectangle(16, 20, 48, 48, (80, 80))
    white = picture(torch.ones(1, 3, 80, 80), mask)
    found = framed(white, FRAME, 80)
    assert torch.equal(found.image[0, :, 40, 40], torch.ones(3))
    torch.testing.assert_close(found.image[0, :, 2, 2], torch.full((3,), 0.8))
    near = picture(torch.full((1, 3, 80, 80), 0.92), mask)
    assert torch.equal(framed(near, FRAME, 80).image, torch.full((1, 3, 80, 80), 0.92) * 2 - 1)


def test_a_mask_of_all_pixels_leaves_the_picture_as_it_is() -> None:
    colour = torch.rand(1, 3, 64, 64)
    assert torch.equal(framed(picture(colour, torch.ones(1, 1, 64, 64)), FRAME, 64).image, colour * 2 - 1)


def test_the_frame_is_that_of_the_images_it_was_measured_on() -> None:
    masks = torch.cat([rectangle(8, 8, 16, 16, (32, 32)), rectangle(6, 10, 20, 10, (32, 32))])
    images = torch.where(masks > 0, torch.rand(2, 3, 32, 32), torch.full((2, 3, 32, 32), 0.5))
    frame = frame_of(images, masks)
    assert frame.size[0] == pytest.approx(0.5 * 0.9)
    assert frame.size[2] == pytest.approx(20 / 32 * 1.1)
    assert frame.background == (0.5, 0.5, 0.5)
    assert frame.background_spread == pytest.approx(0.05)
    assert frame_of(images, torch.ones(2, 1, 32, 32)) is None
    for image, mask in zip(images, masks, strict=True):
        assert is_framed(mask[None], Framing(0.0, 0.0, 32.0), frame)
        assert is_on_background(image[None], mask[None], frame)
