"""`gan2shape bench ladder`: run rungs over validation objects and gather rows."""

from gan2shape.bench import ladder, ladder_gan
from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import table_row
from gan2shape.compose import nearest
from gan2shape.config import ShapeConfig
from gan2shape.measure.statistics import mean_interval
from gan2shape.progress import Reporter, silent
from gan2shape.records import UserError
from gan2shape.shape.observe import MaskedGenerator
from gan2shape.shape.reconstruct import open_bundled

COUNT_TRUE, COUNT_GAN = 8, 4  # objects of the rungs without and with a GAN
ORDER = (*ladder.TRUE_RUNGS, "O3", "O4", "C", "O5")


def main(
    category: str,
    rungs: tuple[str, ...] = (),
    count: int | None = None,
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    report: Reporter = silent,
    preset: str = "draft",
) -> list[dict]:
    """Rows of the asked rungs (all unless given) on the first validation objects. Raises UserError for an unknown
    rung.
    """
    for rung in rungs:
        if rung not in ORDER:
            raise UserError(f"unknown rung {rung!r}{nearest(rung, ORDER)}")
    generator, config = open_bundled(category, preset, overrides, device)
    rows = []
    for rung in rungs or ORDER:
        if rung in ladder.TRUE_RUNGS:
            items = exam_objects(category, "val", count or COUNT_TRUE)
            scores = [ladder.TRUE_RUNGS[rung](item, config, report) for item in items]
            rows.append(table_row(rung, category, "val", preset, scores, seeds=[item.seed for item in items]))
        else:
            rows += gan_rows(rung, category, preset, config, count or COUNT_GAN, generator, report)
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
    items = exam_objects(category, "val", count)
    benches = [ladder_gan.open_bench(item, generator, config, report) for item in items]
    results = [ladder_gan.RUNGS[rung](bench) for bench in benches]
    if rung == "C":
        return [_row_c(results, category, preset)]
    if rung == "O5":
        return [table_row(f"O5 {name}", category, "val", preset, [one[name] for one in results]) for name in results[0]]
    return [table_row(rung, category, "val", preset, results)]


def _row_c(results: list[dict[str, float]], category: str, preset: str) -> dict:
    """Rung C has distances instead of shape errors."""
    row = {"method": "C", "category": category, "split": "val", "preset": preset, "n": len(results)}
    for name in results[0]:
        row[name], half = mean_interval([one[name] for one in results])
        if name.startswith("gain"):
            row[f"{name}_ci"] = half
    return row
