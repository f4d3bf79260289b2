"""What varies between faces, and its sampling: ancestry, age, sex, shape, expression, skin, eyes, hair, framing."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from gan2shape.synth.face_assets import face_assets

ANCESTRIES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGES = ("child", "young", "old")

# A target and its opposite make one axis of shape; what is not listed here stands for itself, from 0 up.
OPPOSITES = (("incr", "decr"), ("up", "down"), ("in", "out"), ("forward", "backward"), ("convex", "concave"),
             ("compress", "uncompress"))  # fmt: skip
SHAPE_SD = 0.28  # of an axis of shape, in weights; cut at 1
ASYMMETRY_SD = 0.08  # of the difference between the left and the right half of an axis
LEFT_OUT = ("head/head-trans", "head/head-age", "eyes/*-eye-height", "mouth/mouth-angles",
            "mouth/mouth-lowerlip-middle", "mouth/mouth-upperlip-middle", "chin/chin-jaw-drop", "mouth/mouth-trans-in",
            "nose/nose-trans-in", "ears/*-ear-shape-pointed")  # fmt: skip
SD_OF = {"head/": 0.20, "eyes/*-eye-scale": 0.25, "eyes/*-eye-trans": 0.18, "eyes/*-eye-push": 0.2, "ears/": 0.25,
         "eyes/*-eye-corner": 0.25, "mouth/mouth-scale-depth": 0.2, "mouth/mouth-trans": 0.25, "nose/nose-trans": 0.25,
         "chin/chin-prognathism": 0.2, "eyes/*-eye-epicanthus": 0.2}  # fmt: skip
FORMS_SHARE = 0.25  # how often a target without an opposite (a round head, say) is used at all

SHORT_HAIR = {"short01": 1.0, "short02": 1.0, "short03": 0.4, "short04": 1.0, "afro01": 0.5, "ponytail01": 0.15}
LONG_HAIR = {"bob01": 0.3, "bob02": 0.5, "long01": 1.3, "ponytail01": 1.3, "braid01": 1.0, "afro01": 0.4,
             "short03": 0.2, "short01": 0.3}  # fmt: skip
HAIR_RGB = np.array(
    [[0.07, 0.06, 0.06], [0.13, 0.10, 0.08], [0.24, 0.16, 0.10], [0.35, 0.24, 0.15], [0.42, 0.22, 0.12],
     [0.60, 0.46, 0.28], [0.74, 0.62, 0.44]]
)  # fmt: skip
HAIR_SHARE = {"african": (6, 4, 1, 0.2, 0.1, 0.1, 0.1), "asian": (6, 4, 1, 0.3, 0.1, 0.1, 0.1),
              "caucasian": (1, 2, 3, 3, 1, 2, 1.5)}  # fmt: skip
GREY_RGB = np.array([0.66, 0.66, 0.66])
IRIS_RGB = np.array([[0.16, 0.10, 0.06], [0.27, 0.17, 0.09], [0.36, 0.28, 0.14], [0.30, 0.36, 0.24], [0.30, 0.42, 0.52],
                     [0.42, 0.48, 0.52]])  # fmt: skip
IRIS_SHARE = {"african": (6, 3, 0.3, 0.1, 0, 0), "asian": (5, 4, 0.5, 0.1, 0, 0), "caucasian": (1, 3, 2, 2, 3, 2)}


@dataclass(frozen=True)
class FaceParams:
    """One face. Weights of targets are 0 ... 1; colours in [0, 1] as stored in an image; lengths in decimetres."""

    ancestry: dict[str, float]  # sums to 1
    male: float  # 0 female ... 1 male
    age: dict[str, float]  # sums to 1
    targets: dict[str, float]  # shape and expression
    skins: dict[str, float]  # sums to 1
    skin_tone: tuple[float, float]  # gain on the mixed skin's brightness; warmth, about 0
    gaze_deg: tuple[float, float]  # to the model's left, up
    iris_rgb: tuple[float, float, float]
    hair: str  # a style, or "" for none
    scalp: float  # how much of the painted stubble on the scalp is kept, 0 (bald) ... 1
    hair_rgb: tuple[float, float, float]
    hair_contrast: float  # of the strands
    brow: tuple[float, float]  # thickness (1 is usual), darkness 0 ... 1
    beard: tuple[str, float, float]  # "", "full" or "goatee"; darkness 0 ... 1; length
    lipstick: float  # 0 none ... 1
    lip_rgb: tuple[float, float, float]
    shoulders: bool  # else cut through the neck
    cut_dm: float  # of the neck, below the chin at the neck's middle
    clothes_rgb: tuple[float, float, float]
    collar_dm: tuple[float, float]  # height of the collar's plane at the neck's side, depth of its V at the front
    fill: float  # crown to chin over the picture's height
    offset: tuple[float, float]  # of the head's middle, right and down, over the picture's width
    seed: int  # of the grain of brows and beard


def sample_params(rng: np.random.Generator) -> FaceParams:
    """Sample a face."""
    ancestry = dict(zip(ANCESTRIES, _rounded(rng.dirichlet([0.35] * 3)), strict=True))
    male = round(float(rng.beta(0.3, 0.3)), 4)
    age = _sample_age(rng)
    adult = 1 - age["child"]
    targets = _sample_shape(rng)
    targets.update(_sample_expression(rng))
    origin = max(ancestry, key=ancestry.get)
    hair_rgb = _sample_hair_colour(rng, origin, age)
    style, scalp = _sample_hair(rng, male, age)
    dark, kind = float(rng.uniform(0.15, 0.95)), ""
    if male > 0.5 and adult > 0.6 and rng.uniform() < 0.5:
        kind = str(rng.choice(["full", "full", "goatee"]))
    length = float(rng.uniform(0.0, 0.10)) if kind and dark > 0.6 else 0.0
    red = np.array([0.60, 0.24, 0.25]) + rng.uniform(-0.14, 0.14) + rng.uniform(-0.05, 0.05, 3)
    shade = rng.uniform(0.08, 0.85)
    clothes = np.clip(shade * np.exp(rng.normal(0, 0.35, 3) * rng.integers(0, 2)), 0.04, 0.88)
    dark_skin = ancestry["african"]
    bright = float(np.exp(rng.normal(-0.05 + 0.30 * dark_skin, 0.07 + 0.11 * dark_skin)))
    return FaceParams(
        ancestry=ancestry,
        male=male,
        age=age,
        targets=targets,
        skins=_sample_skins(rng, ancestry, male, age),
        skin_tone=(bright, float(rng.normal(0, 0.03))),
        gaze_deg=(float(rng.normal(0, 7)), float(rng.normal(0, 3))),
        iris_rgb=_colour(rng, IRIS_RGB, IRIS_SHARE[origin], 0.12),
        hair=style,
        scalp=scalp,
        hair_rgb=hair_rgb,
        hair_contrast=float(rng.uniform(0.6, 1.3)),
        brow=(float(rng.uniform(0.6, 1.3) + 0.3 * male), float(rng.uniform(0.45, 0.95))),
        beard=(kind, dark, length),
        lipstick=float(rng.uniform(0.2, 0.9)) if male < 0.5 and adult > 0.6 and rng.uniform() < 0.45 else 0.0,
        lip_rgb=tuple(float(v) for v in np.clip(red, 0.05, 0.85)),
        shoulders=bool(rng.uniform() < 0.65) or (style in LONG_HAIR and style not in SHORT_HAIR),
        cut_dm=float(rng.uniform(-0.05, 0.15)),
        clothes_rgb=tuple(float(v) for v in clothes),
        collar_dm=(float(rng.uniform(5.62, 5.92)), float(max(0.0, rng.normal(0.0, 0.25)))),
        fill=float(np.clip(rng.normal(0.72, 0.03), 0.64, 0.80)),
        offset=(float(rng.normal(0, 0.012)), float(rng.normal(0.0, 0.015))),
        seed=int(rng.integers(1 << 31)),
    )


def macro_weights(params: FaceParams) -> dict[str, float]:
    """Weights of the targets of ancestry, sex and age; they sum to 1."""
    sex = {"female": 1 - params.male, "male": params.male}
    return {
        f"macro/{ancestry}-{name}-{age}": params.ancestry[ancestry] * sex[name] * params.age[age]
        for ancestry in ANCESTRIES
        for name in SEXES
        for age in AGES
    }


@cache
def shape_axes() -> tuple[tuple[str, tuple[str, ...], float], ...]:
    """Axes of shape: name, targets of the positive and, if there is one, negative end, spread. `*` is l and r."""
    names = {name.replace("/l-", "/*-").replace("/r-", "/*-") for name in face_assets().targets}
    axes, seen = [], set()
    for name in sorted(name for name in names if not name.startswith(("macro/", "eyebrows/"))):
        if name in seen or any(name.startswith(word) for word in LEFT_OUT):
            continue
        ends = next(((a, b) for a, b in _ends(name) if a in names and b in names), (name,))
        seen.update(ends)
        axes.append((name, ends, next((sd for word, sd in SD_OF.items() if name.startswith(word)), SHAPE_SD)))
    return tuple(axes)


def _ends(name: str) -> list[tuple[str, str]]:
    """The pairs of opposite ends that a target's name may belong to."""
    stem, _, end = name.rpartition("-")
    return [(f"{stem}-{a}", f"{stem}-{b}") for a, b in OPPOSITES if end in (a, b)]


def _sample_shape(rng: np.random.Generator) -> dict[str, float]:
    weights: dict[str, float] = {}
    for name, ends, sd in shape_axes():
        value, left, right = rng.normal(), rng.normal(), rng.normal()
        if len(ends) == 1:  # a form of its own, used now and then
            _add(weights, ends[0], 0.0 if rng.uniform() > FORMS_SHARE else abs(value) * sd, 0.0, 0.0)
            continue
        skew_left, skew_right = ASYMMETRY_SD * left, ASYMMETRY_SD * right
        for side, skew in (("l", skew_left), ("r", skew_right)) if "*" in name else (("", 0.0),):
            whole = sd * value + skew
            target = ends[0] if whole > 0 else ends[1]
            _put(weights, target.replace("*", side), abs(whole))
    return weights


def _add(weights: dict[str, float], name: str, value: float, left: float, right: float) -> None:
    if value > 0:
        for side, skew in (("l", left), ("r", right)) if "*" in name else (("", 0.0),):
            _put(weights, name.replace("*", side), value + skew)


def _put(weights: dict[str, float], name: str, value: float) -> None:
    value = round(min(max(float(value), 0.0), 1.0), 4)
    if value > 0:
        weights[name] = value


def _sample_expression(rng: np.random.Generator) -> dict[str, float]:
    """Smile, jaw, lips, lids and brows, and small sideways shifts of nose and mouth."""
    weights: dict[str, float] = {}
    smile = float(np.clip(rng.normal(0.35, 0.45), -0.6, 1.0))
    _axis(weights, "mouth/mouth-angles-{}", ("up", "down"), smile)
    _put(weights, "mouth/mouth-dimples-in", max(smile, 0.0) * rng.uniform(0, 0.8))
    _put(weights, "mouth/mouth-laugh-lines-in", max(smile, 0.0) * rng.uniform(0, 1))
    _put(weights, "chin/chin-jaw-drop-incr", max(rng.normal(-0.1, 0.45), 0.0))
    opening = max(rng.normal(-0.2, 0.5), 0.0)
    _put(weights, "mouth/mouth-lowerlip-middle-down", opening)
    _put(weights, "mouth/mouth-upperlip-middle-up", opening * rng.uniform(0, 1))
    lids = rng.normal(0, 0.4)
    for side in ("l", "r"):
        own = lids + rng.normal(0, 0.08)
        for part in (1, 2, 3):
            _axis(weights, f"eyes/{side}-eye-height{part}-{{}}", ("incr", "decr"), own + rng.normal(0, 0.08))
    _axis(weights, "eyebrows/eyebrows-trans-{}", ("up", "down"), rng.normal(0, 0.4))
    _axis(weights, "eyebrows/eyebrows-angle-{}", ("up", "down"), rng.normal(0, 0.25))
    _axis(weights, "eyebrows/eyebrows-trans-{}", ("forward", "backward"), rng.normal(0, 0.3))
    _axis(weights, "mouth/mouth-trans-{}", ("in", "out"), rng.normal(0, 0.08))
    _axis(weights, "nose/nose-trans-{}", ("in", "out"), rng.normal(0, 0.06))
    return weights


def _axis(weights: dict[str, float], name: str, ends: tuple[str, str], value: float) -> None:
    _put(weights, name.format(ends[0] if value > 0 else ends[1]), abs(value))


def _sample_age(rng: np.random.Generator) -> dict[str, float]:
    if rng.uniform() < 0.10:
        child = float(rng.uniform(0.35, 0.85))
        return dict(zip(AGES, _rounded(np.array([child, 1 - child, 0.0])), strict=True))
    old = float(rng.uniform() ** 1.6)
    return dict(zip(AGES, _rounded(np.array([0.0, 1 - old, old])), strict=True))


def _sample_skins(
    rng: np.random.Generator, ancestry: dict[str, float], male: float, age: dict[str, float]
) -> dict[str, float]:
    """Two or three skins that suit ancestry, sex and age, mixed."""
    years = {"young": age["child"] + max(age["young"] - age["old"], 0), "middleage": 2 * min(age["young"], age["old"]),
             "old": max(age["old"] - age["young"], 0)}  # fmt: skip
    names, scores = face_assets().skins, []
    for name in names:
        time, origin, sex = name.split("_")[:3]
        if origin in ancestry:
            own = ancestry[origin]
        else:
            own = ancestry["african"] if origin == "darkskinned" else (ancestry["caucasian"] + ancestry["asian"]) / 2
        scores.append((own**2 + 1e-4) * (years[time] + 0.02) * (male if sex.startswith("male") else 1 - male + 0.002))
    scores = np.array(scores) + 1e-12
    chosen = rng.choice(len(names), size=3, replace=False, p=scores / scores.sum())
    return dict(zip((names[i] for i in chosen), _rounded(rng.dirichlet([1.0] * 3)), strict=True))


def _sample_hair(rng: np.random.Generator, male: float, age: dict[str, float]) -> tuple[str, float]:
    styles = SHORT_HAIR if rng.uniform() < (0.93 if male > 0.5 else 0.12) else LONG_HAIR
    share = np.array(list(styles.values()))
    style = str(rng.choice(list(styles), p=share / share.sum()))
    without = 0.28 + 0.1 * age["old"] if male > 0.5 else 0.05
    bald = rng.uniform() < without * (1 - age["child"])
    return ("", float(np.clip(rng.uniform(-0.4, 1.2), 0, 1))) if bald else (style, 1.0)


def _sample_hair_colour(rng: np.random.Generator, origin: str, age: dict[str, float]) -> tuple[float, float, float]:
    colour = np.array(_colour(rng, HAIR_RGB, HAIR_SHARE[origin], 0.15))
    grey = np.clip((age["old"] - 0.45) * 2 + rng.normal(0, 0.3), 0, 1)
    return tuple(float(v) for v in colour + grey * (GREY_RGB * rng.uniform(0.6, 1.25) - colour))


def _colour(rng: np.random.Generator, palette: np.ndarray, share: tuple, sd: float) -> tuple[float, float, float]:
    """A colour between two of the palette, each chosen by its share."""
    p = np.array(share) / np.sum(share)
    a, b = rng.choice(len(palette), p=p), rng.choice(len(palette), p=p)
    mixed = palette[a] + rng.uniform() * 0.5 * (palette[b] - palette[a])
    colour = mixed * np.exp(rng.normal(0, sd) + rng.normal(0, sd / 4, 3))
    return tuple(float(v) for v in np.clip(colour, 0.02, 0.9))


def _rounded(weights: np.ndarray) -> list[float]:
    """Four decimals, summing to exactly what they summed to."""
    out = np.round(weights, 4)
    out[np.argmax(out)] += 1 - out.sum()
    return [float(v) for v in out]
