"""Connected pieces of a triangle mesh."""

import numpy as np
from jaxtyping import Int


def piece_of_faces(faces: Int[np.ndarray, "F 3"], n_vertices: int) -> Int[np.ndarray, " F"]:
    """The piece that each triangle belongs to, named by the smallest index of its vertices.

    Labels spread over the faces and along chains of labels, so that the rounds grow with the logarithm of the size.
    """
    label, corners = np.arange(n_vertices), np.ascontiguousarray(faces.T)
    while True:
        before = label.copy()
        lowest = np.minimum.reduce(label[corners])
        for corner in corners:
            np.minimum.at(label, corner, lowest)
        label = label[label]
        if np.array_equal(before, label):
            return label[faces[:, 0]]
