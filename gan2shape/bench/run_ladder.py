"""`gan2shape bench ladder`: run rungs over validation objects and gather rows."""

from dataclasses import replace

from gan2shape.bench import ladder, ladder_gan
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.score import of_flat, table_row
from gan2shape.core.compose import nearest
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.progress import Reporter, silent
from gan2shape.measure.statistics import mean_interval
from gan2shape.prior.masked_generator import MaskedGenerator

COUNT_TRUE, COUNT_GAN = 8, 4  # objects of the rungs without and with a GAN
ORDER = (*ladder.TRUE_RUNGS, "O3", "O4", "C", "O5")


def run_ladder(request: BenchRequest, rungs: tuple[str, ...] = (), report: Reporter = silent) -> list[dict]:
    """Rows of the given rungs (all unless given) on the first validation objects.

    Raises UserError for an unknown rung, and for a generator that cannot be measured or that none of them uses.
    """
    for rung in rungs:
        if rung not in ORDER:
            raise UserError(f"unknown rung {rung!r}{nearest(rung, ORDER)}")
    if request.generator is not None and rungs and set(rungs) <= set(ladder.TRUE_RUNGS):
        raise UserError(f"No generator takes part in {', '.join(rungs)}: leave --generator away, or name O3 and above.")
    category, preset, count = exam_category(request), request.preset, request.count
    opened, config = open_measured(replace(request, category=category))
    rows = []
    for rung in rungs or ORDER:
        if rung in ladder.TRUE_RUNGS:
            items = exam_objects(category, "val", count or COUNT_TRUE, config.render.resolution)
            learnt = ladder.TRUE_RUNGS[rung]
            scores = [of_flat(learnt(item, config, report), ladder.rung_flat(item, config)) for item in items]
            rows.append(table_row(rung, category, "val", preset, scores, seeds=[item.seed for item in items]))
        else:
            rows += gan_rows(rung, category, preset, config, count or COUNT_GAN, opened, report)
    return rows


def gan_rows(
    rung: str,
    category: str,
    preset: str,
    config: ShapeConfig,
    count: int,
    generator: MaskedGenerator,
    report: Reporter,
) -> list[dict]:
    """Rows of one rung that needs a GAN: one, or for O5 one per stage."""
    items = exam_objects(category, "val", count, config.render.resolution)
    benches = [ladder_gan.open_bench(item, generator, config, report) for item in items]
    results = [ladder_gan.RUNGS[rung](bench) for bench in benches]
    if rung == "C":
        return [_row_c(results, category, preset)]
    flats = [ladder.rung_flat(item, config) for item in items]
    stages = {f"O5 {name}": [one[name] for one in results] for name in results[0]} if rung == "O5" else {rung: results}
    return [
        table_row(name, category, "val", preset, [of_flat(*pair) for pair in zip(scores, flats, strict=True)])
        for name, scores in stages.items()
    ]


def _row_c(results: list[dict[str, float]], category: str, preset: str) -> dict:
    """Rung C has distances instead of shape errors."""
    row = {"method": "C", "category": category, "split": "val", "preset": preset, "n": len(results)}
    for name in results[0]:
        row[name], half = mean_interval([one[name] for one in results])
        if name.startswith("gain"):
            row[f"{name}_ci"] = half
    return row
