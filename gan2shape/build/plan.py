"""What `gan2shape build CATEGORY` is going to do: steps, seconds, disk (`build.costs`)."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gan2shape.bench.exam import LEAST_SIZE
from gan2shape.build.costs import COSTS
from gan2shape.build.requests import BuildRequest
from gan2shape.checkpoints.open import CARD_NAME, PACK_NAME
from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.core.progress import format_seconds
from gan2shape.core.resources import exam_dir, known_categories
from gan2shape.measure.attributes import ATTRIBUTES_NAME
from gan2shape.nn.confidence import CONFIDENCE_NAME
from gan2shape.nn.editing import EDITING_NAME
from gan2shape.prior.calibration import read_calibration
from gan2shape.prior.packs import read_card, read_tensors
from gan2shape.prior.scene import NETWORK_NAME
from gan2shape.synth.registry import get_category

STEPS = (
    "gan", "masks", "scene", "outlines", "symmetry", "relief", "calibration", "attributes", "confidence", "editing",
    "card",
)  # fmt: skip
OPTIONAL = ("outlines", "symmetry", "relief")  # made only where `--only` names them


@dataclass(frozen=True)
class PlannedStep:
    """One step, before it begins."""

    name: str
    is_to_do: bool
    note: str  # what is there, or what is made
    seconds: float = 0.0
    disk_bytes: int = 0


@dataclass(frozen=True)
class BuildPlan:
    """All steps in order."""

    pack: Path
    work: Path
    steps: tuple[PlannedStep, ...]
    closing: tuple[str, ...] = ()  # sentences: what the times are for, what makes it shorter

    @property
    def to_do(self) -> tuple[str, ...]:
        """Names of the steps that will be made."""
        return tuple(step.name for step in self.steps if step.is_to_do)

    @property
    def seconds(self) -> float:
        """Expected wall time."""
        return sum(step.seconds for step in self.steps)

    @property
    def disk_bytes(self) -> int:
        """Further disk that will be used, in both folders together."""
        return sum(step.disk_bytes for step in self.steps)

    def lines(self) -> list[str]:
        """The plan for people."""
        lines = [f"{'pack':12s} {self.pack}", f"{'work':12s} {self.work}"]
        for step in self.steps:
            cost = f"about {format_seconds(step.seconds)}, {format_bytes(step.disk_bytes)}; " if step.is_to_do else ""
            lines.append(f"{step.name:12s} {cost}{step.note}")
        total = f"about {format_seconds(self.seconds)}, {format_bytes(self.disk_bytes)}"
        return [*lines, f"{'in all':12s} {total if self.to_do else 'nothing to do'}", *self.closing]

    def as_json(self) -> dict[str, Any]:
        """Plain types for `--json`."""
        return {**asdict(self), "seconds": self.seconds, "disk_bytes": self.disk_bytes}


# What `--only` makes anew with a step, because it describes that step's result.
MADE_ANEW = dict.fromkeys(STEPS, ()) | {
    "masks": ("card",),
    "scene": ("calibration", "confidence", "editing", "card"),
    "outlines": ("calibration", "confidence", "editing"),
    "symmetry": ("calibration", "confidence", "editing"),
    "relief": ("calibration", "confidence", "editing"),
}


def plan_build(request: BuildRequest) -> BuildPlan:
    """Which steps are done, and what the others cost. Writes nothing but a temporary file.

    Raises UserError for an unknown category, step or setting, a damaged pack, and a part that has to come first.
    """
    check_request(request)
    config, found = request.training(), found_parts(request.pack, request.category)
    only = tuple(step for step in STEPS if step in request.only or any(step in MADE_ANEW[one] for one in request.only))
    known = {step: step in found and (step == "gan" or step not in only) for step in STEPS}
    unfit = "" if "card" in request.only else no_exam(request.category, config.generator.resolution)
    skipped = ("card",) * bool(unfit) + (() if only else OPTIONAL)
    wanted = [step for step in only or STEPS if not (known[step] or step in skipped)]
    for step in OPTIONAL:
        if step in wanted and step in found and "scene" not in wanted:  # what it began with is no more
            raise UserError(
                f"The scene networks of {request.pack} have learnt {step} already: make both anew with "
                f"--only scene --only {step}."
            )
    first = {"masks": "gan", "scene": "masks", "outlines": "scene", "calibration": "gan", "confidence": "scene"}
    first |= {"symmetry": "scene", "relief": "scene", "editing": "scene", "card": "masks"}
    for step in wanted:
        need = first.get(step)
        if need is not None and need not in found and need not in wanted:
            raise UserError(
                f"Step {step} needs step {need} first: run `gan2shape build {request.category} --only {need}`."
            )
    steps = []
    for step in STEPS:
        if step in wanted:
            seconds, disk, note = COSTS[step](request, config)
            steps.append(PlannedStep(step, True, note, round(seconds, 1), disk))
        else:
            why = unfit if step == "card" else f": --only {step} makes it" if step in OPTIONAL else ""
            steps.append(PlannedStep(step, False, found.get(step) or f"left out{why}"))
    return BuildPlan(request.pack, request.folder, tuple(steps))


def check_request(request: BuildRequest) -> None:
    """Raises UserError for an unknown category or step and for numbers that cannot be."""
    if request.category not in known_categories():
        raise UserError(f"unknown category {request.category!r}{nearest(request.category, known_categories())}")
    get_category(request.category)
    for step in request.only:
        if step not in STEPS:
            raise UserError(f"unknown step {step!r}{nearest(step, STEPS)}")
    if "symmetry" in request.only and not get_category(request.category).learns_by_mirror:
        raise UserError(
            f"Mirror images do not teach the depth of {request.category}, whose objects are not symmetric or turn too "
            "far: leave --only symmetry out."
        )
    if request.teacher is not None:
        if request.grow is not None:
            raise UserError("--grow and --teacher both name the pack to begin at: leave one of them out.")
        if "scene" not in found_parts(request.teacher, category_of(request.teacher, request.category)):
            raise UserError(f"{request.teacher} has no scene networks to begin at: name a whole pack as --teacher.")
    if request.images < 1 or request.kimg <= 0:
        raise UserError("There is nothing to learn from: --images and --kimg have to be above 0.")


def category_of(pack: Path, category: str) -> str:
    """What a pack's card says, else `category`."""
    return read_card(pack / CARD_NAME).get("category", category)


def found_parts(pack: Path, category: str) -> dict[str, str]:
    """Steps whose result is in a pack's folder, each with what is known of it. Raises UserError for a damaged pack."""
    files = {"attributes": ATTRIBUTES_NAME, "confidence": CONFIDENCE_NAME, "editing": EDITING_NAME}
    beside = {step: "done" for step, name in files.items() if (pack / name).is_file()}
    if not (pack / PACK_NAME).is_file():
        return beside
    tensors, card = read_tensors(pack / PACK_NAME)[0], read_card(pack / CARD_NAME)
    if card.get("category", category) != category:
        raise UserError(f"{pack} is a pack of {card['category']}, not of {category}: choose another folder with --out.")
    version, now = card.get("objects_version", 1), get_category(category).version
    if version != now:
        raise UserError(
            f"{pack} was trained on version {version} of the {category} objects and their seeds draw version {now}: "
            "build another pack with --out."
        )
    networks = {name.split("/")[1] for name in tensors if name.startswith("networks/")}
    kimg = card.get("training", {}).get("kimg")
    found = {"gan": "done" + (f" ({kimg:g} thousand images shown)" if isinstance(kimg, int | float) else "")}
    parts = {
        "masks": "mask" in networks,
        "scene": NETWORK_NAME in networks,
        "outlines": "outlines" in card,
        "symmetry": "symmetry" in card,
        "relief": "relief" in card,
        "calibration": read_calibration(pack).depth_scale is not None,
        "card": "measured" in card,
    }
    return found | beside | {step: "done" for step, is_there in parts.items() if is_there}


def no_exam(category: str, resolution: int) -> str:
    """Why a generator of this resolution has no card: there is no exam, or it is too small; empty if it has one."""
    if not (exam_dir() / category).is_dir():
        return ": there is no exam"
    return "" if resolution >= LEAST_SIZE else f": the exam needs images of at least {LEAST_SIZE} x {LEAST_SIZE}"


def check_disk(plan: BuildPlan, folder: Path) -> None:
    """Raises UserError where `folder`, which exists, has less free space than the plan needs."""
    free = shutil.disk_usage(folder).free
    if free < plan.disk_bytes:
        raise UserError(
            f"The build needs about {format_bytes(plan.disk_bytes)} of disk and {folder} has {format_bytes(free)}: "
            "free some, name another --work, or render fewer --images."
        )


def format_bytes(n: int | float) -> str:
    """`12 MB`, `1.3 GB`."""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"
