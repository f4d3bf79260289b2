"""`gan2shape bench defence`: what a restoration takes away of an attack on the body-style classifier (Pan et al. 2020).

A row is a method of restoration, with the data term at which each of its stages ends: `dgp:0.7`. Ending early is the
defence: an image of the generator that comes near enough to show the object, and not near enough to show the attack.
The attack knows the classifier and not the purification; one through the purification may succeed, and is not made.

Numbers of each image go to `images.jsonl` in the output folder as soon as they are known; a second call goes on there.
"""

import time
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gan2shape.bench.attacks import Classifier, fgsm, pgd
from gan2shape.bench.exam import ExamObject, exam_objects
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines, read_lines, to_json, write_text_atomic
from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter, silent
from gan2shape.invert.method import MethodConfig
from gan2shape.measure.attributes import bundled_attributes
from gan2shape.measure.metrics import psnr_db
from gan2shape.measure.statistics import wilson_interval
from gan2shape.prior.packs import Prior
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage
from gan2shape.restoration.variants import load_variant

IMAGES_NAME = "images.jsonl"
AT_ONCE = 8  # images that are solved together where the generator's weights are fixed
COUNT = 16  # images unless a number is given
UNDEFENDED = "none"
TASK = "reconstruct"
ROWS = (UNDEFENDED, "tv", "dip", "w", "dgp:1.0", "dgp:0.7", "dgp:0.5")
INPUTS = ("clean", "fgsm", "pgd")


def run_defence(
    request: BenchRequest,
    split: str,
    rows: tuple[str, ...],
    inputs: tuple[str, ...],
    folder: Path,
    report: Reporter = silent,
) -> list[dict]:
    """Accuracy of the category's style classifier on each of `inputs` (all unless given) after each row's method, over
    the first `request.count` images of a split.

    Raises UserError for unknown rows and inputs, and for a category whose network reads no styles.
    """
    category, wanted, inputs = exam_category(request), [_parsed(row) for row in rows or ROWS], inputs or INPUTS
    for name in inputs:
        if name not in INPUTS:
            raise UserError(f"unknown input {name!r}: give {', '.join(INPUTS)}.")
    items = exam_objects(category, split, request.count or COUNT)
    prior = open_measured(request)[0].prior
    network = bundled_attributes(category, prior.w_mean.device)
    labels = labels_of(items, network.config.styles).to(prior.w_mean.device)
    clean = resized(torch.cat([item.image for item in items]), prior.resolution).to(prior.w_mean.device)

    def classifier(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B K"]:
        return network(images)[2]

    given = {name: attacked_by(name, classifier, clean, labels) for name in inputs}
    done = {(row["row"], row["input"], row["seed"]): row for row in read_lines(folder / IMAGES_NAME)}
    for number, (name, method) in enumerate(wanted):
        for kind, images in given.items():
            missing = [i for i, item in enumerate(items) if (name, kind, item.seed) not in done]
            for start in range(0, len(missing), AT_ONCE):
                some = missing[start : start + AT_ONCE]
                made = judged(images[some], clean[some], labels[some], method, prior, classifier)
                for i, numbers in zip(some, made, strict=True):
                    row = {"row": name, "input": kind, "seed": items[i].seed, **numbers}
                    append_lines(folder / IMAGES_NAME, [row])
                    done[name, kind, items[i].seed] = row
        report("rows", number + 1, len(wanted))
    table = [summary(name, done, inputs, [item.seed for item in items]) for name, _ in wanted]
    write_text_atomic(folder / "rows.json", to_json(table, indent=1))
    return table


def _parsed(row: str) -> tuple[str, MethodConfig | None]:
    """(the row's name, its method; None where nothing is done)."""
    if row == UNDEFENDED:
        return row, None
    name, colon, number = row.partition(":")
    method = load_variant(name, TASK)
    try:
        stop_at = float(number) if colon else 0.0
    except ValueError as error:
        raise UserError(f"{row!r} is no row: write METHOD or METHOD:STOP, for example dgp:0.7.") from error
    return row, replace(method, stop_at=stop_at) if colon else method


def labels_of(items: list[ExamObject], styles: tuple[str, ...]) -> Int[Tensor, " N"]:
    """The number of each object's style. Raises UserError where the network reads none, or other ones."""
    true = [item.labels.get("style", "") for item in items]
    if not set(true) <= set(styles):
        raise UserError("The network of this category reads no styles that an attack could change: use --category car.")
    return torch.tensor([styles.index(style) for style in true])


def attacked_by(
    name: str, classifier: Classifier, clean: Float[Tensor, "N 3 S S"], labels: Int[Tensor, " N"]
) -> Float[Tensor, "N 3 S S"]:
    """The images of one of INPUTS."""
    attack = {"clean": lambda *_: clean, "fgsm": fgsm, "pgd": pgd}[name]
    return attack(classifier, clean, labels)


def purified(images: Float[Tensor, "B 3 S S"], method: MethodConfig | None, prior: Prior) -> Float[Tensor, "B 3 S S"]:
    """What a method makes of images that it takes for whole ones; themselves without a method."""
    return images if method is None else restore_images(images, Damage(TASK), method, prior).image


def judged(
    images: Float[Tensor, "B 3 S S"],
    clean: Float[Tensor, "B 3 S S"],
    labels: Int[Tensor, " B"],
    method: MethodConfig | None,
    prior: Prior,
    classifier: Classifier,
) -> list[dict[str, float]]:
    """Of each image: whether it is read rightly once it is purified, how likely its true class seems, how near it comes
    to the clean one, and the seconds.
    """
    began = time.perf_counter()
    made = purified(images, method, prior)
    seconds = (time.perf_counter() - began) / len(images)
    with torch.no_grad():
        logits = classifier(made)
    likely = logits.softmax(1)[torch.arange(len(labels)), labels].tolist()
    right = (logits.argmax(1) == labels).float().tolist()
    near = psnr_db(made, clean, torch.ones_like(clean[:, :1]) > 0).tolist()
    return [
        {"right": right[i], "likelihood": likely[i], "psnr_db": near[i], "seconds": seconds} for i in range(len(right))
    ]


def summary(
    name: str, done: dict[tuple[str, str, int], dict], inputs: tuple[str, ...], seeds: list[int]
) -> dict[str, float | str]:
    """One row: the part of each input that is read rightly with its 95 % interval, and means of the rest."""
    row: dict[str, float | str] = {"defence": name, "n": len(seeds)}
    for kind in inputs:
        mine = [done[name, kind, seed] for seed in seeds]
        n_right = round(sum(one["right"] for one in mine))
        row[kind] = n_right / len(mine)
        row[f"{kind}_low"], row[f"{kind}_high"] = wilson_interval(n_right, len(mine))
        if name != UNDEFENDED or kind != "clean":  # infinite otherwise
            row[f"{kind}_psnr_db"] = sum(one["psnr_db"] for one in mine) / len(mine)
    every = [done[name, kind, seed]["seconds"] for kind in inputs for seed in seeds]
    return {**row, "seconds": sum(every) / len(every)}
