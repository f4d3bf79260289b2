"""`gan2shape bench restore`: every optimiser beside its reference, on exam images that the prior never saw.

A row is a task and a method (`superres:4=brgm`). Images are degraded here, restored, and compared with the clean ones;
the numbers of each image go to `images.jsonl` in the output folder as soon as they are known, so that an interrupted
run continues. Differences are paired with the reference of the same task.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines, read_lines, to_json, write_text_atomic
from gan2shape.core.images import resized, to_uint8, write_png
from gan2shape.core.progress import Reporter, silent
from gan2shape.measure.attributes import AttributeNetwork, bundled_attributes, differences, identity
from gan2shape.measure.perceptual import load_perceptual, perceptual_distance
from gan2shape.measure.statistics import mean_interval, paired_interval
from gan2shape.prior.packs import Prior
from gan2shape.restore.choice import Choice, chosen
from gan2shape.restore.feedforward import open_restorer
from gan2shape.restore.restoration import restore_images
from gan2shape.restore.tasks import parse_damage

IMAGES_NAME = "images.jsonl"
AT_ONCE = 8  # images that are solved together where the generator's weights are fixed
COUNT = 8  # images unless a number is given
REFERENCES = {"reconstruct": "w", "colorize": "bicubic", "inpaint": "tv", "superres": "bicubic", "denoise": "tv",
              "deblur": "tv", "hybrid": "bicubic", "blind": "bicubic"}  # fmt: skip
ROWS = (
    *(f"reconstruct={m}" for m in ("z", "w", "wplus", "i2s", "i2spp", "projector", "pti", "dgp")),
    *(f"superres:4={m}" for m in ("bicubic", "tv", "dip", "pulse", "brgm", "dgp", "dgpmse")),
    *(f"superres:8={m}" for m in ("bicubic", "tv", "dip", "pulse", "brgm", "dgp", "dgpmse")),
    *(f"inpaint={m}" for m in ("tv", "dip", "brgm", "i2spp", "pti", "dgp")),
    *(f"colorize={m}" for m in ("bicubic", "brgm", "pti", "dgp")),
    *(f"denoise:0.2={m}" for m in ("tv", "dip", "brgm")),
    *(f"deblur:2={m}" for m in ("tv", "dip", "brgm")),
    *(f"hybrid={m}" for m in ("bicubic", "brgm", "dgp")),
    *(f"blind:2={m}" for m in ("bicubic", "tv", "brgm")),
)
Judge = Callable[[Tensor, Tensor], Tensor]
READ = ("heading_deg", "paint_lab", "skin_tone", "hair_tone")  # of the attributes that are read, where there are such
NUMBERS = ("psnr_db", "ssim", "hole_psnr_db", "perceptual", "identity", *READ, "seconds")


def run_restorations(
    request: BenchRequest, split: str, rows: tuple[str, ...], folder: Path, report: Reporter = silent
) -> list[dict]:
    """Table rows over the first `request.count` images of a split.

    Raises UserError for unknown tasks and methods, and for a folder of other settings.
    """
    category = exam_category(request)
    items = exam_objects(category, split, request.count or COUNT)
    wanted = [_parsed(row) for row in rows or ROWS]
    opened, _ = open_measured(request)
    prior = opened.prior
    clean = resized(torch.cat([item.image for item in items]), prior.resolution).to(prior.w_mean.device)
    done = {(row["row"], row["seed"]): row for row in read_lines(folder / IMAGES_NAME)}
    judge, reader = _judge(prior), _reader(category, prior)
    recipes = _recipes(wanted, prior)  # first: a network that is missing should not be noticed hours later
    for number, (name, task, choice) in enumerate(wanted):
        missing = [i for i, item in enumerate(items) if (name, item.seed) not in done]
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            made = measured(clean[some], task, choice, prior, judge, reader)
            for i, numbers in zip(some, made, strict=True):
                row = {"row": name, "seed": items[i].seed, **numbers}
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
    return row, task, chosen(method, parse_damage(task).task)


def _recipes(wanted: list[tuple[str, str, Choice]], prior: Prior) -> dict[str, dict]:
    """The whole method of each row; of a trained restorer what it was trained for."""
    found = {}
    for name, task, choice in wanted:
        if isinstance(choice.method, str):
            found[name] = asdict(open_restorer(choice.method, parse_damage(task), prior).config)
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
) -> list[dict[str, float]]:
    """The numbers of each image."""
    encoder = choice.opened_encoder(prior)
    restored = restore_images(clean, parse_damage(task), choice.method, prior, degrade=True, encoder=encoder)
    numbers = {key: restored.numbers[key] for key in NUMBERS if key in restored.numbers}
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


def summary(name: str, done: dict[tuple[str, int], dict], seeds: list[int]) -> dict:
    """Means with 95 % intervals, and paired differences of PSNR to the reference of the task."""
    task, mine = name.partition("=")[0], [done[name, seed] for seed in seeds]
    row: dict = {"row": name, "n": len(mine)}
    for key in NUMBERS:
        if key in mine[0]:
            mean, half = mean_interval(np.array([one[key] for one in mine]))
            row |= {key: mean} if key == "seconds" else {key: mean, f"{key}_ci95": half}
    reference = f"{task}={REFERENCES[parse_damage(task).task]}"
    others = [done.get((reference, seed)) for seed in seeds]
    if reference != name and all(others) and len(mine) > 1:
        key = "hole_psnr_db" if "hole_psnr_db" in mine[0] else "psnr_db"
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
        restored = restore_images(clean, parse_damage(task), choice.method, prior, degrade=True, encoder=encoder)
        if task != last:
            given = resized(restored.observed, prior.resolution, "bicubic").clamp(-1, 1)
            lines.append(to_uint8(given))
        lines.append(to_uint8(restored.image))
        last = task
    pixels = np.concatenate([np.concatenate(list(line), 1) for line in lines], 0)
    return write_png(path, pixels.repeat(2, 0).repeat(2, 1))

