"""From text to tokens and back: standardization, vectorizers, detokenization.

Loading texts belongs in `datasets`, models and decoding of token ids in `models` and `decoding`.
"""

from dataclasses import replace

import keras
import numpy as np

START_TOKEN = "[start]"
END_TOKEN = "[end]"
PADDING_ID = 0  # `TextVectorization` reserves the first two ids
UNKNOWN_ID = 1
# Words consist of letters, digits and apostrophes; every other character is a token of its own.
PUNCTUATION = r"([^\p{L}\p{N}\s'])"


@keras.saving.register_keras_serializable("companion")
def standardize_source(text):
    """Lowercase a string tensor and separate its punctuation: "Who's he?" becomes "who's he ? "."""
    import tensorflow as tf

    return tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), PUNCTUATION, r" \1 ")


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
    source_vectorizer = _adapt(pairs.english, standardize_source, max_tokens)
    target_vectorizer = _adapt(pairs.spanish, standardize_target, max_tokens)
    return source_vectorizer, target_vectorizer


def _adapt(texts, standardize, max_tokens):
    import tensorflow as tf

    vectorizer = keras.layers.TextVectorization(max_tokens, standardize=standardize, ragged=True)
    vectorizer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
    return vectorizer


def filter_pairs(pairs, vectorizers, max_length: int, known_only: bool, max_train: int):
    """Remove pairs that are too long or contain an out-of-vocabulary word, in all three parts.

    Args:
        pairs: a `Dataset` whose parts are `Pairs`.
        vectorizers: source and target vectorizer.
        max_length: largest number of tokens on either side, special tokens included.
        known_only: whether every word must be in the vocabulary.
        max_train: largest number of training pairs; the first ones remain.

    Returns:
        The data set with fewer pairs, in the same order.
    """
    source_vectorizer, target_vectorizer = vectorizers

    def filtered(part, max_pairs=None):
        source_ids = source_vectorizer(part.english)
        target_ids = target_vectorizer(part.spanish)
        accepted = np.ones(len(part.english), bool)
        for ids in (source_ids, target_ids):
            accepted &= ids.row_lengths().numpy() <= max_length
            if known_only:
                accepted &= _are_known(ids)
        rows = np.flatnonzero(accepted)[:max_pairs]
        return replace(
            part,
            english=[part.english[row] for row in rows],
            spanish=[part.spanish[row] for row in rows],
            alignments=part.alignments and [part.alignments[row] for row in rows],
        )

    return replace(
        pairs,
        train=filtered(pairs.train, max_train),
        validation=filtered(pairs.validation),
        test=filtered(pairs.test),
    )


def _are_known(ids) -> np.ndarray:
    """Return for each row of ragged ids whether it is free of [UNK]."""
    is_known = np.ones(int(ids.nrows()), bool)
    rows_of_tokens = ids.value_rowids().numpy()
    is_known[rows_of_tokens[ids.flat_values.numpy() == UNKNOWN_ID]] = False
    return is_known


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
    for token in tokens:
        if token in ("", START_TOKEN):
            continue
        if token == END_TOKEN:
            break
        if token == '"':  # opens and closes in turn
            in_quotation = not in_quotation
        closes = token in ".,;:!?)%…»" or (token == '"' and not in_quotation)
        opens = token in "¿¡(«$" or (token == '"' and in_quotation)
        text += token if closes else space + token
        space = "" if opens else " "
    # The first word may be a number: "3 de mayo".
    first = next((i for i, character in enumerate(text) if character.isalnum()), 0)
    return text[:first] + text[first : first + 1].upper() + text[first + 1 :]
