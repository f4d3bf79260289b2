"""StyleGAN2 generator: mapping network z -> w, synthesis network w -> image (Karras et al. 2020).

Conventions
-----------
* z and w are [B, D]; W+ is [B, L, D] with L = `Generator.n_layers`: one row per 3x3 convolution and one for the last
  to-RGB layer (the other to-RGB layers share the row of the next convolution).
* Images are float32 in about [-1, 1], not clipped.
* Parameter names are the published PyTorch ones (`mapping.fc0.weight`, `synthesis.b8.conv0.affine.weight`): with
  `resample="fir"` its state dict loads as it is, but for the constant filter buffers (`networks.published_state`).
* A class-conditional generator adds a vector of the class to the mapping network's first layer, before its activation.
  That is what a label's embedding beside z amounts to (Karras et al. 2020, "Training generative adversarial networks
  with limited data"), and at zero it is the generator without classes. Of one class it is a bias (`state_of_class`).
"""

import itertools
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Named
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.nn.layers import (
    LEAKY_GAIN,
    RESIDUAL_GAIN,
    Conv,
    FullyConnected,
    Style,
    SynthesisLayer,
    ToRGB,
    full_precision,
    normalize_second_moment,
    upsample_bilinear,
    upsample_fir,
)

CONST_RESOLUTION = 4  # resolution of the learnt constant input
ARCHITECTURES = ("skip", "resnet", "orig")
LAST_STAGES = ("full", "single", "shuffle")
EMBEDDING_LR_MULTIPLIER = 0.1  # learning rate of the class vectors relative to the rest; of the mapping network .01
EMBEDDING_NAME = "mapping.embed"  # in a state dict
Noise = str | Sequence[Tensor]  # "const", "random", "none", or a map [B, 1, h, w] for each 3x3 convolution
Rows = list[list[Tensor | Style]]  # by block, what its layers are modulated by
Drawn = tuple[Tensor, Tensor | None]  # features and image after a block
DrawBlock = Callable[[nn.Module, Tensor | None, Tensor | None, list[Tensor | Style], Noise], Drawn]  # as `drawn`


@dataclass(frozen=True)
class Hook:
    """What conditions the block of one resolution from outside; a part that is not given changes nothing.

    Identity functions, and maps of zeros, leave the image as it is, bit for bit.
    """

    # Features and image before the block, at half its resolution -> the same (GLEAN's fusion). The first block, which
    # begins at a constant, has none.
    pre: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]] | None = None
    mid: Callable[[Tensor], Tensor] | None = None  # features after its first convolution -> the same (GFPGAN's SFT)
    noise: Sequence[Tensor] = ()  # maps [B, C, h, w], one for each convolution, added where noise is (GPEN)


Hooks = Named[int, Hook]  # by resolution
NO_HOOK = Hook()


@dataclass(frozen=True)
class GeneratorConfig:
    """The small default: 64 x 64, about .9 M parameters, .2 GFLOP an image."""

    resolution: int = 64  # of the image, a power of two
    channels: tuple[int, ...] = (128, 128, 96, 48, 16)  # feature channels at 4, 8, 16, ..., resolution
    z_dim: int = 128  # input latent
    w_dim: int = 128  # intermediate latent
    n_mapping: int = 4  # fully connected layers of the mapping network
    mapping_lr_multiplier: float = 0.01  # learning rate of the mapping network relative to the rest (published)
    architecture: str = "skip"  # "skip" (sum of upsampled RGB), "resnet" or "orig"
    resample: str = "fast"  # "fir": published transposed convolution and blur; "fast": convolution, then bilinear
    last_stage: str = "full"  # at `resolution`: "full" two convolutions, "single" one, "shuffle" none
    demodulate: bool = True  # normalise each output channel (published)
    noise: bool = False  # per-pixel noise inputs; off, everything the image shows is in w
    clamp: float | None = None  # clamp of activations (published for half precision: 256)
    image_channels: int = 3  # RGB
    n_classes: int = 0  # of a class-conditional generator

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES or self.last_stage not in LAST_STAGES:
            raise ValueError(f"unknown architecture {self.architecture!r} or last stage {self.last_stage!r}")
        if len(self.resolutions) != len(self.channels) or self.resolutions[-1] != self.resolution:
            raise ValueError(f"{len(self.channels)} widths do not fit 4, 8, ..., {self.resolution}")

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the blocks: 4, 8, ..., resolution."""
        return tuple(CONST_RESOLUTION * 2**i for i in range(self.resolution.bit_length() - 2))


class Mapping(nn.Module):
    """z -> w. Holds `w_avg`, the running mean of w that truncation pulls to."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.n_layers = config.n_mapping
        sizes = [config.z_dim] + [config.w_dim] * config.n_mapping
        for i in range(config.n_mapping):
            layer = FullyConnected(sizes[i], sizes[i + 1], activate=True, lr_multiplier=config.mapping_lr_multiplier)
            self.add_module(f"fc{i}", layer)
        if config.n_classes:
            self.embed = nn.Parameter(torch.zeros(config.n_classes, config.w_dim))
        self.n_classes = config.n_classes
        self.register_buffer("w_avg", torch.zeros(config.w_dim))

    def layers(self, start: int, stop: int) -> list[nn.Module]:
        """Fully connected layers `start` to `stop` - 1."""
        return [getattr(self, f"fc{i}") for i in range(start, stop)]

    def front(
        self, z: Float[Tensor, "B Z"], n_last: int, labels: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B H"]:
        """Hidden vector before the last `n_last` layers."""
        h = normalize_second_moment(full_precision(z))
        for number, layer in enumerate(self.layers(0, self.n_layers - n_last)):
            h = layer(h, self.class_offset(len(z), labels) if number == 0 else None)
        return h

    def class_offset(self, n: int, labels: Int[Tensor, " B"] | None) -> Float[Tensor, "B H"] | None:
        """What the classes of `n` latents add to the first layer; nothing where there are no classes."""
        if not self.n_classes:
            return None
        turns = torch.arange(n, device=self.w_avg.device) % self.n_classes if labels is None else labels
        return self.embed[turns] * (EMBEDDING_LR_MULTIPLIER * LEAKY_GAIN)

    def tail(self, h: Float[Tensor, "B H"], n_last: int) -> Float[Tensor, "B D"]:
        """The last `n_last` layers."""
        for layer in self.layers(self.n_layers - n_last, self.n_layers):
            h = layer(h)
        return h

    def forward(
        self, z: Float[Tensor, "B Z"], truncation_psi: float = 1.0, labels: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B D"]:
        """w of z, pulled to `w_avg`: w_avg + psi (w - w_avg).

        labels: numbers of the classes of a class-conditional generator; without them the classes take turns.
        """
        w = self.front(z, 0, labels)
        return w if truncation_psi == 1.0 else self.w_avg.lerp(w, truncation_psi)


class SynthesisBlock(nn.Module):
    """Two modulated convolutions at one resolution, and what the architecture adds."""

    def __init__(self, config: GeneratorConfig, index: int) -> None:
        super().__init__()
        resolution, width = config.resolutions[index], config.channels[index]
        is_first, is_last = index == 0, resolution == config.resolution
        common = {
            "w_dim": config.w_dim,
            "resolution": resolution,
            "demodulate": config.demodulate,
            "use_noise": config.noise,
            "clamp": config.clamp,
        }
        self.is_first, self.architecture, self.resample = is_first, config.architecture, config.resample
        self.resolution = resolution
        self.has_residual = config.architecture == "resnet" and not is_first
        self.n_convs = 1 if is_first or (is_last and config.last_stage == "single") else 2
        if is_first:
            self.const = nn.Parameter(torch.randn(width, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(config.channels[index - 1], width, upsample=config.resample, **common)
        if is_first or self.n_convs == 2:
            gain = RESIDUAL_GAIN if self.has_residual else 1.0
            self.conv1 = SynthesisLayer(width, width, upsample="none", gain=gain, **common)
        if self.has_residual:
            resample = f"up_{config.resample}"
            self.skip = Conv(
                config.channels[index - 1], width, 1, bias=False, activate=False, resample=resample, gain=RESIDUAL_GAIN
            )
        self.has_torgb = is_last or config.architecture == "skip"
        if self.has_torgb:
            self.torgb = ToRGB(width, config.image_channels, config.w_dim, config.clamp)

    def styled(self) -> list[nn.Module]:
        """Layers that a style modulates, in the order of their rows."""
        return [getattr(self, name) for name in ("conv0", "conv1", "torgb") if hasattr(self, name)]

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: list[Tensor | Style],
        noise: Noise,
        hook: Hook = NO_HOOK,
    ) -> tuple[Tensor, Tensor | None]:
        """Features and image so far, one octave finer; `ws` holds `n_convs` + 1 rows, `noise` a map for each of
        `n_convs` or one word. Of the hook `pre` is done before.
        """
        noises = [noise] * 2 if isinstance(noise, str) else noise
        added = hook.noise or (None, None)
        if self.is_first:
            n_images = (ws[0].value if isinstance(ws[0], Style) else ws[0]).shape[0]
            x = self.const[None].expand(n_images, -1, -1, -1)
            x = self.conv1(x, ws[0], noises[0], added[0])
            x = x if hook.mid is None else hook.mid(x)
        else:
            residual = self.skip(x) if self.has_residual else None
            x = self.conv0(x, ws[0], noises[0], added[0])
            x = x if hook.mid is None else hook.mid(x)
            if self.n_convs == 2:
                x = self.conv1(x, ws[1], noises[1], added[1])
            x = x if residual is None else x + residual
        if image is not None:
            image = upsample_fir(image) if self.resample == "fir" else upsample_bilinear(image)
        if self.has_torgb:
            colour = self.torgb(x, ws[self.n_convs])
            image = colour if image is None else image + colour
        return x, image


class ShuffleHead(nn.Module):
    """The last octave without convolutions: four colours per coarse pixel, shuffled and smoothed by a 3 x 3 filter.

    A bare shuffle leaves a screen-door pattern, since neighbours come from different output channels.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.torgb = ToRGB(config.channels[-2], 4 * config.image_channels, config.w_dim, config.clamp)
        self.n_convs, self.resolution = 0, config.resolution

    def styled(self) -> list[nn.Module]:
        """Layers that a style modulates."""
        return [self.torgb]

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: list[Tensor | Style], noise: Noise
    ) -> tuple[Tensor, Tensor | None]:
        """Features unchanged; image one octave finer."""
        fine = F.pixel_shuffle(self.torgb(x, ws[0]), 2)
        fine = F.avg_pool2d(F.pad(fine, (1, 1, 1, 1), mode="replicate"), 2, 1)
        fine = F.avg_pool2d(fine, 2, 1)
        return x, fine if image is None else upsample_bilinear(image) + fine


def drawn(block: nn.Module, x: Tensor | None, image: Tensor | None, rows: list[Tensor | Style], noise: Noise) -> Drawn:
    """A block at its own resolution: features and image, one octave finer than the given ones."""
    return block(x, image, rows, noise)


def hooked(hooks: Hooks, draw: DrawBlock = drawn) -> DrawBlock:
    """Blocks that have a hook, with it; the others by `draw`."""

    def run(
        block: nn.Module, x: Tensor | None, image: Tensor | None, rows: list[Tensor | Style], noise: Noise
    ) -> Drawn:
        hook = hooks.get(block.resolution)
        if hook is None:
            return draw(block, x, image, rows, noise)
        if hook.pre is not None and x is not None:
            x, image = hook.pre(x, image)
        return block(x, image, rows, noise, hook) if block.n_convs else draw(block, x, image, rows, noise)

    return run


class Synthesis(nn.Module):
    """w or W+ -> image."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.block_names = tuple(f"b{resolution}" for resolution in config.resolutions)
        for index, name in enumerate(self.block_names):
            is_last = index == len(self.block_names) - 1
            block = ShuffleHead(config) if is_last and config.last_stage == "shuffle" else SynthesisBlock(config, index)
            self.add_module(name, block)
        self.n_layers = sum(block.n_convs for block in self.blocks()) + 1

    def blocks(self) -> list[nn.Module]:
        """Blocks from coarse to fine."""
        return [getattr(self, name) for name in self.block_names]

    @property
    def noise_sizes(self) -> tuple[int, ...]:
        """Resolution of the noise map of each 3x3 convolution, coarse to fine."""
        sizes = zip(self.config.resolutions, self.blocks(), strict=True)
        return tuple(size for size, block in sizes for _ in range(block.n_convs))

    def forward(
        self,
        w: Float[Tensor, "B *L D"],
        noise: Noise = "const",
        return_features: bool = False,
        hooks: Hooks | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Image [B, C, S, S] of w [B, D] or W+ [B, L, D]; with `return_features` also each resolution's features.

        hooks: what conditions blocks from outside, by their resolution.
        """
        image, features = self.made(self.rows(w), noise, hooked(hooks) if hooks else drawn)
        return (image, features) if return_features else image

    def rows(self, w: Float[Tensor, "B *L D"]) -> Rows:
        """What each block takes of w or W+: a row for each of its convolutions and one for its to-RGB layer."""
        rows = [w] * self.n_layers if w.ndim == 2 else list(w.unbind(dim=1))
        if len(rows) != self.n_layers:
            raise ValueError(f"W+ has {len(rows)} rows, the generator takes {self.n_layers}")
        starts = [0]
        for block in self.blocks():
            starts.append(starts[-1] + block.n_convs)
        return [rows[a : b + 1] for a, b in itertools.pairwise(starts)]  # to-RGB shares the next one's row

    def styles(self, w: Float[Tensor, "B *L D"]) -> list[Tensor]:
        """The style [B, I] of each modulated layer, to-RGB layers included, in order: the space S."""
        rows = [w] * self.n_layers if w.ndim == 2 else list(w.unbind(dim=1))
        found, start = [], 0
        for block in self.blocks():
            layers = block.styled()
            indices = [*range(block.n_convs), *[block.n_convs] * (len(layers) - block.n_convs)]
            found += [layer.affine(rows[start + i]) for layer, i in zip(layers, indices, strict=True)]
            start += block.n_convs
        return found

    def from_styles(self, styles: Sequence[Tensor], noise: Noise = "const") -> Float[Tensor, "B C S S"]:
        """The image of `styles`, as `styles` gives them for a w."""
        return self.made(self.style_rows(styles), noise)[0]

    def style_rows(self, styles: Sequence[Tensor]) -> Rows:
        """What each block takes of styles: `rows` in the space S."""
        given = iter([Style(style) for style in styles])
        return [list(itertools.islice(given, len(block.styled()))) for block in self.blocks()]

    def made(self, by_block: Rows, noise: Noise, draw: DrawBlock = drawn) -> tuple[Tensor, list[Tensor]]:
        """(image, features of each block). `draw` runs one block."""
        x, image, features, start = None, None, [], 0
        for block, rows in zip(self.blocks(), by_block, strict=True):
            own = noise if isinstance(noise, str) else noise[start : start + block.n_convs]
            x, image = draw(block, x, image, rows, own)
            start += block.n_convs
            features.append(x)
        return image, features


class Generator(nn.Module):
    """Mapping and synthesis. `generator.mapping(z, truncation_psi)` -> w, `generator.synthesis(w, noise)` -> image."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config or GeneratorConfig()
        self.mapping = Mapping(self.config)
        self.synthesis = Synthesis(self.config)

    @property
    def w_avg(self) -> Float[Tensor, " D"]:
        """Running mean of w."""
        return self.mapping.w_avg

    @property
    def n_layers(self) -> int:
        """Rows of W+."""
        return self.synthesis.n_layers

    def forward(
        self,
        z: Float[Tensor, "B Z"],
        truncation_psi: float = 1.0,
        noise: str = "const",
        labels: Int[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B C S S"]:
        """Image of a random latent; `labels` as for the mapping."""
        return self.synthesis(self.mapping(z, truncation_psi, labels), noise)

    def mapping_front(self, z: Float[Tensor, "B Z"], n_last: int) -> Float[Tensor, "B H"]:
        """Hidden vector of z before the last `n_last` mapping layers."""
        return self.mapping.front(z, n_last)

    def mapping_tail(self, h: Float[Tensor, "B H"], n_last: int) -> Float[Tensor, "B D"]:
        """The last `n_last` mapping layers applied to a hidden vector."""
        return self.mapping.tail(h, n_last)

    def offset_through_mapping(self, delta: Float[Tensor, "B H"], n_last: int) -> Float[Tensor, "B D"]:
        """Offset of w that `delta` causes through the last mapping layers (Pan et al. 2021, section 3.2).

        tail(delta + front(0)) - tail(front(0)): offsets stay within what the mapping network produces; 0 gives 0.
        `n_last` = 0 adds `delta` to w directly.
        """
        if n_last == 0:
            return delta
        hidden = self.mapping.front(delta.new_zeros(1, self.config.z_dim), n_last)
        hidden = hidden.expand(delta.shape[0], -1)  # the same products on both sides: zero gives exactly zero
        return self.mapping.tail(delta + hidden, n_last) - self.mapping.tail(hidden, n_last)

    def features(self, w: Float[Tensor, "B *L D"], noise: str = "const") -> list[Tensor]:
        """Feature maps of each resolution, coarse to fine (the image is discarded)."""
        return self.synthesis(w, noise, return_features=True)[1]


def state_of_class(state: Named[str, Tensor], config: GeneratorConfig, class_index: int) -> dict[str, Tensor]:
    """The state dict of the ordinary generator that one class of a class-conditional one is: its vector as a bias.

    `config` is that of the conditional generator; the result's is the same with `n_classes` 0.
    """
    fixed = {name: tensor for name, tensor in state.items() if name != EMBEDDING_NAME}
    gain = EMBEDDING_LR_MULTIPLIER / config.mapping_lr_multiplier  # the bias is stored in units of its own multiplier
    fixed["mapping.fc0.bias"] = state["mapping.fc0.bias"] + gain * state[EMBEDDING_NAME][class_index]
    return fixed
