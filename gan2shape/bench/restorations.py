"""`gan2shape bench restore`: every optimiser beside its reference, on exam images that the prior never saw.

A row is a task and a method (`superres:4=brgm`) or a variant of it (`inpaint=dgp+mse+progressive`); of the tasks `turn`
and `sample` see bench/inversion_rows.py. Images are degraded here, restored, and compared with the clean ones; the
numbers of each image go to `images.jsonl` in the output folder as soon as they are known, so that an interrupted
run continues. Differences are paired with the reference of the same task.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.inversion_rows import SAMPLE, TURN, distance_to, own_samples, turned_numbers
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines, read_lines, to_json, write_text_atomic
from gan2shape.core.images import resized, to_uint8, write_png
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.terms import averaged
from gan2shape.measure.attributes import AttributeNetwork, bundled_attributes, differences, identity
from gan2shape.measure.perceptual import load_perceptual, perceptual_distance
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.prior.identity import generator_hash
from gan2shape.prior.packs import Prior
from gan2shape.restoration.choice import Choice, chosen
from gan2shape.restoration.feedforward import open_restorer
from gan2shape.restoration.restore import Restored, restore_images
from gan2shape.restoration.tasks import Damage, parse_damage

IMAGES_NAME = "images.jsonl"
COUNT = 8  # images unless a number is given
REFERENCES = {"reconstruct": "w", "colorize": "bicubic", "inpaint": "tv", "superres": "bicubic", "denoise": "tv",
              "deblur": "tv", "hybrid": "bicubic", "blind": "bicubic", TURN: "w", SAMPLE: "w"}  # fmt: skip
ROWS = (
    *(f"reconstruct={m}" for m in ("z", "w", "wplus", "i2s", "i2spp", "projector", "pti", "dgp")),
    *(f"superres:4={m}" for m in ("bicubic", "tv", "dip", "pulse", "brgm", "dgp", "dgpmse")),
    *(f"superres:8={m}" for m in ("bicubic", "tv", "dip", "pulse", "brgm", "dgp", "dgpmse")),
    *(f"inpaint={m}" for m in ("tv", "dip", "brgm", "brgmvi", "i2spp", "pti", "dgp")),
    *(f"colorize={m}" for m in ("bicubic", "brgm", "pti", "dgp")),
    *(f"denoise:0.2={m}" for m in ("tv", "dip", "brgm")),
    *(f"deblur:2={m}" for m in ("tv", "dip", "brgm")),
    *(f"hybrid={m}" for m in ("bicubic", "brgm", "dgp")),
    *(f"blind:2={m}" for m in ("bicubic", "tv", "brgm")),
    *(f"{TURN}={m}" for m in ("z", "w", "wplus", "i2spp", "pti", "dgp")),
    *(f"{SAMPLE}={m}" for m in ("z", "w", "wplus", "i2spp", "pti", "dgp")),
)
LOSSES, ORDERS = ("discriminator", "mse", "efficientnet"), ("progressive", "atonce")
LADDER = (  # the projector becomes BRGM, a step a row (Marinescu et al. 2021); all see what a box has shrunk, as BRGM
    *(f"superres:4={m}" for m in ("projector+box", "projector-noise_regulariser+w+box")),
    *(f"superres:4={m}" for m in ("brgm-pixel_l2-w_prior-colinearity", "brgm-w_prior-colinearity")),
    *(f"superres:4={m}" for m in ("brgm-colinearity", "brgm")),
)
FLOORS = tuple(f"superres:4=pulse+floor={epsilon}" for epsilon in (0.0005, 0.001, 0.002, 0.004))  # PULSE's epsilon
ABLATIONS = (  # not among the rows unless they are named
    *(f"{task}=dgp+{loss}+{order}" for task in ("colorize", "inpaint") for loss in LOSSES for order in ORDERS),
    *LADDER,
    *FLOORS,
)
Judge = Callable[[Tensor, Tensor], Tensor]
READ = ("heading_deg", "paint_lab", "skin_tone", "hair_tone")  # of the attributes that are read, where there are such
NUMBERS = (
    "psnr_db", "ssim", "hole_psnr_db", "perceptual", "identity", *READ, "turned_psnr_db", "unturned_psnr_db",
    "w_distance", "explained_mse", "draw_sd", "hole_draw_sd", "seconds",
)  # fmt: skip


def run_restorations(
    request: BenchRequest, split: str, rows: tuple[str, ...], folder: Path, report: Reporter = silent
) -> list[dict]:
    """Table rows over the first `request.count` images of a split.

    Raises UserError for unknown tasks and methods, and for a folder with rows of other images or another generator.
    """
    category = exam_category(request)
    items = exam_objects(category, split, request.count or COUNT)
    wanted = [_parsed(row) for row in rows or ROWS]
    opened, _ = open_measured(request)
    prior = opened.prior
    clean = resized(torch.cat([item.image for item in items]), prior.resolution).to(prior.w_mean.device)
    known, own = read_lines(folder / IMAGES_NAME), f"{category} {split} {generator_hash(prior.generator)}"
    if any(row.get("of", own) != own for row in known):
        raise UserError(f"{folder} holds rows of other images or of another generator: choose another --out.")
    done = {(row["row"], row["seed"]): row for row in known}
    judge, reader = _judge(prior), _reader(category, prior)
    recipes = _recipes(wanted, prior)  # first: a network that is missing should not be noticed hours later
    for number, (name, task, choice) in enumerate(wanted):
        missing = [i for i, item in enumerate(items) if (name, item.seed) not in done]
        for start in range(0, len(missing), choice.at_once):
            some = missing[start : start + choice.at_once]
            made = measured(clean[some], task, choice, prior, judge, reader, [items[i] for i in some])
            for i, numbers in zip(some, made, strict=True):
                row = {"row": name, "seed": items[i].seed, "of": own, **numbers}
                append_lines(folder / IMAGES_NAME, [row])
                done[name, items[i].seed] = row
        report("rows", number + 1, len(wanted))
    table = [summary(name, done, [item.seed for item in items]) for name, _, _ in wanted]
    write_text_atomic(folder / "rows.json", to_json({"rows": table, "methods": recipes}, indent=1))
    return table


def _parsed(row: str) -> tuple[str, str, Choice]:
    task, equals, method = row.partition("=")
    if not equals:
        raise UserError(f"{row!r} is no row: write TASK=METHOD, for example superres:4=brgm.")
    return row, task, chosen(method, damage_of(task).task)


def damage_of(task: str) -> Damage:
    """What is done to the images of a row; nothing for those of inversions."""
    return parse_damage("reconstruct" if task in (TURN, SAMPLE) else task)


def reference_of(task: str) -> str:
    """The row that gains are paired with."""
    return f"{task}={REFERENCES[task if task in REFERENCES else damage_of(task).task]}"


def _recipes(wanted: list[tuple[str, str, Choice]], prior: Prior) -> dict[str, dict]:
    """The whole method of each row; of a trained restorer what it was trained for."""
    found = {}
    for name, task, choice in wanted:
        if isinstance(choice.method, str):
            found[name] = asdict(open_restorer(choice.method, damage_of(task), prior).config)
        else:
            found[name] = asdict(choice.method) | ({} if choice.encoder is None else {"encoder": choice.encoder})
    return found


def _judge(prior: Prior) -> Judge | None:
    """The perceptual distance, which is a loss of none of these methods; None where its network is not installed."""
    try:
        network = load_perceptual(prior.w_mean.device)
    except UserError:
        return None
    return lambda image, truth: perceptual_distance(network, image, truth)


def _reader(category: str, prior: Prior) -> AttributeNetwork | None:
    """What reads heading, traits and identity; None for a category that has none, where they cannot be compared."""
    try:
        return bundled_attributes(category, prior.w_mean.device)
    except UserError:
        return None


def measured(
    clean: Float[Tensor, "B 3 S S"],
    task: str,
    choice: Choice,
    prior: Prior,
    judge: Judge | None,
    reader: AttributeNetwork | None,
    items: list[ExamObject],
) -> list[dict[str, float]]:
    """The numbers of each image."""
    encoder, true_w = choice.opened_encoder(prior), None
    if task == SAMPLE:
        clean, true_w = own_samples([item.seed for item in items], prior)
    restored = restore_images(clean, damage_of(task), choice.method, prior, degrade=True, encoder=encoder)
    numbers = {key: restored.numbers[key] for key in NUMBERS if key in restored.numbers}
    numbers["explained_mse"] = explained(restored)
    if true_w is not None and restored.solved.w is not None:
        numbers["w_distance"] = distance_to(restored.solved.w, true_w, prior)
    if restored.draws is not None:
        numbers |= draw_spread(restored)
    if task == TURN:
        numbers |= turned_numbers(restored, items, prior)
    if judge is not None:
        with torch.no_grad():
            numbers["perceptual"] = judge(restored.image, clean).tolist()
    if reader is not None:
        with torch.no_grad():
            ours, theirs = reader.read(restored.image), reader.read(clean)
        apart = {key: value for key, value in differences(ours, theirs).items() if key in READ}
        numbers |= {key: value.tolist() for key, value in {"identity": identity(ours, theirs), **apart}.items()}
    numbers["seconds"] = [restored.seconds / len(clean)] * len(clean)
    return [{key: values[i] for key, values in numbers.items()} for i in range(len(clean))]


def draw_spread(restored: Restored) -> dict[str, list[float]]:
    """Standard deviation of the draws, of values in [-1, 1], mean over pixels; in the hole and elsewhere where there is
    one.
    """
    deviation = restored.draws.std(1).mean(1, keepdim=True)
    if restored.hole is None:
        return {"draw_sd": deviation.mean((1, 2, 3)).tolist()}
    inside = restored.hole.to(deviation)
    regions = {"hole_draw_sd": inside, "draw_sd": 1.0 - inside}
    return {name: averaged(deviation, region).tolist() for name, region in regions.items()}


def explained(restored: Restored) -> list[float]:
    """Mean squared difference between what was observed and the degraded result, of images in [0, 1]: PULSE's epsilon
    is a bound of it.
    """
    seen = restored.solved.seen
    observed = resized(restored.observed, seen.shape[-1], "bilinear")
    return ((seen - observed) / 2).square().mean((1, 2, 3)).tolist()


def summary(name: str, done: dict[tuple[str, int], dict], seeds: list[int]) -> dict:
    """Means with 95 % intervals, and paired differences of PSNR to the reference of the task."""
    task, mine = name.partition("=")[0], [done[name, seed] for seed in seeds]
    row: dict = {"row": name, "n": len(mine)}
    for key in NUMBERS:
        if key in mine[0]:
            mean, half = mean_interval(np.array([one[key] for one in mine]))
            row |= {key: mean} if key == "seconds" else {key: mean, f"{key}_ci95": half}
    reference = reference_of(task)
    others = [done.get((reference, seed)) for seed in seeds]
    if reference != name and all(others) and len(mine) > 1:
        key = next(key for key in ("hole_psnr_db", "turned_psnr_db", "psnr_db") if key in mine[0])
        gain, half = paired_interval(np.array([one[key] for one in mine]), np.array([one[key] for one in others]))
        row |= {"gain_db": gain, "gain_db_ci95": half, "against": reference}
    return row


def sheet(request: BenchRequest, split: str, rows: tuple[str, ...], path: Path, count: int = 6) -> Path:
    """The first images of a split, uncurated: clean, then for each row what was given (once a task) and the result."""
    category = exam_category(request)
    prior = open_measured(request)[0].prior
    clean = resized(torch.cat([item.image for item in exam_objects(category, split, count)]), prior.resolution)
    lines, last = [to_uint8(clean)], None
    for _, task, choice in (_parsed(row) for row in rows):
        encoder = choice.opened_encoder(prior)
        restored = restore_images(clean, damage_of(task), choice.method, prior, degrade=True, encoder=encoder)
        if task != last:
            given = resized(restored.observed, prior.resolution, "bicubic").clamp(-1, 1)
            lines.append(to_uint8(given))
        lines.append(to_uint8(restored.image))
        last = task
    pixels = np.concatenate([np.concatenate(list(line), 1) for line in lines], 0)
    return write_png(path, pixels.repeat(2, 0).repeat(2, 1))

