"""The tables of docs/restoration.md and docs/defence.md, in Markdown, from the rows of `gan2shape bench restore` and
`bench defence`.

    python scripts/restoration_tables.py runs/bench-restore-car-val [--count 8] [--seconds]
    python scripts/restoration_tables.py runs/bench-defence-car-val

FOLDER is that of the benchmark, of validation or of test images. A row of restoration counts once it has all of the
first `--count` images of the folder (all that any row has, unless given); those that have fewer are named at the end.
Means with 95 % intervals over images; gains are paired, image by image, with the reference of their task.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan2shape.bench.defence import INPUTS, UNDEFENDED
from gan2shape.bench.inversion_rows import SAMPLE, TURN
from gan2shape.bench.restorations import ABLATIONS, IMAGES_NAME, LADDER, LOSSES, ORDERS, ROWS, reference_of
from gan2shape.core.errors import UserError
from gan2shape.core.files import read_lines
from gan2shape.measure.statistics import mean_interval, paired_interval, wilson_interval
from gan2shape.restoration.tasks import TASKS

COMPARED_BY = {"discriminator": "discriminator", "mse": "squared error", "efficientnet": "EfficientNet"}
FREED = {"progressive": "coarse blocks first", "atonce": "at once"}
FEATURES = re.compile(rf"\w+=dgp\+({'|'.join(LOSSES)})\+({'|'.join(ORDERS)})(\+steps=[\d.]+)?")
FLOOR = re.compile(r"superres:4=pulse\+floor=([\d.]+)")
STEPS = (  # of the ladder
    "the projector: w and noise, features",
    "without noise",
    "rows of W+",
    "and pixels",
    "and the prior on w",
    "and colinearity: BRGM",
)
HOLE, PSNR, TURNED = "hole_psnr_db", "psnr_db", "turned_psnr_db"
TRAITS = {"paint_lab": "paint", "skin_tone": "skin", "hair_tone": "hair"}  # what the attribute network reads
FIT_SLACK = 1.05  # of PULSE's bound: the descent ends where it is met but for so much
Cell = Callable[[str], str]


@dataclass(frozen=True)
class Rows:
    """The numbers of the first images of a folder, by row and seed."""

    by_row: dict[str, dict[int, dict]]  # rows that have every image of `seeds`
    seeds: list[int]
    partial: dict[str, int]  # the other rows, and how many images they have
    with_seconds: bool = False

    def values(self, row: str, key: str) -> np.ndarray | None:
        """A number of each image; None where the row has none."""
        lines = self.by_row.get(row, {})
        return np.array([lines[seed][key] for seed in self.seeds]) if lines and key in lines[self.seeds[0]] else None

    def mean(self, row: str, key: str, digits: int = 1, is_bare: bool = False) -> str:
        """Mean and half width, empty where there is no such number. is_bare: without zeros before the point."""
        values = self.values(row, key)
        return "" if values is None else _written(mean_interval(values), digits, is_bare)

    def gain(self, row: str, reference: str, key: str | None = None) -> str:
        """Paired difference to the reference, of the hole where there is one."""
        key = key or (HOLE if self.values(row, HOLE) is not None else PSNR)
        ours, theirs = self.values(row, key), self.values(reference, key)
        is_compared = row != reference and ours is not None and theirs is not None and len(ours) > 1
        return _written(paired_interval(ours, theirs), 1, False) if is_compared else ""


def grouped(folder: Path, lines: list[dict], count: int | None = None, with_seconds: bool = False) -> Rows:
    """Lines of a folder by row and seed. Raises UserError where there are none."""
    by_row: dict[str, dict[int, dict]] = {}
    for line in lines:
        by_row.setdefault(line["row"], {})[line["seed"]] = line
    seeds = sorted({seed for lines in by_row.values() for seed in lines})[:count]
    if not seeds:
        raise UserError(f"{folder} holds no rows: give the --out folder of `gan2shape bench restore`.")
    whole = {row: lines for row, lines in by_row.items() if lines.keys() >= set(seeds)}
    partial = {row: len(lines) for row, lines in by_row.items() if row not in whole}
    return Rows(whole, seeds, partial, with_seconds)


def _written(interval: tuple[float, float], digits: int, is_bare: bool) -> str:
    text = " ± ".join(f"{number:.{digits}f}" for number in interval)
    return _bare(text) if is_bare else text


def _bare(text: str) -> str:
    """Without zeros before the point."""
    return re.sub(r"(?<![\d.])0\.", ".", text)


def table(heads: Iterable[str], lines: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines of Markdown; none without rows. Columns that are empty in every row are left away."""
    heads, lines = list(heads), list(lines)
    shown = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    cells = [[heads[i] for i in shown], ["---"] * len(shown), *([line[i] for i in shown] for line in lines)]
    written = ["| " + " | ".join(row) + " |" for row in cells]
    written[1] = "|" + "---|" * len(shown)
    return [re.sub(r"\|  (?=\|)", "| ", line) for line in written] if lines else []


def restorations(rows: Rows) -> list[str]:
    """One row a task and method, the reference of a task first."""
    plain = [row for row in rows.by_row if not (FEATURES.fullmatch(row) or FLOOR.fullmatch(row) or row in ABLATIONS)]
    plain += [row for row in rows.by_row if row in ROWS and row in ABLATIONS]
    plain = [row for row in plain if row.partition("=")[0] not in (TURN, SAMPLE)]
    tasks = list(dict.fromkeys(row.partition("=")[0] for row in (*ROWS, *plain)))
    order = {row: i for i, row in enumerate(ROWS)}

    def place(row: str) -> tuple[int, bool, int]:
        task = row.partition("=")[0]
        return tasks.index(task), row != reference_of(task), order.get(row, len(order))

    measures = ("PSNR, dB", "in the hole, dB", "perceptual", "identity", *TRAITS.values(), "gain, dB", "s")
    return table(("task = method", *measures), [_restoration(rows, row) for row in sorted(plain, key=place)])


def _restoration(rows: Rows, row: str) -> tuple[str, ...]:
    task, _, method = row.partition("=")
    traits = (rows.mean(row, key) for key in TRAITS)
    perceptual, identity = rows.mean(row, "perceptual", 3, True), rows.mean(row, "identity", 2, True)
    gain = rows.gain(row, reference_of(task))
    seconds = f"{rows.values(row, 'seconds').mean():.1f}" if rows.with_seconds else ""
    pixels = rows.mean(row, PSNR), rows.mean(row, HOLE)
    return (named(task, method), *pixels, perceptual, identity, *traits, gain, seconds)


def named(task: str, method: str) -> str:
    """A row as the docs write it; the method that a task has unless one is named in bold."""
    kind, colon, number = task.partition(":")
    size = {"superres": f" ×{number}", "deblur": f" {number} px"}.get(kind, f" {number.removeprefix('0')}")
    name = "the grey picture" if (kind, method) == ("colorize", "bicubic") else method
    is_default = kind in TASKS and TASKS[kind].method == method
    return f"{kind}{size if colon else ''} = {f'**{name}**' if is_default else name}"


def turned(rows: Rows) -> list[str]:
    """Inversions after an edit."""
    heads = ("inverted by", "picture itself, dB", "turned by 15°, dB", "left as it is, dB", "gain of the turned one")
    return table(
        heads,
        [
            (row.partition("=")[2], rows.mean(row, PSNR), rows.mean(row, TURNED), rows.mean(row, "unturned_psnr_db"),
             rows.gain(row, reference_of(TURN), TURNED))
            for row in _of(rows, TURN)
        ],
    )  # fmt: skip


def samples(rows: Rows) -> list[str]:
    """The generator's own samples, whose latents are known."""
    heads = ("inverted by", "PSNR, dB", "gain, dB", "distance to the true w, standard deviations")
    lines = _of(rows, SAMPLE)
    far = {row: rows.mean(row, "w_distance", 2, True) for row in lines}
    return table(
        heads,
        [
            (row.partition("=")[2], rows.mean(row, PSNR), rows.gain(row, reference_of(SAMPLE)), far[row])
            for row in lines
        ],
    )


def _of(rows: Rows, task: str) -> list[str]:
    found = [row for row in rows.by_row if row.partition("=")[0] == task]
    return sorted(found, key=lambda row: ROWS.index(row) if row in ROWS else len(ROWS))


def features(rows: Rows) -> list[str]:
    """DGP with one data term alone, and both orders of the weights; the gain is against the discriminator, at once."""
    lines = []
    for row in sorted(filter(FEATURES.fullmatch, rows.by_row), key=_feature_place):
        match = FEATURES.fullmatch(row)
        first = re.sub(r"\+\w+\+\w+", f"+{LOSSES[0]}+{ORDERS[1]}", row, count=1)
        value = rows.mean(row, HOLE) or rows.mean(row, PSNR)
        label = (row.partition("=")[0], COMPARED_BY[match[1]], FREED[match[2]])
        perceptual = rows.mean(row, "perceptual", 3, True)
        lines.append((*label, value, perceptual, rows.mean(row, "paint_lab"), rows.gain(row, first)))
    heads = ("task", "compared by", "weights are freed", "PSNR (of the hole), dB", "perceptual", "paint", "gain, dB")
    return table(heads, lines)


def _feature_place(row: str) -> tuple[str, int, int]:
    match = FEATURES.fullmatch(row)
    return row.partition("=")[0], LOSSES.index(match[1]), ORDERS.index(match[2])


def ladder(rows: Rows) -> list[str]:
    """From the StyleGAN2 projector to BRGM."""
    heads = ("step", "PSNR, dB", "perceptual", "identity", "against BRGM, dB")
    lines = [
        (label, rows.mean(row, PSNR), rows.mean(row, "perceptual", 3, True), rows.mean(row, "identity", 2, True),
         rows.gain(row, LADDER[-1]))
        for row, label in zip(LADDER, STEPS, strict=True) if row in rows.by_row
    ]  # fmt: skip
    return table(heads, lines) if len(lines) > 1 else []


def floors(rows: Rows) -> list[str]:
    """PULSE's epsilon and what it is lowered to."""
    found = sorted((float(match[1]), row) for row in rows.by_row if (match := FLOOR.fullmatch(row)))
    lines = []
    for epsilon, row in found:
        errors = rows.values(row, "explained_mse")
        met = f"{int((errors <= FIT_SLACK * epsilon).sum())} of {len(errors)}"
        reached = rows.mean(row, "explained_mse", 5, True), met
        name = f"{epsilon:g}".removeprefix("0")
        lines.append((name, *reached, rows.mean(row, PSNR), rows.mean(row, "identity", 2, True)))
    return table(("epsilon", "squared error of the small picture", "met", "PSNR, dB", "identity"), lines)


def draws(rows: Rows) -> list[str]:
    """How far the answers of a method that gives several are apart."""
    heads = ("task = method", "standard deviation elsewhere", "in the hole")
    found = [row for row in rows.by_row if rows.values(row, "draw_sd") is not None]
    means = {row: [rows.mean(row, key, 4, True) for key in ("draw_sd", "hole_draw_sd")] for row in found}
    return table(heads, [(named(*row.split("=", 1)), *means[row]) for row in found])


def defences(lines: list[dict]) -> list[str]:
    """What is read rightly of each input after each defence, with Wilson's interval."""
    by_row: dict[tuple[str, str], list[dict]] = {}
    for line in lines:
        by_row.setdefault((line["input"], line["row"]), []).append(line)
    found = []
    for (given, row), mine in sorted(by_row.items(), key=lambda item: INPUTS.index(item[0][0])):
        n, n_right = len(mine), round(sum(one["right"] for one in mine))
        low, high = (_bare(f"{end:.2f}") for end in wilson_interval(n_right, n))
        means = (f"{np.mean([one[key] for one in mine]):.1f}" for key in (PSNR, "seconds"))
        near, seconds = ("", "") if row == UNDEFENDED and given == INPUTS[0] else means
        found.append((given, row, str(n), f"{_bare(f'{n_right / n:.2f}')} ({low}-{high})", near, seconds))
    return table(("given", "defence", "n", "read rightly", "PSNR, dB", "s"), found)


SECTIONS = {
    "Restorations": restorations,
    "After an edit": turned,
    "Own samples": samples,
    "What DGP compares, and in which order": features,
    "From the projector to BRGM": ladder,
    "PULSE and its epsilon": floors,
    "Draws of a posterior": draws,
}


def pages(rows: Rows) -> Iterator[str]:
    """Every table that has rows, under its heading."""
    for title, section in SECTIONS.items():
        if lines := section(rows):
            yield "\n".join([f"### {title}, n = {len(rows.seeds)}", "", *lines, ""])
    for row, n in rows.partial.items():
        yield f"left out: {row} has {n} of {len(rows.seeds)} images"


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, help="images, always the first seeds")
    parser.add_argument("--seconds", action="store_true", help="a column of them, as this machine took them")
    options = parser.parse_args()
    try:
        lines = read_lines(options.folder / IMAGES_NAME)
        if lines and "input" in lines[0]:
            print("\n".join(defences(lines)))
        else:
            print("\n".join(pages(grouped(options.folder, lines, options.count, options.seconds))))
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
