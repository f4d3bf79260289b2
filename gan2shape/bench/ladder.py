"""The oracle ladder: which part limits the result?

    flat, ellipsoid  nothing is learnt: the scale of the numbers
    O0  the depth network fitted to the true depth: the limit of the parametrisation
    O1  true renders with true views and lights -> step 3: height field, renderer, optimiser
    O2  true renders, views and lights estimated from nothing, from the slant that explains them best: the gauges
    O3  true renders, projected by G and E, then as O2: the GAN and E
    O4  pseudo samples of the true shape, projected: the same through our renderer
    C   pseudo samples of the ellipsoid, projected, against true renders of the same view and light: does a projection
        correct the shape?
    O5  the real loop

Rungs O3 and above are in `ladder_gan`. Each rung is a function ExamObject -> scores. No test object is used here.
"""

import time

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject
from gan2shape.bench.score import score_object_depth
from gan2shape.bench.truth import TrueViews, true_views
from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.seeding import seeded
from gan2shape.invert.loop import Plan, Plateau, Stage, Step, optimise
from gan2shape.invert.schedules import linear_fall
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.shape.ellipsoid import best_slant, ellipsoid_depth, ellipsoid_model, flat_depth
from gan2shape.shape.gauge import flat_base
from gan2shape.shape.stages import JointOptions, joint_step
from gan2shape.shape.state import Samples, SceneModel, Target, target_from

N_TRUE_VIEWS = 160  # true renders an object
N_SLANT_STEPS = 120  # of step 3 from each slanted ellipsoid, before the one that explains the renders best goes on
VIEW_SEED_OFFSET = 77  # the ladder's views come from the object's seed plus this


def target_of(item: ExamObject) -> Target:
    """The exam image with its true mask, as the input of rungs O0-O2."""
    return target_from(item.image, item.mask)


def score(item: ExamObject, depth: Float[Tensor, "1 1 S S"], started_s: float) -> dict[str, float]:
    """Scores of a depth map for this object, with the seconds since `started_s`."""
    return {**score_object_depth(item, depth), "seconds": time.perf_counter() - started_s}


def new_model(config: ShapeConfig) -> SceneModel:
    """Networks with seeded weights, at a plane."""
    with seeded(config.seed):
        networks = SceneNetworks(config)
    return SceneModel(networks, flat_base(config.render.resolution))


def as_samples(truth: TrueViews) -> Samples:
    """True renders in the place of projected samples."""
    return Samples(truth.images, truth.masks, truth.views, truth.lights)


def rung_flat(item: ExamObject, config: ShapeConfig, report: Reporter = silent) -> dict[str, float]:
    """A plane."""
    return score(item, flat_depth(item.mask), time.perf_counter())


def rung_ellipsoid(item: ExamObject, config: ShapeConfig, report: Reporter = silent) -> dict[str, float]:
    """The scaled ellipsoid, analytic, without slant."""
    started = time.perf_counter()
    return score(item, ellipsoid_depth(item.mask, config.initial, config.render.fov_deg), started)


def rung_o0(item: ExamObject, config: ShapeConfig, report: Reporter = silent) -> dict[str, float]:
    """The depth network fitted to the true depth (the plane behind the object at the object's farthest depth)."""
    started = time.perf_counter()
    inside = item.mask > 0.5
    target_depth = torch.where(inside, item.depth, item.depth[inside].max())
    model = new_model(config)
    fit_depth(model, target_of(item), target_depth, config, report)
    with torch.no_grad():
        return score(item, model.depth(item.image), started)


def fit_depth(
    model: SceneModel, target: Target, target_depth: Float[Tensor, "1 1 S S"], config: ShapeConfig, report: Reporter
) -> None:
    """Fit the depth network to `target_depth` (up to its mean, a gauge) until it stops improving."""
    steps = config.steps

    def loss_of(step: Step) -> Tensor:
        error = (model.depth(target.image) - target_depth) / config.render.depth_half_range
        return (error - error.mean()).square().mean()

    rate, stop = linear_fall(steps.lr, steps.lr_decay_from), Plateau(after=steps.lr_decay_from)
    plan = Plan((Stage("fit", config.ablation.fit_steps, rate, stop=stop),), steps.betas)
    optimise(model.networks.depth_net.parameters(), loss_of, plan, report=report)


def _from_true_renders(
    item: ExamObject,
    config: ShapeConfig,
    options: JointOptions,
    report: Reporter,
    slants_deg: tuple[float, ...] = (0.0,),
) -> dict[str, float]:
    """Step 3 on true renders, from the ellipsoid with the slant whose short step 3 leaves the least residual."""
    started = time.perf_counter()
    target = target_of(item)
    samples = as_samples(true_views(item, N_TRUE_VIEWS, item.seed + VIEW_SEED_OFFSET))

    def learnt_from(slant_deg: float, n_steps: int) -> tuple[SceneModel, float]:
        model = ellipsoid_model(new_model(config), item.mask, config, slant_deg)
        rng = torch.Generator().manual_seed(config.seed)
        return model, joint_step(model, target, samples, None, config, options, rng, report, n_steps)

    chosen_deg = slants_deg[0]
    if len(slants_deg) > 1:
        chosen_deg = best_slant(slants_deg, [learnt_from(slant_deg, N_SLANT_STEPS)[1] for slant_deg in slants_deg])
    model, _ = learnt_from(chosen_deg, config.steps.count("joint", 0))
    with torch.no_grad():
        return {**score(item, model.depth(item.image), started), "slant_deg": chosen_deg}


def rung_o1(item: ExamObject, config: ShapeConfig, report: Reporter = silent) -> dict[str, float]:
    """True renders, true views and lights, the input's own included."""
    known = JointOptions(estimate_views=False, estimate_lights=False, own_light=item.light)
    return _from_true_renders(item, config, known, report)


def rung_o2(item: ExamObject, config: ShapeConfig, report: Reporter = silent) -> dict[str, float]:
    """True renders; views and lights estimated from nothing: no pull, no true value anywhere."""
    return _from_true_renders(item, config, JointOptions(estimate_views=True), report, config.initial.slants_deg)


TRUE_RUNGS = {"flat": rung_flat, "ellipsoid": rung_ellipsoid, "O0": rung_o0, "O1": rung_o1, "O2": rung_o2}
