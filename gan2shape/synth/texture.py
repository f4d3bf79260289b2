"""Texture lookup: colour and alpha of fragments, bilinear, for a batch of meshes whose textures differ in size."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from gan2shape.synth.objects import ObjectMesh

OPAQUE = 255


@dataclass(frozen=True)
class TextureStack:
    """All textures of a batch one after the other, and where each of its N triangles looks."""

    texels: UInt8[Tensor, "T 4"]  # colour and alpha, row by row
    start: Int[Tensor, " K"]  # of each texture in `texels`
    width: Int[Tensor, " K"]
    height: Int[Tensor, " K"]
    texture: Int[Tensor, " N"]  # of each triangle, -1 for none
    uv: Float[Tensor, "N 3 2"]
    painted: Bool[Tensor, " N"]  # whether the triangle has a texture
    repeats: Bool[Tensor, " K"]  # whether the texture repeats beyond its border
    cut_out: Bool[Tensor, " N"]  # whether that texture has holes there, so that its fragments must be tested

    @staticmethod
    def of(meshes: list[ObjectMesh], kept: list[Int[Tensor, " _"]]) -> "TextureStack | None":
        """The stack for the `kept` triangles of each mesh, in that order; None where no mesh has a texture."""
        if not any(mesh.textures for mesh in meshes):
            return None
        pictures: list[np.ndarray] = []
        texture, uv, tested, repeats = [], [], [], []
        known: dict[tuple[int, ...], int] = {}  # where the textures of a mesh begin: the same object may be seen often
        for mesh, chosen in zip(meshes, kept, strict=True):
            if mesh.textures:
                own = torch.from_numpy(mesh.face_texture)[chosen].long()
                key = (*map(id, mesh.textures), mesh.repeats)
                first = known.setdefault(key, len(pictures))
                if first == len(pictures):
                    pictures.extend(mesh.textures)
                    repeats.extend([mesh.repeats] * len(mesh.textures))
                texture.append(torch.where(own >= 0, own + first, -1))
                uv.append(torch.from_numpy(mesh.corner_uv)[chosen])
                asked = None if mesh.cut_out is None else torch.from_numpy(mesh.cut_out)[chosen]
                tested.append(torch.ones(len(chosen), dtype=torch.bool) if asked is None else asked)
            else:
                tested.append(torch.zeros(len(chosen), dtype=torch.bool))
                texture.append(torch.full((len(chosen),), -1))
                uv.append(torch.zeros(len(chosen), 3, 2))
        flat = [_with_alpha(picture) for picture in pictures]
        size = torch.tensor([picture.shape[:2] for picture in pictures])
        which = torch.cat(texture)
        holes = torch.tensor([bool((texels[:, 3] < OPAQUE).any()) for texels in flat])
        return TextureStack(
            texels=torch.from_numpy(np.concatenate(flat)),
            start=size.prod(1).cumsum(0) - size.prod(1),
            width=size[:, 1],
            height=size[:, 0],
            texture=which,
            uv=torch.cat(uv),
            painted=which >= 0,
            repeats=torch.tensor(repeats),
            cut_out=(which >= 0) & holes[which] & torch.cat(tested),
        )

    def colour(self, face: Int[Tensor, " M"], bary: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Colour in [0, 1] at points of triangles, given by perspective-correct weights."""
        return self._fetch(face, bary, slice(0, 3)) / OPAQUE

    def alpha(self, face: Int[Tensor, " M"], bary: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """Alpha in [0, 1] at points of triangles."""
        return self._fetch(face, bary, slice(3, 4))[:, 0] / OPAQUE

    def _fetch(self, face: Tensor, bary: Tensor, channels: slice) -> Float[Tensor, "M C"]:
        """Bilinear between the four nearest texel centres; beyond the borders held, or repeated."""
        which = self.texture[face]
        corners, (a, b, c) = self.uv.view(-1, 6)[face], bary.unbind(1)
        u = corners[:, 0] * a + corners[:, 2] * b + corners[:, 4] * c
        v = corners[:, 1] * a + corners[:, 3] * b + corners[:, 5] * c
        width, height = self.width[which], self.height[which]
        again = self.repeats[which]
        left, right, fx = _neighbours(u, width, again)
        top, low, fy = _neighbours(v, height, again)
        upper, lower = self.start[which] + top * width, self.start[which] + low * width
        near = (upper + left, upper + right, lower + left, lower + right)
        a, b, c, d = (self.texels[:, channels][i].float() for i in near)
        above, below = torch.lerp(a, b, fx), torch.lerp(c, d, fx)
        return torch.lerp(above, below, fy)


def _neighbours(
    place: Float[Tensor, " M"], count: Int[Tensor, " M"], again: Bool[Tensor, " M"]
) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"], Float[Tensor, "M 1"]]:
    """The two nearest of `count` texels in a row at `place` (0 ... 1 along it), and the share of the second."""
    x = torch.minimum((place * count - 0.5).clamp(min=0), (count - 1).float())
    first = x.long()
    second, share = torch.minimum(first + 1, count - 1), x - first
    if again.any():
        x = (place - place.floor()) * count - 0.5
        low = x.floor()
        first = torch.where(again, low.long() % count, first)
        second = torch.where(again, (low.long() + 1) % count, second)
        share = torch.where(again, x - low, share)
    return first, second, share[:, None]


def _with_alpha(picture: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "T 4"]:
    if picture.shape[2] == 3:
        picture = np.concatenate([picture, np.full((*picture.shape[:2], 1), OPAQUE, np.uint8)], 2)
    return picture.reshape(-1, 4)
