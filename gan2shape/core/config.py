"""Typed configuration: the one source of defaults. YAML files hold only what differs from here.

Units are in the names: `_deg` degrees, `_px` pixels, `n_` counts. Light ranges are in house signs (a lamp above has ly
< 0), so the published constants enter with lx and ly negated (`reference`: GAN2Shape `rand_light`, `view_mvn`,
`light_mvn`).
"""

import math
from dataclasses import dataclass, field, fields

GREATEST_SEED = 2**63 - 1  # that torch takes


def need(condition: bool, sentence: str) -> None:
    """Raises ValueError with the sentence where the condition does not hold (`compose` makes it a UserError)."""
    if not condition:
        raise ValueError(sentence)


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
    """Camera and canvas of the canonical height field."""

    size: int = 64  # side of every render, pixels (published: 128)
    fov_deg: float = 10.0  # field of view of the pinhole camera (published)
    depth_half_range: float = 0.1  # canonical depth lives in 1 +- this (published .9-1.1)

    def check(self) -> None:
        need(0 < self.fov_deg < 90, f"render.fov_deg={self.fov_deg} has to lie between 0 and 90")
        need(
            0 < self.depth_half_range < 1, f"render.depth_half_range={self.depth_half_range} has to lie between 0 and 1"
        )


@dataclass(frozen=True)
class PriorShapeConfig(Finite):
    """The ellipsoid that starts the loop (published: near .91, far 1.02 from the mask's box)."""

    relief: float = 0.6  # depth of the cap as a fraction of the published one; chosen per category on validation
    far: float = 1.02  # depth of the sheet behind the cap (published)
    near: float = 0.91  # nearest point of the cap at relief 1 (published)
    radius: float = 0.4  # radius of the published sphere cap, scene units
    slants_deg: tuple[float, ...] = (0.0,)  # yaw slants tried; the one whose step-3 residual is least is kept
    pretrained: bool = True  # start from the depth, view and light networks that a pack carries, where it does
    pretrained_relief_gain: float = 1.0  # times their relief, which samples do not tell; chosen on validation
    # Slopes of depth downwards, over half the image, per radian of pitch, and to the right per radian of yaw that their
    # view network reads in the input: projections follow turns in part, which leaves shapes too upright and too much
    # like one seen from the front; chosen on validation.
    pretrained_tilt: tuple[float, float] = (0.0, 0.0)
    # Yaws under which the generator shows the object, for the pack's networks to measure it there too; () measures the
    # input alone. Chosen on validation.
    turns_deg: tuple[float, ...] = ()
    # What stages change of the start more coarsely than this part of the image's side (sd of a Gaussian) is undone
    # after each where these networks were the start, and of the rest a share is kept: one object's projections tell
    # fine form, with noise. 0 keeps everything. Chosen on validation.
    kept_form: float = 0.0625
    kept_share: float = 0.6
    # Factors on the relief that their training's rounds 2, 3 ... draw, while they learn.
    pretraining_gains: tuple[float, ...] = ()
    fit_steps: int = 600  # most Adam steps of the depth network's fit; it stops earlier on a plateau

    def check(self) -> None:
        need(len(self.slants_deg) > 0, "prior_shape.slants_deg is empty: write [0.0] for no slant")
        need(0 <= self.kept_form <= 1, f"prior_shape.kept_form={self.kept_form} has to lie between 0 and 1")
        need(0 <= self.kept_share <= 1, f"prior_shape.kept_share={self.kept_share} has to lie between 0 and 1")


@dataclass(frozen=True)
class ViewPriorConfig(Finite):
    """Pseudo views: Gaussian perturbations about the input's own view, degrees and scene units."""

    yaw_sd_deg: float = 14.0  # published 10.5, times view_scale 1-1.2
    pitch_sd_deg: float = 6.0  # published .9; synthetic categories have more
    roll_sd_deg: float = 0.0  # published .4
    shift_sd: float = 0.0  # tx, ty in scene units
    limit_sd: float = 2.0  # samples are redrawn beyond this many sd

    def check(self) -> None:
        spreads = (self.yaw_sd_deg, self.pitch_sd_deg, self.roll_sd_deg, self.shift_sd)
        need(min(spreads) >= 0, "standard deviations in views are never negative")
        need(self.limit_sd > 0, f"views.limit_sd={self.limit_sd} has to be above 0")


@dataclass(frozen=True)
class LightPriorConfig(Finite):
    """Pseudo lights: a box in direction, and a gain that trades ambient for diffuse (published `rand_light`, signs
    ours).
    """

    lx: tuple[float, float] = (-1.0, 1.0)  # image-right component of the direction towards the lamp
    ly: tuple[float, float] = (-0.8, 0.2)  # negative is above
    gain: tuple[float, float] = (-0.1, 0.6)  # r: diffuse + r, ambient + alpha r
    alpha: float = -0.6  # see gain
    mean: tuple[float, float, float, float] = (0.55, 0.67, 0.0, -0.3)  # ambient, diffuse, lx, ly added to L's output


@dataclass(frozen=True)
class NetworkConfig(Finite):
    """The four networks of the scene and the projector E (feasibility trial: about 1.5 M parameters together)."""

    depth: str = "network"  # "network": the published autoencoder; "pyramid": free grids, coarse to fine, no network
    pyramid_sides: tuple[int, ...] = (4, 8, 16, 32, 64)  # of the pyramid's grids; sides above the render's are left out
    pyramid_gain: float = 3.0  # of the pyramid's values: how far one step of `steps.lr` moves them
    albedo: str = "quotient"  # "quotient": input / shading, exact at the input; "network": the published autoencoder
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
        need(len(self.pyramid_sides) > 0, "networks.pyramid_sides is empty")
        need(self.albedo in ("quotient", "network"), f"networks.albedo={self.albedo} is unknown: quotient or network")


@dataclass(frozen=True)
class InvertConfig(Finite):
    """W inversion of the input (Karras et al. 2020, section 5, without noise optimisation)."""

    n_steps: int = 300  # Adam steps
    n_starts: int = 64  # random latents ranked by the loss before the descent
    n_tracks: int = 4  # best starts that are optimised side by side
    lr: float = 0.05  # decayed to 0 over the second half by a cosine
    pixel_weight: float = 2.0  # masked L1
    feature_weight: float = 1.0  # L1 of the discriminator's first blocks

    def check(self) -> None:
        need(0 < self.n_tracks <= self.n_starts, "invert.n_tracks has to lie between 1 and invert.n_starts")
        need(self.n_steps >= 0 and self.lr > 0, "invert.n_steps is never negative, and invert.lr above 0")


@dataclass(frozen=True)
class StepConfig(Finite):
    """Counts and weights of the three steps of a stage."""

    n_albedo: int = 80  # step 1
    n_projection: tuple[int, ...] = (120, 60)  # step 2, by stage; the last value repeats
    n_collect: int = 128  # projected samples kept for step 3
    n_joint: int = 400  # step 3
    batch: int = 16  # pseudo samples per step (published 8-16)
    lr: float = 1e-3  # Adam of every network (trial; published 1e-4 over 10 x the steps)
    lr_decay_from: float = 0.6  # a step's learning rate falls linearly to 0 after this fraction of it
    betas: tuple[float, float] = (0.9, 0.99)  # Adam
    pixel_weight: float = 1.0  # masked L1
    # Discriminator features in steps 1 and 3 (published: LPIPS .5). They take more than half of a joint step's time,
    # and more steps bring more: with true views .24 / 5.1 in 400 steps without, .42 / 8.9 in 150 with (SIDE / MAD).
    feature_weight: float = 0.0
    mask_weight: float = 0.2  # of the warped canonical mask beyond the projected sample's mask, step 3
    least_area: float = 0.7  # canonical pixels that a compared pixel shows; less is stretched over what nobody saw
    smooth_weight: float = 0.1  # mean |second difference| of depth over its half-range (.2 erased noses)
    projection_feature_weight: float = 1.0  # discriminator features in step 2
    latent_weight: float = 1.0  # mean |offset|^2 in units of w's standard deviation; rung C chooses it
    pack_encoder: bool = True  # E adds to the change that the pack's encoder sees; False, or without one: E alone
    residual_kept: float = 0.3  # part of what the pack's encoder misses in the input that far projections keep
    mapping_tail: int = 0  # last mapping layers the offset passes (published 2 of 8); 0 adds it to w
    refine_steps: int = 0  # Adam steps on w after E, for each collected sample
    find_views: bool = True  # V finds each sample's view in step 3; False: it is the one that was asked
    view_pull: float = 0.3  # weight of |V - asked view|^2 in step 3, fading to 0 over `pull_fraction`
    light_pull: float = 0.3  # the same for light
    view_spread_weight: float = 0.3  # weight of keeping the spread of found views at that of the asked ones, step 3
    restore_gauge: bool = True  # after step 3, bring the object's relief and sideways tilt back to its start's
    view_self_weight: float = 0.0  # weight of reading the views of drawings of the current shape, step 3
    pull_fraction: float = 0.5  # part of step 3 over which both pulls fade

    def check(self) -> None:
        need(min(self.batch, self.n_collect) > 0, "steps.batch and steps.n_collect have to be above 0")
        need(len(self.n_projection) > 0, "steps.n_projection is empty: write one number for all stages")
        counts = (self.n_albedo, *self.n_projection, self.n_joint, self.mapping_tail, self.refine_steps)
        need(min(counts) >= 0, "numbers of steps and layers in steps are never negative")
        need(self.lr > 0, f"steps.lr={self.lr} has to be above 0")
        need(all(0 <= beta < 1 for beta in self.betas), f"steps.betas={self.betas} have to lie in [0, 1)")


@dataclass(frozen=True)
class ShapeConfig(Finite):
    """Everything one reconstruction needs besides the prior and the image."""

    category: str = "car"  # names a pack and a YAML
    preset: str = "draft"  # names a YAML
    seed: int = 0  # of the method's own random numbers
    learn_from_inversion: bool = True  # the shape explains G(w); the texture is the input's own all the same
    # Albedo -> projection -> joint, repeated (published 4). None: 1 from an ellipsoid, and 0 from a pack's networks,
    # which already learnt from thousands of such stages; one more (preset full) adds fine form.
    n_stages: int | None = None
    render: RenderConfig = field(default_factory=RenderConfig)
    prior_shape: PriorShapeConfig = field(default_factory=PriorShapeConfig)
    views: ViewPriorConfig = field(default_factory=ViewPriorConfig)
    lights: LightPriorConfig = field(default_factory=LightPriorConfig)
    networks: NetworkConfig = field(default_factory=NetworkConfig)
    invert: InvertConfig = field(default_factory=InvertConfig)
    steps: StepConfig = field(default_factory=StepConfig)

    def check(self) -> None:
        need(0 <= self.seed <= GREATEST_SEED, f"seed={self.seed} has to lie between 0 and {GREATEST_SEED}")
        need(self.n_stages is None or self.n_stages >= 0, f"n_stages={self.n_stages} is negative")

    def stages_from(self, pretrained: bool) -> int:
        """How many stages are run."""
        return int(not pretrained) if self.n_stages is None else self.n_stages
