"""Typed configuration: the one source of defaults. YAML files hold only what differs from here.

Units are in the names: `_deg` degrees, `_px` pixels, `n_` counts. A light above has ly < 0. The published code has lx
and ly with the opposite sign, so its constants (`rand_light`, `light_mvn`) enter negated.

`--preset paper` (configs/preset/paper.yaml) states every published constant; what differs by category stands in
configs/preset/paper/CATEGORY.yaml. Three things stay ours there: the canonical frame is the input's frame, images are
composited over a background that is filled in, and discriminator features stand in for LPIPS.
"""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

GREATEST_SEED = 2**63 - 1  # that torch takes
DEFAULT_BACKEND = "torch"
BACKENDS = (DEFAULT_BACKEND, "pytorch3d")  # rasterisers of the height field
FULL, COARSE = "full", "coarse"
LAST_BLOCKS = ("auto", FULL, COARSE)
FP32, BF16 = "fp32", "bf16"
PRECISIONS = ("auto", FP32, BF16)


def need(condition: bool, sentence: str) -> None:
    """Raises ValueError with the sentence where the condition does not hold (`compose` makes it a UserError)."""
    if not condition:
        raise ValueError(sentence)


def need_training(plan: Any) -> None:
    """What the plan of any training has to hold, as far as it names it: counts from 1 on, a seed that generators take,
    learning rates above 0, no negative weights. Raises ValueError.
    """
    for spec in fields(plan):
        name, value = spec.name, getattr(plan, spec.name)
        if name in ("batch", "n_steps", "n_images", "n_objects", "n_held_out"):
            need(value >= 1, f"{name}={value} has to be 1 at least")
        elif name == "seed":
            need(0 <= value <= GREATEST_SEED, f"seed={value} has to lie between 0 and {GREATEST_SEED}")
        elif name == "lr" or name.endswith("_lr"):
            need(value > 0, f"{name}={value} has to be above 0")
        elif name.endswith(("_weight", "_gamma", "_noise")):
            need(value >= 0, f"{name}={value} is negative")


class Finite:
    """Base of configurations whose numbers, alone and in tuples, have to be finite."""

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            for number in value if isinstance(value, tuple) else (value,):
                is_bad = isinstance(number, float) and not math.isfinite(number)
                need(not is_bad, f"{spec.name}={number} is not a finite number")
        self.check()

    def check(self) -> None:
        """What else has to hold; raises ValueError."""


@dataclass(frozen=True)
class RenderConfig(Finite):
    """Camera and resolution of the canonical height field."""

    resolution: int = 64  # of every render, pixels; follows the generator (published: 128)
    fov_deg: float = 10.0  # field of view of the pinhole camera (published)
    depth_half_range: float = 0.1  # canonical depth lives in 1 +- this (published .9-1.1)
    backend: str = DEFAULT_BACKEND  # the rasteriser: torch, or pytorch3d where it can be imported
    # How blocks of a custom generator beyond `resolution` are run: "full", at their own resolution, the images averaged
    # (published); "coarse", at `resolution` (nn/coarse_blocks.py); "auto", coarse where that is measured to be near.
    last_blocks: str = "auto"
    # Of a custom generator's convolutions and of those that compare its images: "fp32"; "bf16", about twice as fast on
    # processors that have it; "auto", bf16 on a CPU that has it.
    precision: str = "auto"

    def check(self) -> None:
        is_known = self.last_blocks in LAST_BLOCKS
        need(is_known, f"render.last_blocks={self.last_blocks} is unknown: write {', '.join(LAST_BLOCKS)}")
        is_known = self.precision in PRECISIONS
        need(is_known, f"render.precision={self.precision} is unknown: write {', '.join(PRECISIONS)}")
        need(0 < self.fov_deg < 90, f"render.fov_deg={self.fov_deg} has to lie between 0 and 90")
        need(self.backend in BACKENDS, f"render.backend={self.backend} is unknown: write {' or '.join(BACKENDS)}")
        need(
            0 < self.depth_half_range < 1, f"render.depth_half_range={self.depth_half_range} has to lie between 0 and 1"
        )


@dataclass(frozen=True)
class InitialShapeConfig(Finite):
    """The initial depth: an ellipsoid on the mask's box (published), or what a pack's depth network sees.

    The last six describe a pack's weights: its calibration sets them (prior/calibration.py).
    """

    depth_scale: float = 0.6  # of the ellipsoid, as a fraction of the published cap
    far: float = 1.02  # depth of the plane behind the cap (published)
    near: float = 0.91  # nearest point of the cap at depth scale 1 (published)
    radius: float = 0.4  # radius of the published sphere cap, scene units
    # Growth of the mask's box at the left, top, right and bottom under the ellipsoid, in parts of its width or height.
    # The box never leaves the image (published: bottom 1/6 for cars).
    box_growth: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    slants_deg: tuple[float, ...] = (0.0,)  # yaw slants tried; the one that the GAN explains best is kept
    slant_steps: int = 60  # of the projector that learns all slants' pseudo samples, where no image encoder judges them
    slant_judged: int = 64  # pseudo samples of each slant by which its projections are judged
    use_depth_network: bool = True  # where a pack carries depth, view and light networks
    pretraining_depth_scales: tuple[float, ...] = ()  # of the pseudo samples in pre-training's rounds 2, 3 ...
    network_depth_scale: float = 1.0  # of the depth network's depth about distance 1, a gauge that images do not fix
    # Slopes of depth downwards, over half the image, per radian of pitch, and to the right per radian of yaw that the
    # view network reads in the input. They make up for the response of projections to view changes, which is below 1.
    network_tilt: tuple[float, float] = (0.0, 0.0)
    fusion_yaws_deg: tuple[float, ...] = ()  # yaws of multi-view fusion; () measures the input alone
    relit_cutoff: float = 0.0  # part of the width below which form is that of relit pictures; 0 does without them
    # Where the initial depth is a depth network's, each stage keeps only a share of its change that is finer than this
    # part of the image's width (sd of a Gaussian), and undoes the coarser rest. 0 keeps everything.
    highpass_cutoff: float = 0.0625
    highpass_share: float = 0.6

    def check(self) -> None:
        need(len(self.slants_deg) > 0, "initial.slants_deg is empty: write [0.0] for no slant")
        need(self.slant_steps >= 0, f"initial.slant_steps={self.slant_steps} is negative")
        need(self.slant_judged > 0, f"initial.slant_judged={self.slant_judged} has to be above 0")
        for name in ("relit_cutoff", "highpass_cutoff", "highpass_share"):
            need(0 <= getattr(self, name) <= 1, f"initial.{name}={getattr(self, name)} has to lie between 0 and 1")


@dataclass(frozen=True)
class ViewPriorConfig(Finite):
    """Target views of pseudo samples in the canonical frame: a Gaussian about `mean`, degrees and scene units."""

    yaw_sd_deg: float = 14.0  # published 10.5, times view_scale 1-1.2
    pitch_sd_deg: float = 6.0  # published .9; synthetic categories have more
    roll_sd_deg: float = 0.0  # published .4
    shift_sd: tuple[float, float] = (0.0, 0.0)  # tx, ty in scene units (published .008, .0005)
    yaw_shift_correlation: float = 0.0  # of yaw and tx (published .998)
    mean_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)  # pitch, yaw, roll (published 2.3, -.9, .1)
    mean_shift: tuple[float, float] = (0.0, 0.0)  # tx, ty (published -.0003, -.0014)
    limit_sd: float = 2.0  # samples lie within this many sd of the mean (published: no limit)

    def check(self) -> None:
        spreads = (self.yaw_sd_deg, self.pitch_sd_deg, self.roll_sd_deg, *self.shift_sd)
        need(min(spreads) >= 0, "standard deviations in views are never negative")
        rho = self.yaw_shift_correlation
        need(-1 <= rho <= 1, f"views.yaw_shift_correlation={rho} has to lie between -1 and 1")
        need(self.limit_sd > 0, f"views.limit_sd={self.limit_sd} has to be above 0")


@dataclass(frozen=True)
class LightPriorConfig(Finite):
    """Target lights of pseudo samples: a box in direction, and a gain that trades ambient for diffuse (published
    `rand_light`, signs ours). A pack's calibration sets them.
    """

    lx: tuple[float, float] = (-1.0, 1.0)  # image-right component of the direction towards the light
    ly: tuple[float, float] = (-0.8, 0.2)  # negative is above
    gain: tuple[float, float] = (-0.1, 0.6)  # r: diffuse + r, ambient + alpha r
    alpha: float = -0.6  # see gain
    mean: tuple[float, float, float, float] = (0.55, 0.67, 0.0, -0.3)  # ambient, diffuse, lx, ly added to L's output


@dataclass(frozen=True)
class NetworkConfig(Finite):
    """The four networks of the scene and the projector E.

    Widths are of the small kind up to resolution 64; above, one strided convolution of the last width is added for
    each doubling.
    """

    kind: str = "small"  # "small": widths below; "published": nn/published_scene_networks.py, which has its own widths
    albedo: str = "quotient"  # "quotient": input / shading, exact at the input; "network": an autoencoder (published)
    autoencoder_channels: tuple[int, ...] = (24, 48, 96, 96)  # strided convolutions of depth and albedo
    code_dim: int = 128  # bottleneck of depth and albedo
    encoder_channels: tuple[int, ...] = (24, 48, 96, 96)  # strided convolutions of view, light and E
    encoder_dim: int = 192  # width before the last linear layer of view, light and E
    angle_range_deg: float = 60.0  # V's tanh times this (published)
    shift_range: float = 0.1  # V's tx, ty in scene units (published)

    def check(self) -> None:
        sizes = (*self.autoencoder_channels, *self.encoder_channels, self.code_dim, self.encoder_dim)
        need(min(sizes) > 0, "sizes in networks have to be above 0")
        is_empty = not (self.autoencoder_channels and self.encoder_channels)
        need(not is_empty, "networks.autoencoder_channels and networks.encoder_channels need a width at least")
        need(self.albedo in ("quotient", "network"), f"networks.albedo={self.albedo} is unknown: quotient or network")
        need(self.kind in ("small", "published"), f"networks.kind={self.kind} is unknown: small or published")


@dataclass(frozen=True)
class InvertConfig(Finite):
    """W inversion of the input (Karras et al. 2020, section 5, without noise optimisation)."""

    n_steps: int = 300  # Adam steps
    n_starts: int = 64  # random latents ranked by the loss before the descent
    n_tracks: int = 4  # best starts that are optimised side by side
    lr: float = 0.05  # decayed to 0 over the second half by a cosine
    pixel_weight: float = 2.0  # masked L1
    feature_weight: float = 1.0  # L1 of the discriminator's first blocks
    encoder: str = ""  # whose rows of W+ give the start: a file of `gan2shape train-encoder`; the pack's unless given

    def check(self) -> None:
        need(0 < self.n_tracks <= self.n_starts, "invert.n_tracks has to lie between 1 and invert.n_starts")
        need(self.n_steps >= 0 and self.lr > 0, "invert.n_steps is never negative, and invert.lr above 0")


@dataclass(frozen=True)
class StepConfig(Finite):
    """Counts and weights of the three steps of a stage. Counts of steps are by stage; the last value repeats."""

    n_albedo: tuple[int, ...] = (80,)  # step 1
    n_projection: tuple[int, ...] = (120, 60)  # step 2
    n_joint: tuple[int, ...] = (400,)  # step 3
    n_collect: int = 128  # projected samples kept for step 3
    batch: int = 16  # pseudo samples per step (published 8-16)
    projection_batch: int | None = None  # the same where E learns (step 2 and the choice of a slant); None: `batch`
    lr: float = 1e-3  # Adam of every network (published 1e-4 over 10 x the steps)
    lr_decay_from: float = 0.6  # a step's learning rate falls linearly to 0 after this fraction of it; 1: it stays
    betas: tuple[float, float] = (0.9, 0.99)  # Adam
    weight_decay: float = 0.0  # of Adam in every step, added to the gradient (published 5e-4)
    pixel_weight: float = 1.0  # masked L1
    feature_weight: float = 0.0  # discriminator features in steps 1 and 3 (published: LPIPS .5)
    mask_weight: float = 0.2  # of the warped canonical mask beyond the projected sample's mask, step 3
    # Canonical pixels that a compared pixel shows; less is stretched over what is hidden. 0 compares all.
    min_visible_area: float = 0.7
    smooth_weight: float = 0.1  # mean |second difference| of depth over its half-range, times (resolution / 64)^2
    shading_smooth_weight: float = 0.0  # the same of the diffuse shading max(0, n . l) of the input, in [0, 1]
    projection_feature_weight: float = 1.0  # discriminator features in step 2
    n_feature_blocks: int = 3  # first discriminator blocks that are compared, as far as there are so many (published 4)
    latent_weight: float = 1.0  # mean |offset|^2 in units of w's standard deviation; rung C chooses it
    residual_kept: float = 0.3  # part of what the pack's encoder misses in the input that far projections keep
    mapping_tail: int = 0  # last mapping layers the offset passes (published F1_d = 2, which is 3 of 8); 0: added to w
    relative_encoder: bool = True  # E's output for the input is subtracted (published: faces and cats, not cars)
    view_pull: float = 0.3  # weight of |V - target view|^2 in step 3, fading to 0 over `pull_fraction`
    light_pull: float = 0.3  # the same for light
    view_spread_weight: float = 0.3  # of keeping the spread of estimated views at that of target ones, step 3
    pull_fraction: float = 0.5  # part of step 3 over which both pulls fade
    flip_weight: float = 0.0  # of reconstructing samples with mirrored depth and albedo too, step 3 of stage 1

    def check(self) -> None:
        need(min(self.batch, self.n_collect) > 0, "steps.batch and steps.n_collect have to be above 0")
        is_batch = self.projection_batch is None or self.projection_batch > 0
        need(is_batch, f"steps.projection_batch={self.projection_batch} has to be above 0")
        for name in ("n_albedo", "n_projection", "n_joint"):
            need(len(getattr(self, name)) > 0, f"steps.{name} is empty: write one number for all stages")
        counts = (*self.n_albedo, *self.n_projection, *self.n_joint, self.mapping_tail)
        need(min(counts) >= 0, "numbers of steps and layers in steps are never negative")
        need(self.n_feature_blocks > 0, f"steps.n_feature_blocks={self.n_feature_blocks} has to be above 0")
        need(self.weight_decay >= 0, f"steps.weight_decay={self.weight_decay} is negative")
        need(self.lr > 0, f"steps.lr={self.lr} has to be above 0")
        need(all(0 <= beta < 1 for beta in self.betas), f"steps.betas={self.betas} have to lie in [0, 1)")

    @property
    def learnt_at_once(self) -> int:
        """Pseudo samples of one step of E."""
        return self.batch if self.projection_batch is None else self.projection_batch

    def count(self, name: str, stage: int) -> int:
        """Steps of "albedo", "projection" or "joint" in a stage, counted from 0."""
        by_stage = getattr(self, f"n_{name}")
        return by_stage[min(stage, len(by_stage) - 1)]


@dataclass(frozen=True)
class MeshConfig(Finite):
    """The mesh that is exported; nothing of the method depends on it."""

    subdivide: int = 0  # times that the grid (128 points in a row, or the resolution where that is more) is doubled
    back: str = "open"  # "open"; closed behind by "cap", "mirror", "symmetric" (export/mesh_back.py)
    # The object's yaw against the camera, for "symmetric". None: what the pack's view network reads in the input.
    symmetry_yaw_deg: float | None = None
    formats: tuple[str, ...] = ()  # files beside the GLBs: "obj" (with mtl and png), "ply", "stl"
    # By Open3D (extra `open3d`), in this order (export/mesh_open3d.py):
    cleanup: bool = False  # duplicate, degenerate and non-manifold parts go, holes are filled
    poisson_depth: int = 0  # of the octree of a Poisson reconstruction of the closed mesh, 8 for example; 0: none
    max_faces: int = 0  # decimation to so many triangles; 0: none

    @property
    def needs_open3d(self) -> bool:
        """Whether anything is asked for that Open3D does."""
        return bool(self.cleanup or self.poisson_depth or self.max_faces)

    def check(self) -> None:
        need(0 <= self.subdivide <= 3, f"mesh.subdivide={self.subdivide} has to lie between 0 and 3")
        backs, formats = ("open", "cap", "mirror", "symmetric"), ("obj", "ply", "stl")
        need(self.back in backs, f"mesh.back={self.back} is unknown: {', '.join(backs)}")
        is_known = self.poisson_depth == 0 or 4 <= self.poisson_depth <= 10
        need(is_known, f"mesh.poisson_depth={self.poisson_depth} has to lie between 4 and 10, or to be 0")
        is_closed = self.back != "open"
        need(is_closed or not self.poisson_depth, "mesh.poisson_depth needs a closed mesh: choose mesh.back=mirror")
        need(self.max_faces == 0 or self.max_faces >= 20, f"mesh.max_faces={self.max_faces} is below 20")
        unknown = [name for name in self.formats if name not in formats]
        need(not unknown, f"mesh.formats={unknown} is unknown: {', '.join(formats)}")


@dataclass(frozen=True)
class AblationConfig(Finite):
    """What only experiments turn (docs/trials.md, docs/results.md)."""

    depth: str = "network"  # "network": an autoencoder; "pyramid": free grids, coarse to fine, no network
    pyramid_resolutions: tuple[int, ...] = (4, 8, 16, 32, 64)  # of the grids; those above the render's are left out
    pyramid_gain: float = 3.0  # of the pyramid's values: how far one step of `steps.lr` moves them
    learn_from_inversion: bool = True  # the shape explains G(w); the texture is the input's own all the same
    pack_encoder: bool = True  # E adds to the change that the pack's encoder sees; False: E alone (published)
    refine_steps: int = 0  # Adam steps on w after E, for each collected sample
    estimate_views: bool = True  # V estimates each sample's view in step 3; False: it is the target view
    view_self_weight: float = 0.0  # weight of reading the views of renders of the current shape, step 3
    restore_gauge: bool = True  # after step 3, bring depth scale and sideways tilt back to the initial ones
    fit_steps: int = 600  # most Adam steps that fit the depth network: rung O0, fit_ellipsoid (published 1000)
    fit_ellipsoid: bool = False  # the depth network is fitted to the ellipsoid, as published, instead of adding to it
    losses: str = "visible"  # "visible": shape/losses.py; "published": shape/published_losses.py

    def check(self) -> None:
        need(len(self.pyramid_resolutions) > 0, "ablation.pyramid_resolutions is empty")
        need(self.depth in ("network", "pyramid"), f"ablation.depth={self.depth} is unknown: network or pyramid")
        known = ("visible", "published")
        need(self.losses in known, f"ablation.losses={self.losses} is unknown: visible or published")
        need(min(self.refine_steps, self.fit_steps) >= 0, "numbers of steps in ablation are never negative")


@dataclass(frozen=True)
class ShapeConfig(Finite):
    """Everything one reconstruction needs besides the prior and the image."""

    category: str = "car"  # names a pack and a YAML
    preset: str = "draft"  # names a YAML
    seed: int = 0  # of the method's own random numbers
    # Albedo -> projection -> joint, repeated (published 4). None: 1 from an ellipsoid, and 0 from a pack's networks,
    # which already learnt from thousands of such stages; one more (preset full) adds fine form.
    n_stages: int | None = None
    steps_scale: float = 1.0  # times every number of steps, collected samples, starts and tracks (`scaled`)
    files: str = "all"  # what is written: "all"; "few": mesh, depth, arrays, and two pictures for an index
    render: RenderConfig = field(default_factory=RenderConfig)
    initial: InitialShapeConfig = field(default_factory=InitialShapeConfig)
    views: ViewPriorConfig = field(default_factory=ViewPriorConfig)
    lights: LightPriorConfig = field(default_factory=LightPriorConfig)
    networks: NetworkConfig = field(default_factory=NetworkConfig)
    invert: InvertConfig = field(default_factory=InvertConfig)
    steps: StepConfig = field(default_factory=StepConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)

    def check(self) -> None:
        need(0 <= self.seed <= GREATEST_SEED, f"seed={self.seed} has to lie between 0 and {GREATEST_SEED}")
        need(self.n_stages is None or self.n_stages >= 0, f"n_stages={self.n_stages} is negative")
        need(self.steps_scale > 0, f"steps_scale={self.steps_scale} has to be above 0")
        need(self.files in ("all", "few"), f"files={self.files} is unknown: all or few")
        is_mixed = self.networks.kind == "published" and self.ablation.depth == "pyramid"
        need(not is_mixed, "networks.kind=published has a depth network of its own: leave ablation.depth away")

    def stages_from(self, network: bool) -> int:
        """How many stages are run, from a depth network or from an ellipsoid."""
        return int(not network) if self.n_stages is None else self.n_stages

    def scaled(self) -> "ShapeConfig":
        """The configuration with `steps_scale` worked in: never below 1, collected samples never below the batch.

        Counts of 0 stay 0.
        """

        def fewer(n: int, least: int = 1) -> int:
            return 0 if n == 0 else max(min(n, least), round(self.steps_scale * n))

        steps, invert, ablation = self.steps, self.invert, self.ablation
        counts = {name: tuple(map(fewer, getattr(steps, name))) for name in ("n_albedo", "n_projection", "n_joint")}
        return replace(
            self,
            steps_scale=1.0,
            initial=replace(self.initial, slant_steps=fewer(self.initial.slant_steps)),
            steps=replace(steps, **counts, n_collect=fewer(steps.n_collect, steps.batch)),
            invert=replace(invert, **{n: fewer(getattr(invert, n)) for n in ("n_steps", "n_starts", "n_tracks")}),
            ablation=replace(ablation, **{n: fewer(getattr(ablation, n)) for n in ("refine_steps", "fit_steps")}),
        )
