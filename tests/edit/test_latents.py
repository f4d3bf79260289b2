"""Edits of latents: offsets that add up, layers, directions of a generator whose weights say what they are."""

import json
from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.edit.directions import Direction, find_directions, named, style_weights
from gan2shape.edit.latents import added, as_rows, on_layers, towards, with_offset
from gan2shape.edit.sliders import offset_of, read_sliders, to_page
from gan2shape.prior.masked_generator import MaskedGenerator
from tests.shape.tiny import tiny_generator

L, D = 5, 8
ALL = tuple(range(L))


def test_towards_is_interpolation_and_style_mixing() -> None:
    own, other = torch.randn(1, D), torch.randn(1, D)
    assert torch.allclose(own + towards(own, other, 0.25, ALL, L), 0.75 * own + 0.25 * other)
    assert towards(own, other, 1.0, ALL, L).shape == (1, D)  # stays w
    mixed = with_offset(own, towards(own, other, 1.0, (1, 3), L))
    for row in range(L):
        assert torch.allclose(mixed[:, row], other if row in (1, 3) else own, atol=1e-6)
    wide = torch.randn(1, L, D)
    assert torch.allclose(as_rows(own, L) + towards(own, wide, 1.0, ALL, L), wide, atol=1e-6)


def test_offsets_add_up_whatever_their_kind() -> None:
    w, rows = torch.randn(1, D), torch.randn(1, L, D)
    assert added(None, w) is w
    assert torch.allclose(added(w, rows), rows + w[:, None])
    assert torch.allclose(added(rows, w), rows + w[:, None])
    latents = torch.randn(3, D)
    assert with_offset(latents, None) is latents
    assert with_offset(latents, rows).shape == (3, L, D)
    assert torch.equal(on_layers(w, ALL, L), w)


def only_component(generator: MaskedGenerator, component: int) -> MaskedGenerator:
    """The generator with styles that depend on one component of w alone, and only in its to-RGB layers, whose colours
    are grey and grow with it.
    """
    for name, parameter in generator.prior.generator.synthesis.named_parameters():
        if "affine.weight" in name:
            parameter.data.zero_()
            if "torgb" in name:
                parameter.data[:, component] = 0.3
        elif "torgb.weight" in name:
            parameter.data.fill_(0.05)
    return generator


def test_the_first_directions_move_styles_most() -> None:
    generator = tiny_generator()
    n_layers = generator.prior.generator.n_layers
    found = find_directions(generator, range(n_layers), 8)
    vectors = torch.stack([one.vector for one in found])
    assert torch.allclose(vectors @ vectors.t(), torch.eye(8), atol=1e-5)
    weights = style_weights(generator.prior.generator, range(n_layers))
    strength = (weights @ vectors.t()).norm(dim=0)
    assert bool((strength[:-1] >= strength[1:] - 1e-5).all())
    others = torch.nn.functional.normalize(torch.randn(200, 8), dim=1)
    assert float((weights @ others.t()).norm(dim=0).max()) <= float(strength[0]) + 1e-5
    assert bool((vectors.gather(1, vectors.abs().argmax(1, keepdim=True)) > 0).all())


def test_each_row_has_its_own_weights() -> None:
    network = tiny_generator().prior.generator
    rows = [style_weights(network, (row,)) for row in range(network.n_layers)]
    assert sum(map(len, rows)) == len(style_weights(network, range(network.n_layers)))
    network.synthesis.b8.conv1.affine.weight.data.zero_()
    assert bool((style_weights(network, (2,))[:8] == 0).all())  # b4: row 0; b8: rows 1 and 2


def test_a_direction_is_named_after_what_it_changes() -> None:
    generator = only_component(tiny_generator(), 3)
    n_layers = generator.prior.generator.n_layers
    (first,) = find_directions(generator, range(n_layers), 1)
    assert first.vector.abs().argmax() == 3
    assert first.vector[3] == pytest.approx(1.0, abs=1e-5)
    assert first.sd == pytest.approx(float(generator.prior.w_std[3]), rel=1e-4)
    found = named(first, generator, None, n_layers)
    assert found.name == "brightness"
    assert found.changes["brightness"] > 0
    backwards = named(replace(first, vector=-first.vector), generator, None, n_layers)
    assert torch.allclose(backwards.vector, found.vector)  # more of a slider is more of what it is named after
    silent = torch.zeros(8)
    silent[0] = 1.0
    assert named(replace(first, vector=silent), generator, None, n_layers).name == ""


def test_sliders_are_a_file_that_people_set(tmp_path) -> None:
    direction = Direction(torch.eye(D)[2], 0.5, (0, 1), "yaw", {"yaw_deg": 3.0})
    plain = Direction(torch.eye(D)[4], 2.0, ALL)
    path = tmp_path / "sliders.json"
    page = to_page([direction, plain], "car", "abc")
    page["sliders"][0]["value"] = 2.0
    path.write_text(json.dumps(page))
    chosen = read_sliders(path, "abc")
    assert [(name, value) for name, value, _ in chosen] == [("0 yaw", 2.0)]
    offset = offset_of(chosen, L, "cpu")
    assert offset.shape == (1, L, D)
    assert offset[0, :, 2].tolist() == [1.0, 1.0, 0, 0, 0]  # 2 sd of .5, in its layers
    chosen = read_sliders(path, "abc", ("0=0", "1=-1.5"))
    assert torch.allclose(offset_of(chosen, L, "cpu"), -3.0 * torch.eye(D)[4:5])
    assert offset_of([], L, "cpu") is None
    for weights, settings, message in (
        ("other", (), "another generator"),
        ("abc", ("7=1",), "no slider '7'"),
        ("abc", ("0=9",), "goes from -4 to 4"),
        ("abc", ("0",), "sets no slider"),
    ):
        with pytest.raises(UserError, match=message):
            read_sliders(path, weights, settings)
    path.write_text('{"format": "gan2shape-sliders-1"}')
    with pytest.raises(UserError, match="holds no sliders"):
        read_sliders(path, "abc")
