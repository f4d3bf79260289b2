"""Cars: closed meshes with outward normals, five styles that differ as their names say."""

from dataclasses import replace

import numpy as np
import pytest

from gan2shape.synth import car
from gan2shape.synth.loft import (
    CREASE_DEG,
    box,
    corner_normals,
    signed_volume,
    wheel,
)

STYLES = list(car.STYLES)


def car_of(style: str, seed: int):
    rng = np.random.default_rng(seed)
    while True:
        params = car.sample_params(rng)
        if params.style == style:
            return params


def directed_edges(faces: np.ndarray) -> np.ndarray:
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def face_cross(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
    return np.cross(b - a, c - a)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [0, 1])
def test_mesh_is_closed(style, seed):
    mesh = car.build(car_of(style, seed))
    edges = directed_edges(mesh.faces)
    forward = np.sort(edges[:, 0] * len(mesh.vertices) + edges[:, 1])
    backward = np.sort(edges[:, 1] * len(mesh.vertices) + edges[:, 0])
    # Every directed edge is used as often as its reverse: no border anywhere.
    np.testing.assert_array_equal(forward, backward)


@pytest.mark.parametrize("style", STYLES)
def test_parts_face_outwards(style):
    params = car_of(style, 3)
    parts = [car._body(params), car._greenhouse(params), *car._wheels(params), *car._mirrors(params)]
    assert all(signed_volume(part.points, part.faces) > 0 for part in parts)
    mesh = car.build(params)
    assert signed_volume(mesh.vertices.astype(np.float64), mesh.faces) > 0


@pytest.mark.parametrize("style", STYLES)
def test_shading_normals_stay_within_the_crease_of_their_face(style):
    mesh = car.build(car_of(style, 4))
    np.testing.assert_allclose(np.linalg.norm(mesh.corner_normals, axis=-1), 1, atol=1e-5)
    flat = face_cross(mesh.vertices, mesh.faces)
    area = np.linalg.norm(flat, axis=1)
    seen = area > 1e-12
    cosine = np.einsum("fi,fki->fk", flat[seen] / area[seen, None], mesh.corner_normals[seen])
    assert cosine.min() > np.cos(np.deg2rad(CREASE_DEG)) - 1e-3


@pytest.mark.parametrize("style", STYLES)
def test_object_frame(style):
    params = car_of(style, 5)
    mesh = car.build(params)
    extent = mesh.vertices.max(0) - mesh.vertices.min(0)
    np.testing.assert_allclose(mesh.vertices.max(0), -mesh.vertices.min(0), atol=1e-6)
    assert extent[2] == pytest.approx(params.length * car.UNITS_PER_METRE, rel=0.03)
    assert extent[1] == pytest.approx(params.height * car.UNITS_PER_METRE, rel=0.03)
    # y is down: the wheels' tyres are the lowest points, and the front (-z) carries the headlights.
    headlights = np.all(mesh.face_albedo == car.HEADLIGHT_RGB.astype(np.float32), axis=1)
    assert mesh.vertices[mesh.faces[headlights]][..., 2].max() < 0
    assert mesh.vertices[mesh.faces[np.all(mesh.face_albedo == car.TYRE_RGB.astype(np.float32), 1)]][..., 1].max() > 0
    assert (mesh.face_albedo >= 0).all()
    assert (mesh.face_albedo <= 0.89).all()
    assert mesh.style == style


@pytest.mark.parametrize("style", STYLES)
def test_mirror_symmetric(style):
    mesh = car.build(car_of(style, 6))
    rounded = np.round(mesh.vertices * 1e5).astype(int)
    mirrored = rounded * np.array([-1, 1, 1])
    assert {tuple(v) for v in rounded} == {tuple(v) for v in mirrored}


def test_wheels_stand_inside_their_arches():
    params = car_of("suv", 7)
    body = car._body(params)
    for axle in car._axles(params):
        near = np.abs(body.points[:, 1] - axle) < 0.02
        assert body.points[near, 2].min() > 2 * params.wheel_radius
    outermost = max(np.abs(w.points[:, 0]).max() for w in car._wheels(params))
    assert outermost < np.abs(body.points[:, 0]).max()


def test_pickup_has_an_open_bed():
    params = car_of("pickup", 8)
    body, filled = car._body(params), car._body(replace(params, bed_depth=0.0))
    x, u, h = body.points.T
    middle = (np.abs(x) < 0.3) & (np.abs(u - params.length + 0.75) < 0.5)
    assert h[middle].max() < params.belt_height - 0.2
    assert signed_volume(body.points, body.faces) < signed_volume(filled.points, filled.faces) - 0.3


def test_styles_differ_in_silhouette():
    height = {style: params.height for style, params in car.STYLES.items()}
    length = {style: params.length for style, params in car.STYLES.items()}
    assert height["van"] > height["suv"] > height["hatchback"] > height["sedan"]
    assert length["pickup"] > length["sedan"] > length["hatchback"]


def test_sampling_gives_every_style_and_paint():
    rng = np.random.default_rng(0)
    cars = [car.sample_params(rng) for _ in range(300)]
    assert {p.style for p in cars} == set(STYLES)
    paint = np.array([p.paint_rgb for p in cars])
    nearest = np.abs(paint[:, None] - car.PAINTS_RGB).sum(-1).argmin(1)
    assert set(nearest) == set(range(len(car.PAINTS_RGB)))


def test_corner_normals_of_a_box_are_flat_and_of_a_wheel_round():
    cube = box((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0), np.zeros(3))
    normals = corner_normals(cube.points, cube.faces)
    flat = face_cross(cube.points, cube.faces)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, np.repeat(flat[:, None], 3, 1), atol=1e-12)
    assert signed_volume(cube.points, cube.faces) == pytest.approx(8)

    tyre = wheel((1.0, 0.0, 0.0), 0.5, 0.2, 0.6, np.zeros(3), np.ones(3), n_segments=64)
    normals = corner_normals(tyre.points, tyre.faces)
    corners = tyre.points[tyre.faces]
    tread = np.isclose(np.hypot(corners[..., 1], corners[..., 2]), 0.5, atol=1e-6)
    outward = corners * np.array([0, 1, 1]) / 0.5
    whole = tread.all(1)  # triangles of the tread: their normals point away from the axle
    assert np.einsum("fki,fki->fk", normals, outward)[whole].min() > 0.9
