"""Tokens by a vocabulary on disk: against byte pair merging done by its definition, and refusals."""

import gzip
import itertools
import json
import random
from pathlib import Path

import pytest

from gan2shape.core.errors import UserError
from gan2shape.edit.vocabulary import BEGIN, CONTEXT, END, PRINTABLE, from_merges, tokens_of

pytest.importorskip("tokenizers", reason="the extra `text` is not installed")

MERGES = [  # earlier ones come first
    *(("r", "e"), ("re", "d</w>"), ("c", "a"), ("ca", "r</w>"), ("a", "n</w>"), ("v", "an</w>"), ("e", "r</w>")),
    *(("a", "r"), ("c", "ar"), ("d", "re")),
]
PAGE = "#version: look-alike\n" + "\n".join(" ".join(pair) for pair in MERGES) + "\n"
N_BYTES = 512  # numbers that bytes take, alone and at the end of a word


def number_of(part: str) -> int:
    """Of a byte, a byte that ends a word, or a merge: bytes come first, in the order of PRINTABLE."""
    joined = ["".join(pair) for pair in MERGES]
    if part in joined:
        return N_BYTES + joined.index(part)
    letter = part.removesuffix("</w>")
    return PRINTABLE.index(ord(letter)) + (256 if part != letter else 0)


def merged(word: str) -> list[int]:
    """By definition: the earliest merge in the list that fits is done everywhere, until none fits."""
    parts = [*word[:-1], word[-1] + "</w>"]
    while True:
        ranks = [(MERGES.index(pair), pair) for pair in itertools.pairwise(parts) if pair in MERGES]
        if not ranks:
            return [number_of(part) for part in parts]
        pair, joined, i = min(ranks)[1], [], 0
        while i < len(parts):
            is_here = tuple(parts[i : i + 2]) == pair
            joined.append("".join(pair) if is_here else parts[i])
            i += 2 if is_here else 1
        parts = joined


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "bpe_simple_vocab.txt.gz"
    with gzip.open(path, "wt") as file:
        file.write(PAGE)
    return path


def test_words_are_merged_as_the_definition_says(vocabulary: Path) -> None:
    rng = random.Random(0)
    words = ["red", "car", "van", "racer", "care", "x", "!?"] + [
        "".join(rng.choices("recadvn", k=6)) for _ in range(20)
    ]
    begin, end = N_BYTES + len(MERGES), N_BYTES + len(MERGES) + 1
    found = tokens_of(" ".join(words[:8]), vocabulary)[0].tolist()
    expected = [begin, *(number for word in words[:8] for number in merged(word)), end]
    assert found == expected + [0] * (CONTEXT - len(expected))
    for word in words:
        assert from_merges(PAGE).encode(word).ids == [begin, *merged(word), end]


def test_case_spaces_and_digits_are_read_as_published(vocabulary: Path) -> None:
    one, other = (tokens_of(text, vocabulary) for text in ("a RED   car\n", "a red car"))
    assert one.equal(other)
    numbers = from_merges(PAGE).encode("12").ids[1:-1]
    assert numbers == [number_of("1</w>"), number_of("2</w>")]  # each a word
    assert from_merges(PAGE).encode("é").ids[1:-1] == [number_of("Ã"), number_of("©</w>")]  # two bytes


def test_a_tokenizer_json_says_the_same(vocabulary: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(from_merges(PAGE).to_str())
    assert json.loads(path.read_text())["model"]["type"] == "BPE"
    assert tokens_of("a red van", path).equal(tokens_of("a red van", vocabulary))
    assert from_merges(PAGE).token_to_id(END) == from_merges(PAGE).token_to_id(BEGIN) + 1


def test_what_is_no_vocabulary_is_one_sentence(vocabulary: Path, tmp_path: Path) -> None:
    files = {"three.txt": b"#v\na b c\n", "empty.txt": b"", "other.json": b'{"a": 1}', "bytes.txt": b"\xff\xfe\xfa"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="--vocabulary"):
            tokens_of("a car", tmp_path / name)
    (tmp_path / "cut.gz").write_bytes(vocabulary.read_bytes()[:-12])
    for path in (tmp_path / "none.txt", tmp_path / "cut.gz", tmp_path):
        with pytest.raises(UserError, match="--vocabulary"):
            tokens_of("a car", path)
    for text in ("  ", "car " * CONTEXT):
        with pytest.raises(UserError, match="at most 77"):
            tokens_of(text, vocabulary)
