"""Reading attributes of an object in its image: heading, light, body style, paint, hair, nose, and who it is.

A category's network was trained on synthetic objects (`gan2shape.build.attributes`) and lies beside its pack as
`attributes.safetensors`. One trunk, two ends: the scene end reads heading and light; the object end reads style and
traits from an embedding that was trained to be the same for one object under any view and light. The cosine between
two embeddings says how alike two OBJECTS are ("identity").

Images in [-1, 1]; lights in the camera frame (`scene.light`); headings in radians.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.core.network_files import load_network, save_network
from gan2shape.core.resources import pack_dir

ATTRIBUTES_NAME = "attributes.safetensors"  # beside a category's pack
FORMAT = "gan2shape-attributes-1"
COMMAND = "gan2shape build CATEGORY --only attributes"  # makes it
SCENE = ("sin heading", "cos heading", "ambient", "diffuse", "lx", "ly")  # what the scene end predicts
BATCH = 128


@dataclass(frozen=True)
class AttributeConfig:
    """What a category's network reads, and its size: 0.66 M parameters, 19 million multiplications an image."""

    traits: tuple[str, ...] = ()  # names, as in the category's parameters
    trait_sizes: tuple[int, ...] = ()  # numbers of each: 3 for a colour
    styles: tuple[str, ...] = ()  # names of the classes
    resolution: int = 64  # of the images that the network sees
    widths: tuple[int, ...] = (24, 48, 96, 128)  # channels at 1/2, 1/4, 1/8, 1/16 of the resolution
    n_hidden: int = 64  # of the scene end
    n_embedding: int = 128  # of the object end: what identity compares


@dataclass(frozen=True)
class Attributes:
    """What N images show: as read in them, or the truth."""

    heading_rad: Float[Tensor, " N"]  # angle of the front about the camera's vertical axis, yaw's sign
    light: Float[Tensor, "N 4"]  # (ambient, diffuse, lx, ly)
    traits: dict[str, Float[Tensor, "N _k"]]
    logits: Float[Tensor, "N K"]  # of the styles
    embedding: Float[Tensor, "N E"]  # unit length

    @property
    def style(self) -> Int[Tensor, " N"]:
        """Number of the likeliest style. Raises IndexError where the category has none."""
        return self.logits.argmax(1)


class AttributeNetwork(nn.Module):
    """`network(images)` -> what is learnt, in units of the targets' spread; `network.read(images)` -> Attributes.

    Both are differentiable. Images of another size are brought to the network's.
    """

    def __init__(self, config: AttributeConfig) -> None:
        super().__init__()
        self.config = config
        layers, before = [], 3
        for number, width in enumerate(config.widths):
            layers += _block(before, width, stride=2)
            layers += _block(width, width, stride=1) if 0 < number < len(config.widths) - 1 else []
            before = width
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        n_flat = before * (config.resolution >> len(config.widths)) ** 2
        self.scene = nn.Sequential(
            nn.Linear(n_flat, config.n_hidden), nn.LeakyReLU(0.2), nn.Linear(config.n_hidden, len(SCENE))
        )
        self.embedding = nn.Linear(n_flat, config.n_embedding)
        n_traits = sum(config.trait_sizes)
        n_object = n_traits + len(config.styles)
        self.object = nn.Linear(config.n_embedding, max(1, n_object))
        if n_object == 0:  # neither styles nor traits; asked for no output, torch warns of weights that are none
            self.object.weight, self.object.bias = (nn.Parameter(one[:0]) for one in self.object.parameters())
        for name, length in (("scene", len(SCENE)), ("trait", n_traits)):
            self.register_buffer(f"{name}_mean", torch.zeros(length))
            self.register_buffer(f"{name}_std", torch.ones(length))

    def forward(
        self, images: Float[Tensor, "N 3 H W"]
    ) -> tuple[Float[Tensor, "N s"], Float[Tensor, "N T"], Float[Tensor, "N K"], Float[Tensor, "N E"]]:
        """(scene, traits, logits, embedding): the first two in standard deviations from the mean."""
        flat = self.trunk(resized(images, self.config.resolution))
        embedding = self.embedding(flat)
        traits, logits = self.object(embedding).split([len(self.trait_mean), len(self.config.styles)], 1)
        return self.scene(flat), traits, logits, F.normalize(embedding, dim=1)

    def read(self, images: Float[Tensor, "N 3 H W"]) -> Attributes:
        """The attributes of each image."""
        parts = [self(part) for part in images.split(BATCH)]
        scene, traits, logits, embedding = (torch.cat(column) for column in zip(*parts, strict=True))
        scene = scene * self.scene_std + self.scene_mean
        return Attributes(
            heading_rad=torch.atan2(scene[:, 0], scene[:, 1]),
            light=scene[:, 2:],
            traits=self.named(traits * self.trait_std + self.trait_mean),
            logits=logits,
            embedding=embedding,
        )

    def named(self, traits: Float[Tensor, "N T"]) -> dict[str, Float[Tensor, "N _k"]]:
        """The columns of each trait by its name."""
        columns = traits.split(list(self.config.trait_sizes), 1) if self.config.traits else ()
        return dict(zip(self.config.traits, columns, strict=True))


def _block(before: int, width: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.2)]


def differences(ours: Attributes, theirs: Attributes) -> dict[str, Float[Tensor, " N"]]:
    """How far two sets of attributes are apart, image by image.

    `heading_deg`, `light_deg` (angle between the directions towards the lights), `ambient`, `diffuse`; of each trait
    the Euclidean distance (of a colour in Lab: the CIE 1976 colour difference); `style` 1 where the styles differ.
    """
    turn = ours.heading_rad - theirs.heading_rad
    found = {"heading_deg": torch.atan2(turn.sin(), turn.cos()).abs() * (180.0 / math.pi)}
    first, second = (F.normalize(F.pad(one.light[:, 2:], (0, 1), value=-1.0), dim=1) for one in (ours, theirs))
    # by atan2 of chords: the arc cosine of two float32 vectors that are equal is up to .03 degrees
    found["light_deg"] = 2 * torch.atan2((first - second).norm(dim=1), (first + second).norm(dim=1)) * (180.0 / math.pi)
    for column, name in enumerate(("ambient", "diffuse")):
        found[name] = (ours.light[:, column] - theirs.light[:, column]).abs()
    found |= {name: (value - theirs.traits[name]).norm(dim=1) for name, value in ours.traits.items()}
    if ours.logits.shape[1]:
        found["style"] = (ours.style != theirs.style).float()
    return found


def identity(ours: Attributes, theirs: Attributes) -> Float[Tensor, " N"]:
    """Cosine between the embeddings of N images and their counterparts: 1 for the same object."""
    return (ours.embedding * theirs.embedding).sum(1)


def light_within(
    network: AttributeNetwork,
    images: Float[Tensor, "N 3 H W"],
    lx: tuple[float | int, float | int],
    ly: tuple[float | int, float | int],
) -> Float[Tensor, "N 4"]:
    """The lights that a network reads in images, with directions kept in a box and strengths at 0 or above: of a
    picture of something else it may read anything.
    """
    ambient, diffuse, across, down = network.read(images).light.unbind(1)
    return torch.stack([ambient.clamp_min(0), diffuse.clamp_min(0), across.clamp(*lx), down.clamp(*ly)], 1)


def save_attributes(path: Path, network: AttributeNetwork) -> Path:
    """Write a network in half precision, whole or not at all. Returns the path."""
    return save_network(path, network, network.config, FORMAT)


def load_attributes(path: Path, device: torch.device | str = "cpu") -> AttributeNetwork:
    """The network in a file, frozen. Raises UserError for a file that is missing, damaged or of another version."""

    def build(fields: dict[str, Any]) -> AttributeNetwork:
        return AttributeNetwork(AttributeConfig(**fields))

    return load_network(path, build, FORMAT, "attribute network", COMMAND).to(device)


def attributes_beside(folder: Path, device: torch.device | str = "cpu") -> AttributeNetwork | None:
    """The network in a pack's folder; None where there is none."""
    path = folder / ATTRIBUTES_NAME
    return load_attributes(path, device) if path.is_file() else None


def bundled_attributes(category: str, device: torch.device | str = "cpu") -> AttributeNetwork:
    """The network beside a category's bundled pack. Raises UserError where there is none."""
    found = attributes_beside(pack_dir(category), device)
    if found is None:
        raise UserError(
            f"No network reads the attributes of {category}: make one with `gan2shape build {category} --only "
            "attributes`."
        )
    return found
