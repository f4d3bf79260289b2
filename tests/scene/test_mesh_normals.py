"""Vertex normals against closed forms."""

import numpy as np

from gan2shape.scene.mesh_normals import summed_normals


def test_triangles_count_by_their_area_and_loose_vertices_have_none() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [9, 9, 9]], dtype=np.float64)
    found = summed_normals(points, np.array([[0, 1, 2], [0, 2, 3]]))
    assert found.tolist() == [[6, 0, 2], [0, 0, 2], [6, 0, 2], [6, 0, 0], [0, 0, 0]]
