"""Build `assets/face/` from the MakeHuman community's CC0 head model, skins and hair.

    python scripts/make_face_assets.py FOLDER [--out assets/face]

FOLDER holds `makehuman_head.npz`, `skins/*.webp`, `skins_1024/*.webp`, `hair/*.npz` and `hair/*.webp`. What is kept:
the head's and eyeballs' triangles, the morph targets as sparse float16 displacements, the skins' parts that a head
needs on an atlas of our own, masks of brows, beard, moustache, lips and scalp on that atlas, and the hair styles with
their colour taken out. Lengths are decimetres (x to the model's left, y up, z to its front), as in the source.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from gan2shape.synth.scanline import nearest_face

# Atlas: (source box left, top, right, bottom in the skin's unit square, v down; target box in atlas pixels)
ATLAS_SIZE = 420, 520  # width, height
ISLANDS = {
    "face": ((0.632, 0.175, 1.0, 0.857), (0, 0, 281, 520)),
    "shoulders": ((0.200, 0.020, 0.560, 0.195), (284, 0, 420, 66)),
    "ears": ((0.003, 0.358, 0.158, 0.460), (284, 70, 402, 148)),
    "mouth": ((0.748, 0.853, 0.933, 0.993), (284, 152, 378, 223)),
    "eyes": ((0.752, 0.030, 0.798, 0.080), (284, 227, 330, 277)),
}
DROPPED_TARGETS = ("macro/universal-", "-baby")
SKIN_QUALITY, HAIR_QUALITY = 88, 85
HAIR_SIDE = 384
SKIN_DARK, SKIN_LIGHT = (0.66, 0.48), (0.80, 0.68)  # usual green and blue over red of the darkest and the lightest skin
HUE_PULL, HUE_SIGMA_PX = 0.8, 14.0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build assets/face from the MakeHuman head model.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("assets/face"))
    args = parser.parse_args()
    source = dict(np.load(args.folder / "makehuman_head.npz", allow_pickle=False))
    hair = {path.stem: dict(np.load(path, allow_pickle=False)) for path in sorted((args.folder / "hair").glob("*.npz"))}
    kept = kept_vertices(source, hair)
    arrays = head_arrays(source, kept) | target_arrays(source, kept)
    arrays |= hair_arrays(hair, kept, args.folder / "hair")
    arrays |= skin_arrays(args.folder)
    arrays |= {name: encode(picture, "PNG") for name, picture in masks(arrays).items()}
    args.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(args.out / "face.npz", **arrays)
    print(f"{args.out / 'face.npz'}: {(args.out / 'face.npz').stat().st_size / 2**20:.2f} MiB, {len(arrays)} arrays")


def kept_vertices(source: dict, hair: dict) -> np.ndarray:
    """Numbers of the vertices that the head, the eyeballs and the hair need, ascending."""
    names = ["head_faces", "part/helper-l-eye/faces", "part/helper-r-eye/faces"]
    parts = [source[name].ravel() for name in names] + [style["ref_vIdxs"].ravel() for style in hair.values()]
    return np.unique(np.concatenate(parts).astype(np.int64))


def head_arrays(source: dict, kept: np.ndarray) -> dict[str, np.ndarray]:
    """Vertices, and the triangles of the head and of the two eyeballs with their place on the atlas."""
    new = np.full(len(source["vertices"]), -1)
    new[kept] = np.arange(len(kept))
    uv = on_atlas(source["uvs"])
    out = {"vertices": source["vertices"][kept]}
    used, corner = np.unique(source["head_face_uvs"], return_inverse=True)
    out |= {"head_faces": new[source["head_faces"]].astype(np.uint16)}
    out |= {"head_uvs": uv[used].astype(np.float32), "head_face_uvs": corner.reshape(-1, 3).astype(np.uint16)}
    for side in ("l", "r"):
        out[f"eye_{side}_faces"] = new[source[f"part/helper-{side}-eye/faces"]].astype(np.uint16)
    return out


def on_atlas(uvs: np.ndarray) -> np.ndarray:
    """Source texture coordinates (v up) -> atlas coordinates in [0, 1] (v down); NaN off every island."""
    u, v = uvs[:, 0], 1 - uvs[:, 1]
    out = np.full((len(uvs), 2), np.nan)
    for (left, top, right, bottom), (x0, y0, x1, y1) in ISLANDS.values():
        inside = (u >= left) & (u <= right) & (v >= top) & (v <= bottom)
        out[inside, 0] = (x0 + (u[inside] - left) / (right - left) * (x1 - x0)) / ATLAS_SIZE[0]
        out[inside, 1] = (y0 + (v[inside] - top) / (bottom - top) * (y1 - y0)) / ATLAS_SIZE[1]
    return out


def target_arrays(source: dict, kept: np.ndarray) -> dict[str, np.ndarray]:
    """All targets one after the other: names, where each begins, vertex numbers and displacements in float16.

    A macro target also moves the head as a whole (by up to 4 dm); that mean is taken out, since heads are recentred.
    """
    names = sorted({key[len("target/") : key.rindex("/")] for key in source if key.startswith("target/")})
    names = [name for name in names if not any(word in name for word in DROPPED_TARGETS)]
    starts, indices, deltas, stored = [0], [], [], []
    for name in names:
        index, delta = source[f"target/{name}/index"], source[f"target/{name}/delta"].astype(np.float64)
        inside = np.isin(index, kept)
        if not inside.any():
            continue
        place, delta = np.searchsorted(kept, index[inside]), delta[inside]
        if name.startswith("macro/"):
            full = np.zeros((len(kept), 3))
            full[place] = delta
            place, delta = np.arange(len(kept)), full - full.mean(0)
        stored.append(name)
        indices.append(place.astype(np.uint16))
        deltas.append(delta.astype(np.float16))
        starts.append(starts[-1] + len(place))
    print(f"{len(stored)} targets, {starts[-1]} displacements")
    return {
        "target_names": np.array(stored),
        "target_starts": np.array(starts, np.int32),
        "target_indices": np.concatenate(indices),
        "target_deltas": np.concatenate(deltas),
    }


def hair_arrays(hair: dict, kept: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """Each style: how it hangs on the head, triangles with texture coordinates (v down), grey value and alpha."""
    out = {}
    for name, style in hair.items():
        uv = style["uvs"] * np.array([1, -1]) + np.array([0, 1])
        out[f"hair/{name}/refs"] = np.searchsorted(kept, style["ref_vIdxs"]).astype(np.uint16)
        out[f"hair/{name}/weights"] = style["weights"].astype(np.float32)
        out[f"hair/{name}/offsets"] = style["offsets"].astype(np.float16)
        out[f"hair/{name}/faces"] = style["faces"].astype(np.uint16)
        out[f"hair/{name}/uvs"] = uv.astype(np.float32)
        out[f"hair/{name}/face_uvs"] = style["face_uvs"].astype(np.uint16)
        with Image.open(folder / f"{name}.webp") as picture:
            out[f"hair/{name}/texture"] = encode(grey_strands(picture), "WEBP", HAIR_QUALITY)
    return out


def grey_strands(picture: Image.Image) -> Image.Image:
    """Grey value relative to the style's own mean (128 = the mean, 255 = twice) and alpha, grey grown over the rim."""
    rgba = np.asarray(picture.convert("RGBA").resize((HAIR_SIDE, HAIR_SIDE), Image.Resampling.LANCZOS)).astype(float)
    grey, alpha = rgba[..., :3] @ np.array([0.299, 0.587, 0.114]), rgba[..., 3]
    solid = alpha > 200
    nearest = ndimage.distance_transform_edt(~solid, return_distances=False, return_indices=True)
    grey = grey[tuple(nearest)]
    level = np.quantile(grey[solid], 0.5) + 4.0
    # A nearly black style keeps little of its contrast: what is left there is mostly compression noise.
    strength = np.clip(level / 50.0, 0.35, 1.0)
    ratio = 1 + strength * ((grey + 4.0) / level - 1)
    grey8 = np.clip(ratio * 128, 0, 255).astype(np.uint8)
    return Image.merge("RGBA", [Image.fromarray(grey8)] * 3 + [Image.fromarray(alpha.astype(np.uint8))])


def skin_arrays(folder: Path) -> dict[str, np.ndarray]:
    """The skins on the atlas, as lossy WebP."""
    out = {}
    for path in sorted((folder / "skins").glob("*.webp")) + sorted((folder / "skins_1024").glob("*.webp")):
        with Image.open(path) as picture:
            atlas = Image.new("RGB", ATLAS_SIZE)
            whole = picture.convert("RGB")
            for (left, top, right, bottom), (x0, y0, x1, y1) in ISLANDS.values():
                box = (left * whole.width, top * whole.height, right * whole.width, bottom * whole.height)
                part = whole.resize((x1 - x0, y1 - y0), Image.Resampling.BICUBIC, box=box)
                atlas.paste(part, (x0, y0))
        out[f"skin/{path.stem}"] = encode(_natural_hue(atlas), "WEBP", SKIN_QUALITY)
    return out


def _natural_hue(atlas: Image.Image) -> Image.Image:
    """Face, ears and shoulders with their coarse hue moved towards that of skin: some paintings are greyish green.

    Hue is green and blue over red, smoothed over a tenth of the face, so that lips and lids keep theirs.
    """
    rgb = np.asarray(atlas).astype(float) / 255
    for name in ("face", "shoulders"):
        x0, y0, x1, y1 = ISLANDS[name][1]
        part = rgb[y0:y1, x0:x1]
        coarse = np.stack([ndimage.gaussian_filter(part[..., k], HUE_SIGMA_PX, mode="nearest") for k in range(3)], -1)
        light = np.clip((coarse[..., 0] - 0.25) / 0.6, 0, 1)[..., None]
        usual = np.array([1, *SKIN_DARK]) + light * (np.array([1, *SKIN_LIGHT]) - np.array([1, *SKIN_DARK]))
        gain = (usual * coarse[..., :1] / np.maximum(coarse, 0.02)) ** HUE_PULL
        # The gain must not change how bright the skin is.
        grey = np.array([0.299, 0.587, 0.114])
        gain *= ((coarse @ grey) / np.maximum((coarse * gain) @ grey, 0.02))[..., None]
        rgb[y0:y1, x0:x1] = part * gain
    return Image.fromarray((255 * np.clip(rgb, 0, 1) + 0.5).astype(np.uint8))


# ------------------------------------------------------------------------------------------------------------- masks


def masks(arrays: dict[str, np.ndarray]) -> dict[str, Image.Image]:
    """Two RGBA pictures on the atlas, see `face_paint`.

    masks: R nearness to the brows' lines, G beard, B moustache and goatee, A scalp. places: R lips, G height above a
    plane that is tilted like a collar (5.2 ... 6.4 dm), B distance from the middle plane (0 ... 1.3 dm), A where the
    latter two hold (face and shoulders).
    """
    x, y, z, covered = (plane for plane in positions(arrays))
    ax = np.abs(x)
    front = z > 0.75
    brow_line = np.interp(ax, [0.08, 0.16, 0.34, 0.46, 0.58], [7.52, 7.535, 7.56, 7.54, 7.465])
    half = np.interp(ax, [0.06, 0.12, 0.34, 0.56, 0.60], [0.0, 0.045, 0.04, 0.012, 0.0])
    brow = np.clip(1 - np.abs(y - brow_line) / np.maximum(2 * half, 1e-3), 0, 1) * front * (half > 0)
    mouth = (ax / 0.29) ** 2 + ((y - 6.605) / 0.115) ** 2
    outside_lips = smooth(mouth, 0.9, 1.35)
    nose_base = np.interp(ax, [0.0, 0.16, 0.25, 0.4], [6.80, 6.83, 6.84, 6.75])
    cheek_line = np.interp(ax, [0.0, 0.30, 0.45, 0.60, 0.72, 0.85], [6.80, 6.76, 6.72, 6.85, 7.20, 7.25])
    jaw = smooth(-y, -cheek_line - 0.03, -cheek_line + 0.07) * smooth(y, 5.95, 6.15) * smooth(z, 0.50, 0.68)
    beard = jaw * outside_lips
    under_nose = smooth(-y, -nose_base, -nose_base + 0.03) * smooth(y, 6.60, 6.66) * smooth(-ax, -0.36, -0.28)
    goatee = smooth(-ax, -0.30, -0.20) * smooth(-y, -6.56, -6.50) * smooth(y, 6.0, 6.15)
    mouth_ring = smooth(-ax, -0.40, -0.33) * smooth(ax, 0.24, 0.29) * smooth(y, 6.3, 6.4) * smooth(-y, -6.75, -6.68)
    goatee = np.maximum(np.maximum(under_nose, goatee), mouth_ring) * outside_lips * (z > 0.9)
    hairline = np.interp(np.arctan2(ax, z - 0.45), np.deg2rad([0, 25, 42, 55, 75, 95, 120, 150, 180]),
                         [8.07, 8.05, 7.85, 7.60, 7.30, 7.42, 7.0, 6.65, 6.55])  # fmt: skip
    scalp = smooth(y, hairline - 0.08, hairline + 0.08)
    lips = (1 - smooth(mouth, 0.55, 1.0)) * (z > 1.3)
    collar = np.clip((y + 0.45 * (z - 0.3) - 5.2) / 1.2, 0, 1)
    on = {name: np.zeros(x.shape, bool) for name in ISLANDS}
    for name, (_, (x0, y0, x1, y1)) in ISLANDS.items():
        on[name][y0:y1, x0:x1] = covered[y0:y1, x0:x1]
    painted = [np.where(on["face"], plane, 0) for plane in (brow, beard, goatee, scalp, lips)]
    places = [painted[4], collar, np.clip(ax / 1.3, 0, 1), (on["face"] | on["shoulders"]).astype(float)]
    return {"masks": _rgba(painted[:4]), "places": _rgba(places)}


def _rgba(planes: list[np.ndarray]) -> Image.Image:
    return Image.merge("RGBA", [Image.fromarray((255 * plane).astype(np.uint8)) for plane in planes])


def positions(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Base position x, y, z (dm) of the surface point at each atlas pixel, grown over the islands' rims, and where."""
    width, height = ATLAS_SIZE
    corner_uv = arrays["head_uvs"][arrays["head_face_uvs"]] * np.array([width, height])
    px = np.concatenate([corner_uv, np.ones((*corner_uv.shape[:2], 1))], -1)
    face = nearest_face(torch.from_numpy(px), torch.zeros(len(px), dtype=torch.long), 1, height, width)[0].numpy()
    row, col = np.mgrid[:height, :width] + 0.5
    point = np.stack([col, row], -1)[face >= 0]
    a, b, c = (corner_uv[face[face >= 0], k] for k in range(3))

    def area(p, q, r):
        return (q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0])

    weights = np.stack([area(point, b, c), area(point, c, a), area(point, a, b)], -1) / area(a, b, c)[:, None]
    corners = arrays["vertices"][arrays["head_faces"]][face[face >= 0]]
    full = np.zeros((height, width, 3))
    full[face >= 0] = (weights[..., None] * corners).sum(1)
    distance, nearest = ndimage.distance_transform_edt(face < 0, return_indices=True)
    full = full[tuple(nearest)]
    return [*np.moveaxis(full, -1, 0), distance < 4]


def smooth(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, a smooth step between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def encode(picture: Image.Image, kind: str, quality: int = 0) -> np.ndarray:
    """The picture's file as bytes, uint8."""
    file = io.BytesIO()
    options = {"quality": quality, "method": 6} if kind == "WEBP" else {"optimize": True}
    picture.save(file, kind, **options)
    return np.frombuffer(file.getvalue(), np.uint8)


if __name__ == "__main__":
    main()
