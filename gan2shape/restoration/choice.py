"""Who restores: an optimiser of configs/restore, an encoder alone, or a trained restorer; and where optimisers begin.

    dgp, dgp+mse          a method, a variant of it      gpen, FILE.safetensors    a restorer that was trained
    wplus@mean            a method from another start    encoder:psp               the rows of an encoder, no step
    wplus@encoder:psp     a method from an encoder's rows; psp is a name, or the path of a file
"""

from dataclasses import dataclass, replace

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.invert.method import STARTS, MethodConfig
from gan2shape.invert.spaces import parse_space
from gan2shape.nn.latent_encoder import LatentEncoder
from gan2shape.prior.encoders import PREFIX, open_encoder
from gan2shape.prior.packs import Prior
from gan2shape.restoration.feedforward import is_restorer
from gan2shape.restoration.methods import inversion_in
from gan2shape.restoration.tasks import TASKS
from gan2shape.restoration.variants import load_variant

AT = "@"  # between a method and its start
SOLVED_AT_ONCE, ONE_PASS_AT_ONCE = 8, 32  # pictures in a call


@dataclass(frozen=True)
class Choice:
    """What `restore_images` needs besides pictures and prior."""

    method: MethodConfig | str  # the name of a trained restorer
    encoder: str | None = None  # `encoder:NAME`, that gives the start
    pairs: str = ""  # kind of pairs that the encoder has to have learnt from

    @property
    def at_once(self) -> int:
        """How many pictures are solved in one call: one where each has weights of its own."""
        if isinstance(self.method, str) or self.method.steps_factor == 0:
            return ONE_PASS_AT_ONCE
        return 1 if parse_space(self.method.space).is_single else SOLVED_AT_ONCE

    def opened_encoder(self, prior: Prior) -> LatentEncoder | None:
        """The encoder, if there is one. Raises UserError as `open_encoder` does."""
        return None if self.encoder is None else open_encoder(self.encoder, prior, self.pairs)


def chosen(text: str, task: str) -> Choice:
    """What is written, for a task. Raises UserError for unknown methods and starts."""
    name, _, start = text.partition(AT)
    is_learnt = task in TASKS and TASKS[task].is_learnt
    if is_learnt and not name.startswith(PREFIX):
        raise UserError(
            f"{task} is learnt, not solved for: give --method encoder:psp, once `gan2shape train-encoder --kind psp "
            f"task={task}` has made one for the same --category or --generator."
        )
    if name.startswith(PREFIX):
        plain = inversion_in("W+")
        title = f"The rows of W+ that the encoder {name.removeprefix(PREFIX)} gives"
        one_pass = replace(plain, title=title, source="one pass, no step", steps_factor=0.0)
        return Choice(one_pass, name, task if is_learnt else "")
    return started(Choice(name if is_restorer(name) else load_variant(name, task)), start or None)


def started(choice: Choice, start: str | None) -> Choice:
    """The same from another start: one of `STARTS`, or an encoder. Raises UserError for what is neither."""
    if start is None:
        return choice
    if isinstance(choice.method, str):
        raise UserError(f"{choice.method} is one pass and has no start: leave {start} away.")
    if start.startswith(PREFIX):
        return replace(choice, encoder=start)
    if start not in STARTS:
        raise UserError(f"unknown start {start!r}{nearest(start, (*STARTS, f'{PREFIX}FILE'))}")
    return replace(choice, method=replace(choice.method, start=replace(choice.method.start, kind=start)))
