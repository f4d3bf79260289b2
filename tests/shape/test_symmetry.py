"""The plane that a symmetric back is reflected about: where it is known, read, given, or neither."""

import math
from dataclasses import replace

import pytest
import torch

import gan2shape
from gan2shape.bench.exam import exam_objects


@pytest.fixture(scope="module")
def cars():
    """Three exam cars with true headings of all kinds, reconstructed in one pass."""
    items = exam_objects("car", "val", 3)
    prior = gan2shape.Prior.open("car", device="cpu")
    settings = ("mesh.back=symmetric",)
    return items, gan2shape.reconstruct_batch(torch.cat([item.image for item in items]), prior, overrides=settings)


def test_the_heading_that_the_attribute_network_reads_turns_the_plane(cars) -> None:
    items, made = cars
    true = [math.degrees(float(item.view[0, 1])) for item in items]
    assert max(true) - min(true) > 20
    for one, yaw_deg in zip(made, true, strict=True):
        assert math.degrees(float(one.bundle().object_view[0, 1])) == pytest.approx(yaw_deg, abs=20)


def test_a_given_yaw_counts_and_other_backs_ask_nothing(cars) -> None:
    one = cars[1][0]
    given = replace(one, config=replace(one.config, mesh=replace(one.config.mesh, symmetry_yaw_deg=35.0)))
    assert given.bundle().object_view[0].tolist() == pytest.approx([0, math.radians(35), 0, 0, 0, 0])
    plain = replace(one, config=replace(one.config, mesh=replace(one.config.mesh, back="mirror")))
    assert not plain.bundle().object_view.any()
    read = one.bundle().object_view
    blind = replace(one, generator=replace(one.generator, prior=replace(one.generator.prior, attributes=None)))
    assert blind.bundle().object_view[0, 0] == read[0, 0]
    assert blind.bundle().object_view[0, 1] != read[0, 1]  # the view network's own reading
