"""Binary glTF 2.0 with one textured, double-sided mesh and the camera that took the picture (Khronos: glTF 2.0
specification, section 4). Written by hand: libraries that write GLB take longer to import than a small run takes.
"""

import json
import math
import struct

import numpy as np
from jaxtyping import Float, Int, UInt8

from gan2shape.export.pictures import png_bytes
from gan2shape.scene.camera import CENTRE_Z

UNLIT = "KHR_materials_unlit"
MAGIC, VERSION = b"glTF", 2
JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
FLOAT, UINT32 = 5126, 5125  # component types
VERTICES, ELEMENTS = 34962, 34963  # targets of buffer views


def textured_glb(
    vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    normals: Float[np.ndarray, "V 3"],
    uv: Float[np.ndarray, "V 2"],
    texture: UInt8[np.ndarray, "H W 3"],
    name: str,
    *,
    unlit: bool,
    fov_deg: float,
) -> bytes:
    """The file. `uv` has its origin at the lower left; glTF's is at the upper left. `name`: of the material."""
    blobs = (  # data, component type, element type, target; the first one is the indices
        (faces.astype("<u4").reshape(-1), UINT32, "SCALAR", ELEMENTS),
        (vertices.astype("<f4"), FLOAT, "VEC3", VERTICES),
        (normals.astype("<f4"), FLOAT, "VEC3", VERTICES),
        (np.stack([uv[:, 0], 1 - uv[:, 1]], 1).astype("<f4"), FLOAT, "VEC2", VERTICES),
    )
    binary, views, accessors = b"", [], []
    for data, component, kind, target in blobs:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": data.nbytes, "target": target})
        rows = data.reshape(len(data), -1)
        bounds = {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        accessors.append({"bufferView": len(views) - 1, "componentType": component, "count": len(data), "type": kind})
        accessors[-1] |= bounds
        binary += data.tobytes()
    picture = png_bytes(texture)
    views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(picture)})
    binary = _padded(binary + picture, b"\0")
    material = {
        "name": name,
        "doubleSided": True,
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0},
        **({"extensions": {UNLIT: {}}} if unlit else {}),
    }
    # glTF cameras look along -Z, and ours stands at (0, 0, 1) of the glTF frame.
    perspective = {"aspectRatio": 1.0, "yfov": math.radians(fov_deg), "znear": 0.1}
    tree = {
        "asset": {"version": "2.0", "generator": "gan2shape"},
        **({"extensionsUsed": [UNLIT]} if unlit else {}),
        "scene": 0,
        "scenes": [{"nodes": [0, 1]}],
        "nodes": [
            {"name": "object", "mesh": 0},
            {"name": "photo camera", "camera": 0, "translation": [0.0, 0.0, CENTRE_Z]},
        ],
        "meshes": [
            {
                "name": "object",
                "primitives": [
                    {"indices": 0, "attributes": {"POSITION": 1, "NORMAL": 2, "TEXCOORD_0": 3}, "material": 0}
                ],
            }
        ],
        "materials": [material],
        "textures": [{"source": 0}],
        "images": [{"bufferView": len(views) - 1, "mimeType": "image/png"}],
        "cameras": [{"name": "photo", "type": "perspective", "perspective": perspective}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = _padded(json.dumps(tree).encode(), b" ")
    chunks = _chunk(JSON_CHUNK, text) + _chunk(BINARY_CHUNK, binary)
    return MAGIC + struct.pack("<II", VERSION, 12 + len(chunks)) + chunks


def _padded(data: bytes, filler: bytes) -> bytes:
    """To a multiple of four bytes."""
    return data + filler * (-len(data) % 4)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + kind + data
