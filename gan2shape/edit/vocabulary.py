"""Sentences -> tokens by a vocabulary on disk, for sentence networks of the user's own (extra `text`).

    tokenizer.json                         of the tokenizers library, as it lies beside many published networks
    bpe_simple_vocab_16e6.txt, or .gz      byte pair merges in the layout of CLIP's publishers: a title, a pair a line

Nothing in either is executed. Tokens are padded with zeros to the length that CLIP's networks take, 77.
"""

import gzip
import itertools
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from gan2shape.core.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTEXT = 77  # tokens that a network takes
MOST_BYTES = 64 << 20  # of a vocabulary
N_MERGES = 49152 - 256 - 2  # that CLIP's published networks know: their file holds more
BEGIN, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"  # what is looked up as one
PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))  # bytes that stand for themselves


def tokens_of(text: str, vocabulary: Path) -> Int[Tensor, "1 T"]:
    """The tokens of a sentence. Raises UserError where the extra is missing, for a file that is no vocabulary, and for
    a sentence that is empty or too long.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError("--vocabulary needs the extra `text`: pip install 'gan2shape[text]'.") from error
    vocabulary = Path(vocabulary)
    if not vocabulary.is_file():
        raise UserError(f"--vocabulary {vocabulary} is not a file: check the path.")
    page = _text_in(vocabulary)
    try:
        tokenizer = Tokenizer.from_str(page) if page.lstrip().startswith("{") else from_merges(page)
        found = tokenizer.encode(text).ids
    except Exception as error:  # the library raises plain ones
        raise UserError(
            f"--vocabulary {vocabulary} is none: name a tokenizer.json, or merges as CLIP's publishers write them."
        ) from error
    if not text.strip() or len(found) > CONTEXT:
        raise UserError(f"the sentence has {len(found)} tokens: write something, of at most {CONTEXT}.")
    return torch.tensor([found + [0] * (CONTEXT - len(found))])


def from_merges(page: str) -> "Tokenizer":
    """The tokenizer of a list of merges. Numbers: the bytes, the bytes that end a word, the merges, begin and end."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    merges = [tuple(line.split()) for line in page.splitlines()[1 : N_MERGES + 1]]
    if not merges or any(len(pair) != 2 for pair in merges):
        raise ValueError("lines that are no pairs")
    others = itertools.count(256)
    letters = [chr(byte) for byte in PRINTABLE] + [chr(next(others)) for byte in range(256) if byte not in PRINTABLE]
    words = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges), BEGIN, END]
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(numbers, merges, end_of_word_suffix=WORD_END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(WORDS), "removed", invert=True)
    in_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, in_bytes])
    ends = [(BEGIN, numbers[BEGIN]), (END, numbers[END])]
    tokenizer.post_processor = processors.TemplateProcessing(f"{BEGIN} $A {END}", special_tokens=ends)
    return tokenizer


def _text_in(path: Path) -> str:
    """What a file says, unpacked; never more than MOST_BYTES of it."""
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as file:
            page = file.read(MOST_BYTES + 1)
        if len(page) > MOST_BYTES:
            raise ValueError("too long")
        return page.decode("utf-8")
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"--vocabulary {path} cannot be read as text: name the vocabulary's own file.") from error
