"""Tokenizers: CLIP's byte-pair encoding and BERT's word pieces, from vocabulary files of installed packages.

CLIP's vocabulary is part of the wheel of open_clip_torch (`pip install --no-deps open_clip_torch`); the file is read
from the installed distribution without importing the package. The words of this library's own prompts are in
`clip_words.json` and need no package.
"""

import html
import importlib.metadata
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from hoi_jax import io

CLIP_START, CLIP_END, CLIP_CONTEXT = 49406, 49407, 77
_CLIP_MERGES = 48894
_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
_CLIP_DISTRIBUTIONS = ("open_clip_torch", "clip-anytorch", "clip")
_ENDINGS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
WORDS_FILE = Path(__file__).with_name("clip_words.json")


class TextError(ValueError):
    """A text cannot be tokenized."""


@runtime_checkable
class Tokenizer(Protocol):
    """Conversion of texts to token numbers."""

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "texts length"]:
        """One row per text, padded with 0. Raises TextError naming a text that is too long or has unknown words."""
        ...


def clip_clean(text: str) -> str:
    """Text with HTML entities unescaped (twice, as in CLIP), composed characters, single spaces and lower case."""
    text = unicodedata.normalize("NFC", html.unescape(html.unescape(text)))
    return " ".join(text.split()).lower()


def _kind(character: str) -> str:
    """ "L" letter, "N" number, "Z" space, "" anything else."""
    if character.isspace():
        return "Z"
    category = unicodedata.category(character)[0]
    return category if category in "LN" else ""


def clip_words(text: str) -> list[str]:
    """Split a cleaned text by CLIP's pattern: endings ('s, 't, ...), letters, single digits, other characters."""
    found, place = [], 0
    while place < len(text):
        ending = next((e for e in _ENDINGS if text.startswith(e, place)), None)
        kind, end = _kind(text[place]), place + 1
        if ending:
            end = place + len(ending)
        elif kind in ("L", ""):
            while end < len(text) and _kind(text[end]) == kind:
                end += 1
        if kind != "Z":
            found.append(text[place:end])
        place = end
    return found


def _byte_letters() -> dict[int, str]:
    """Printable character of each byte in GPT-2's and CLIP's vocabularies, in vocabulary order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(plain))
    return letters


class ClipMerges:
    """Byte-pair encoding of one word with CLIP's merges (the lines of its vocabulary file, best first)."""

    def __init__(self, merges: Iterable[tuple[str, str]]):
        self._letters = _byte_letters()
        pairs = list(merges)
        alphabet = list(self._letters.values())
        names = [*alphabet, *(f"{a}</w>" for a in alphabet), *(a + b for a, b in pairs)]
        self._number = {name: number for number, name in enumerate(names)}
        self._rank = {pair: rank for rank, pair in enumerate(pairs)}

    def __call__(self, word: str) -> tuple[int, ...]:
        """Token numbers of one word."""
        parts = [self._letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            ranks = [self._rank.get(pair, len(self._rank)) for pair in zip(parts, parts[1:], strict=False)]
            best = min(ranks)
            if best == len(self._rank):
                break
            first, second = next(
                pair for pair, r in zip(zip(parts, parts[1:], strict=False), ranks, strict=True) if r == best
            )
            joined, place = [], 0
            while place < len(parts):
                hit = parts[place : place + 2] == [first, second]
                joined.append(first + second if hit else parts[place])
                place += 2 if hit else 1
            parts = joined
        return tuple(self._number[part] for part in parts)


class KnownWords:
    """Token numbers of words from a table; the error for an unknown word explains how to get the whole vocabulary."""

    def __init__(self, table: Mapping[str, Sequence[int]]):
        self._table = table

    def __call__(self, word: str) -> tuple[int, ...]:
        """Token numbers of one word. Raises TextError."""
        if word not in self._table:
            raise TextError(
                f"the word {word!r} is not in the small table of this library; for arbitrary text, install CLIP's "
                "vocabulary with pip install --no-deps open_clip_torch"
            )
        return tuple(self._table[word])


class ClipTokenizer:
    """CLIP's tokenizer. Rows are start, words, end (the largest number), zeros.

    Args:
      word_numbers: function that returns the token numbers of a word.
      context: length of rows.
    """

    def __init__(self, word_numbers: ClipMerges | KnownWords, context: int = CLIP_CONTEXT):
        self._word_numbers, self._context = word_numbers, context

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "texts length"]:
        """Token numbers [N, context], int32. Raises TextError for a text that is too long (it is not truncated)."""
        rows = np.zeros((len(texts), self._context), np.int32)
        for row, text in zip(rows, texts, strict=True):
            numbers = [n for word in clip_words(clip_clean(text)) for n in self._word_numbers(word)]
            if len(numbers) + 2 > self._context:
                raise TextError(f"{text[:60]!r} ... has {len(numbers)} tokens, {self._context - 2} are allowed")
            row[: len(numbers) + 2] = [CLIP_START, *numbers, CLIP_END]
        return rows


def read_clip_merges(path: str | Path) -> ClipMerges:
    """Read CLIP's vocabulary file (`bpe_simple_vocab_16e6.txt.gz`). Raises DataError."""
    lines = io.read_text_bytes(path, max_bytes=16 * io.MEGABYTE).decode().split("\n")[1 : 1 + _CLIP_MERGES]
    pairs = [tuple(line.split()) for line in lines]
    if len(pairs) != _CLIP_MERGES or any(len(pair) != 2 for pair in pairs):
        raise io.CorruptFileError(f"{path}: not CLIP's vocabulary; expected {_CLIP_MERGES} lines of two words")
    return ClipMerges((pair[0], pair[1]) for pair in pairs)


def find_clip_vocabulary() -> Path | None:
    """The vocabulary file in an installed package, or None."""
    for name in _CLIP_DISTRIBUTIONS:
        try:
            files = importlib.metadata.files(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == _CLIP_FILE and Path(str(file.locate())).is_file():
                return Path(str(file.locate()))
    return None


def clip_tokenizer(vocabulary: str | Path | None = None) -> ClipTokenizer:
    """CLIP's tokenizer with the given vocabulary file, that of an installed package, or this library's small table."""
    path = vocabulary or find_clip_vocabulary()
    if path:
        return ClipTokenizer(read_clip_merges(path))
    return ClipTokenizer(KnownWords(io.read_json(WORDS_FILE, max_bytes=io.MEGABYTE)))


class WordPieces:
    """BERT's tokenizer (uncased). Rows are [CLS], word pieces, [SEP], zeros.

    Args:
      vocabulary: pieces by number, the lines of `vocab.txt`.
      context: maximum length of rows.
    """

    def __init__(self, vocabulary: Sequence[str], context: int = 128):
        self._number = {piece: number for number, piece in enumerate(vocabulary)}
        missing = {"[CLS]", "[SEP]", "[UNK]", "[PAD]"} - set(self._number)
        if missing or self._number["[PAD]"]:
            raise TextError(f"not a BERT vocabulary: {sorted(missing) or '[PAD] is not piece 0'}")
        self._context = context

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "texts length"]:
        """Token numbers [N, longest], int32, at most `context` wide. Raises TextError for a text that is too long."""
        rows = []
        for text in texts:
            numbers = [n for word in _bert_words(text) for n in self._pieces(word)]
            if len(numbers) + 2 > self._context:
                raise TextError(f"{text[:60]!r} ... has {len(numbers)} tokens, {self._context - 2} are allowed")
            rows.append([self._number["[CLS]"], *numbers, self._number["[SEP]"]])
        table = np.zeros((len(rows), max(map(len, rows), default=0)), np.int32)
        for row, numbers in zip(table, rows, strict=True):
            row[: len(numbers)] = numbers
        return table

    def _pieces(self, word: str) -> list[int]:
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self._number), None)
            if end is None or len(word) > 100:
                return [self._number["[UNK]"]]
            found.append(self._number[prefix + word[start:end]])
            start = end
        return found


def _bert_words(text: str) -> list[str]:
    """Words in lower case without accents, split at spaces and around punctuation."""
    text = unicodedata.normalize("NFD", text.lower())
    text = "".join(c for c in text if unicodedata.category(c) != "Mn")
    spaced = "".join(f" {c} " if _is_punctuation(c) else c for c in text)
    return spaced.split()


def _is_punctuation(character: str) -> bool:
    code = ord(character)
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_sign or unicodedata.category(character).startswith("P")
