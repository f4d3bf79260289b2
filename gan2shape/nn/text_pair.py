"""A toy pair of networks, one for pictures and one for sentences, whose vectors agree where the sentence is true.

It learns from sentences that are made from synthetic objects' parameters ("a red pickup lit from the left") and knows
the words of those alone. It is NOT CLIP: nothing here has seen a photograph or a sentence that a person wrote.
"""

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from gan2shape.core.compose import nearest
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.latent_encoder import Pyramid, VectorHead

UNSAID = 0  # the token behind a sentence's end
LOG_TEMPERATURE = -2.3  # of the contrast at first: .1


@dataclass(frozen=True)
class TextPairConfig:
    """Sizes, and every word that is known; .9 M parameters, most of them in the pyramid."""

    trunk: DiscriminatorConfig  # of the pyramid that sees pictures
    words: tuple[str, ...]
    n_embedding: int = 64
    hidden: int = 128


class TextPair(nn.Module):
    """`pair.of_images(images)` and `pair.of_text(tokens)` -> vectors of unit length."""

    def __init__(self, config: TextPairConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = Pyramid(config.trunk)
        self.picture = VectorHead(config.trunk.channels[0], config.hidden, 1, config.n_embedding)
        nn.init.normal_(self.picture.out.weight)
        self.word = nn.Embedding(len(config.words) + 1, config.hidden, padding_idx=UNSAID)
        self.sentence = nn.Sequential(
            nn.Linear(config.hidden, config.hidden), nn.LeakyReLU(0.2), nn.Linear(config.hidden, config.n_embedding)
        )
        self.log_temperature = nn.Parameter(torch.tensor(LOG_TEMPERATURE))

    def of_images(self, images: Float[Tensor, "N 3 S S"]) -> Float[Tensor, "N E"]:
        """The vectors of pictures in [-1, 1]; differentiable."""
        return F.normalize(self.picture(self.pyramid(images))[:, 0], dim=1)

    def of_text(self, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N E"]:
        """The vectors of sentences: words count, their order does not."""
        said = (tokens != UNSAID).sum(1, keepdim=True).clamp_min(1)
        return F.normalize(self.sentence(self.word(tokens).sum(1) / said), dim=1)

    def tokens(self, *sentences: str) -> Int[Tensor, "N T"]:
        """Numbers of the words of some sentences. Raises UserError for a word that is not known (near ones are named),
        and for a sentence without words.
        """
        number = {word: i + 1 for i, word in enumerate(self.config.words)}
        rows = []
        for sentence in sentences:
            said = re.findall(r"[a-z]+", sentence.lower())
            if not said:
                raise UserError(f"{sentence!r} has no words: write, for example, 'a red pickup lit from the left'.")
            for word in said:
                if word not in number:
                    raise UserError(f"the toy vocabulary has no {word!r}{nearest(word, self.config.words)}")
            rows.append([number[word] for word in said])
        longest = max(map(len, rows))
        return torch.tensor([row + [UNSAID] * (longest - len(row)) for row in rows], device=self.word.weight.device)
