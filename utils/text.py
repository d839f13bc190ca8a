"""From text to tokens and back: standardization, vectorizers, word vectors, detokenization.

Loading texts belongs in `datasets`, models and decoding of token ids in `models` and `decoding`.
"""

import re
from collections import Counter
from dataclasses import replace
from itertools import islice, takewhile
from pathlib import Path

import keras
import numpy as np

from utils import settings
from utils.errors import CompanionError

START_TOKEN = "[start]"
END_TOKEN = "[end]"
PADDING_ID = 0  # `TextVectorization` reserves the first two ids
UNKNOWN_ID = 1
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Chinese characters.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# Words consist of letters with their accents and vowel signs, digits and apostrophes, in Persian
# also of what keeps letters apart (U+200C). Every other character is a token of its own, and so is
# each one of an unspaced script.
SINGLE = rf"([^\p{{L}}\p{{M}}\p{{N}}\s'\x{{200c}}]|[{UNSPACED}])"
WIDE_PUNCTUATION = "\u3000-\u3004\u3008-\u303f\uff00-\uff65"
# Of this `TextVectorization` makes no token, unless it has another `standardize`.
EMPTY = re.compile(r"[\s!-/:-@\[-`{-~]*", re.ASCII)
CLOSING = ".,;:!?)%…»؟،؛।॥。，、；：！？）」』》"
OPENING = "¿¡(«$（「『《"


@keras.saving.register_keras_serializable("companion")
def standardize_source(text):
    """Lowercase a string tensor and separate its punctuation: "Who's he?" becomes "who's he ? ".

    Characters of scripts that have no spaces between words, such as Chinese, are separated too.
    """
    import tensorflow as tf

    return tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), SINGLE, r" \1 ")


@keras.saving.register_keras_serializable("companion")
def standardize_target(text):
    """Standardize like `standardize_source`, and put [start] before it and [end] after it."""
    import tensorflow as tf

    return tf.strings.join([START_TOKEN, standardize_source(text), END_TOKEN], separator=" ")


def adapt_vectorizers(pairs, max_tokens: int):
    """Adapt one `TextVectorization` per language on the training pairs.

    Args:
        pairs: `datasets.Pairs` to take both vocabularies from.
        max_tokens: size of each vocabulary, including padding, [UNK] and special tokens.

    Returns:
        Source vectorizer and target vectorizer. Each turns a list of sentences into a ragged tensor
        of ids (sentences, None); target ids begin with [start] and end with [end].
    """
    for side, texts in (("sentences", pairs.english), ("translations", pairs.spanish)):
        if are_unspaced(texts):
            print(f"The words of these {side} have no spaces between them: a token is a character.")
    source_vectorizer = _adapt(pairs.english, standardize_source, max_tokens)
    target_vectorizer = _adapt(pairs.spanish, standardize_target, max_tokens)
    return source_vectorizer, target_vectorizer


def are_unspaced(texts: list[str]) -> bool:
    """Return whether most of the texts are in a script that has no spaces between words."""
    unspaced = [text for text in texts if re.search(f"[{UNSPACED}]{{2}}", text)]
    return 2 * len(unspaced) > len(texts)


def separate_unspaced(text: str) -> str:
    """Put spaces around each character of scripts that have none between words."""
    return re.sub(f"([{UNSPACED}])", r" \1 ", text)


def _adapt(texts, standardize, max_tokens):
    import tensorflow as tf

    vectorizer = keras.layers.TextVectorization(max_tokens, standardize=standardize, ragged=True)
    vectorizer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    return vectorizer


def filter_pairs(pairs, vectorizers, max_length: int, known_only: bool, max_train: int):
    """Remove pairs that are too long or contain an out-of-vocabulary word.

    Training and validation pairs are judged by both sides, test pairs by the source alone: what
    the references of a sentence look like must not decide whether it is tested, and every one of
    them counts. A pair one of whose sides has no token is removed too, and a line says so.

    Args:
        pairs: a `Dataset` whose parts are `Pairs`.
        vectorizers: source and target vectorizer.
        max_length: largest number of tokens on either side, special tokens included.
        known_only: whether every word must be in the vocabulary.
        max_train: largest number of training pairs; the first ones remain.

    Returns:
        The data set with fewer pairs, in the same order.

    Raises:
        CompanionError: no pair of a part remains.
    """
    source_vectorizer, target_vectorizer = vectorizers

    def filtered(name, max_pairs=None):
        part = getattr(pairs, name)
        source_ids = source_vectorizer(part.english)
        target_ids = target_vectorizer(part.spanish)
        accepted = source_ids.row_lengths().numpy() > 0
        accepted &= target_ids.row_lengths().numpy() > 2  # more than [start] and [end]
        _name_empty(np.flatnonzero(~accepted), len(part), f"{name} pairs")
        judged = (source_ids,) if name == "test" else (source_ids, target_ids)
        for ids in judged:
            accepted &= ids.row_lengths().numpy() <= max_length
            if known_only:
                accepted &= _are_known(ids)
        rows = np.flatnonzero(accepted)[:max_pairs]
        if not len(rows):
            known = ", all of them in the vocabulary" if known_only else ""
            raise CompanionError(
                f"none of the {len(part):,} {name} pairs has at most {max_length} tokens a side"
                f"{known}: allow longer sentences, a larger vocabulary or unknown words."
            )
        return replace(
            part,
            english=[part.english[row] for row in rows],
            spanish=[part.spanish[row] for row in rows],
            alignments=part.alignments and [part.alignments[row] for row in rows],
        )

    return replace(
        pairs,
        train=filtered("train", max_train),
        validation=filtered("validation"),
        test=filtered("test"),
    )


def leave_out_empty(data, tokens: dict | None = None):
    """Leave out texts without a token, of which a model can learn nothing; say how many and which.

    A line also says if the words have no spaces between them and `tokens` are not characters, since
    each text is then one token.

    Args:
        data: a `Dataset` whose parts are `Texts`.
        tokens: name of each part to its ragged ids (texts, None). If not given, a text has no token
            if it holds nothing but spaces and ASCII punctuation.

    Returns:
        The data set without these texts, and, if given, `tokens` without their rows.

    Raises:
        CompanionError: no text of a part has a token.
    """
    import tensorflow as tf

    parts = {}
    rows_left = {}
    for name in ("train", "validation", "test"):
        part = getattr(data, name)
        if tokens is None:
            has_token = np.array([EMPTY.fullmatch(text) is None for text in part.texts])
        else:
            has_token = tokens[name].row_lengths().numpy() > 0
        _name_empty(np.flatnonzero(~has_token), len(part), f"{name} texts")
        rows = np.flatnonzero(has_token)
        if not len(rows):
            raise CompanionError(f"none of the {len(part):,} {name} texts has a token.")
        if len(rows) < len(part):
            part = replace(part, texts=[part.texts[row] for row in rows], labels=part.labels[rows])
        parts[name] = part
        rows_left[name] = rows
    # By characters, a text has more tokens than one for each of its sentences.
    are_words = tokens is None or np.median(tokens["train"].row_lengths().numpy()) <= 2
    if are_words and are_unspaced(data.train.texts):
        print(
            "The words of these texts have no spaces between them, so that each text is one token: "
            'adapt TextVectorization with split="character".'
        )
    data = replace(data, **parts)
    if tokens is None:
        return data
    return data, {name: tf.gather(tokens[name], rows) for name, rows in rows_left.items()}


def _name_empty(rows, total: int, items: str) -> None:
    if len(rows):
        first = ", ".join(map(str, rows[:5]))
        more = ", ..." if len(rows) > 5 else ""
        print(
            f"Left out: {len(rows):,} of {total:,} {items}, without a token (rows {first}{more})."
        )


def _are_known(ids) -> np.ndarray:
    """Return for each row of ragged ids whether it is free of [UNK]."""
    is_known = np.ones(int(ids.nrows()), bool)
    rows_of_tokens = ids.value_rowids().numpy()
    is_known[rows_of_tokens[ids.flat_values.numpy() == UNKNOWN_ID]] = False
    return is_known


def read_word_vectors(path: Path, words) -> dict[str, np.ndarray]:
    """Read the vectors of some words from a text file, as GloVe, word2vec and fastText write them.

    A line is a word and its numbers, with spaces between them. A first line of two whole numbers,
    as word2vec and fastText write it, says how many words and dimensions there are. Lines with
    another number of dimensions than most are left out, and a printed line says so.

    Args:
        path: of the file.
        words: whose vectors are returned.

    Returns:
        A word to its vector, (dimensions,), float32; only words that are in the file.

    Raises:
        CompanionError: the file cannot be read, most of its lines are no word vectors, or none of
            `words` is in it.
    """
    name = settings.display_path(path)
    vectors = {}
    odd_lines = []
    number = 0
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
            size, has_header = _vector_size(list(islice(file, 20)))
            file.seek(0)
            for number, line in enumerate(file, start=1):
                if number == 1 and has_header:
                    continue
                word, *values = line.rstrip().rsplit(" ", size)  # some of GloVe's words hold spaces
                is_too_long = " " in word and _is_number(word.rpartition(" ")[2])
                is_odd = size == 0 or len(values) != size or is_too_long
                if word in words and not is_odd:
                    vectors[word] = _to_vector(values)
                    is_odd = vectors[word] is None
                if is_odd:
                    odd_lines.append(number)
    except OSError as error:
        raise CompanionError(f"{name} cannot be read ({error.strerror}).") from error
    if 2 * len(odd_lines) >= number:
        raise CompanionError(f"{name} is not a text file with a word and its numbers on each line.")
    if odd_lines:
        print(
            f"{name}: {len(odd_lines):,} of {number:,} lines are not a word and {size} numbers and "
            f"are left out, the first of them line {odd_lines[0]:,}."
        )
    vectors = {word: vector for word, vector in vectors.items() if vector is not None}
    if not vectors:
        raise CompanionError(
            f"{name} holds none of the {len(words):,} words: is it of this language?"
        )
    return vectors


def _vector_size(lines: list[str]) -> tuple[int, bool]:
    """Return the number of dimensions that most lines have, and whether a header comes first."""
    header = lines[0].split() if lines else []
    has_header = len(header) == 2 and all(map(str.isdecimal, header))
    sizes = Counter()
    for line in lines[has_header:]:
        values_from_the_end = line.split()[:0:-1]  # all but the first, which is the word
        sizes[len(list(takewhile(_is_number, values_from_the_end)))] += 1
    size = max(sizes, key=sizes.get, default=0)
    # Vectors of one dimension look like headers.
    return size, has_header and size > 1


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _to_vector(values: list[str]) -> np.ndarray | None:
    """Return numbers as an array, or None if one of them is no finite number."""
    try:
        vector = np.array(values, dtype="float32")
    except ValueError:
        return None
    return vector if np.isfinite(vector).all() else None


def ids_to_text(ids, vocabulary: list[str]) -> list[str]:
    """Turn token ids into sentences; see `detokenize`.

    Args:
        ids: (sentences, length), post-padded; what follows [end] is left out.
        vocabulary: of the target vectorizer.

    Returns:
        One sentence per row.
    """
    sentences = []
    for row in np.asarray(ids):
        sentences.append(detokenize(vocabulary[i] for i in row if i != PADDING_ID))
    return sentences


def detokenize(tokens) -> str:
    """Join tokens into a sentence without special tokens, and capitalize its first word.

    Tokens do not say where the spaces were, so closing punctuation is always followed by one:
    "¿Qué?" comes back as it was, but "3.5", which is three tokens, comes back as "3. 5".

    Args:
        tokens: words and punctuation; empty ones, and everything from [end] on, are left out.

    Returns:
        The sentence.
    """
    text = ""
    space = ""  # what separates the next token from the text so far
    in_quotation = False
    after_unspaced = False
    for token in tokens:
        if token in ("", START_TOKEN):
            continue
        if token == END_TOKEN:
            break
        if token == '"':  # opens and closes in turn
            in_quotation = not in_quotation
        closes = token in CLOSING or (token == '"' and not in_quotation)
        opens = token in OPENING or (token == '"' and in_quotation)
        is_unspaced = re.fullmatch(f"[{UNSPACED}{WIDE_PUNCTUATION}]", token) is not None
        text += token if closes or (is_unspaced and after_unspaced) else space + token
        space = "" if opens else " "
        after_unspaced = is_unspaced
    # The first word may be a number: "3 de mayo".
    first = next((i for i, character in enumerate(text) if character.isalnum()), 0)
    capital = text[first : first + 1].upper()
    if len(capital) != 1:  # the capital of "ß" is "SS"
        return text
    return text[:first] + capital + text[first + 1 :]
