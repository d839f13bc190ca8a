"""What turns text into tokens and back: standardization, vectorizers, detokenization.

Where texts come from belongs in `datasets`, what is done with token ids in `models` and `decoding`.
"""

from dataclasses import replace

import keras
import numpy as np

START_TOKEN, END_TOKEN = "[start]", "[end]"
PADDING_ID, UNKNOWN_ID = 0, 1  # ids that `TextVectorization` gives away first
# Letters, digits and apostrophes make words; every other sign is a token of its own.
PUNCTUATION = r"([^\p{L}\p{N}\s'])"


@keras.saving.register_keras_serializable("companion")
def standardize_source(text):
    """Lower a string tensor and set its punctuation apart: "Who's he?" becomes "who's he ?"."""
    import tensorflow as tf

    return tf.strings.regex_replace(tf.strings.lower(text, "utf-8"), PUNCTUATION, r" \1 ")


@keras.saving.register_keras_serializable("companion")
def standardize_target(text):
    """Do what `source_words` does and put the marks [start] and [end] around it."""
    import tensorflow as tf

    return tf.strings.join([START_TOKEN, standardize_source(text), END_TOKEN], separator=" ")


def adapt_vectorizers(pairs, max_tokens: int):
    """Adapt one `TextVectorization` for each language, on training pairs and nothing else.

    Args:
        pairs: `datasets.Pairs`.
        max_tokens: size of either vocabulary, padding, unknown and marks included.

    Returns:
        Source and target vectorizer; each turns a list of sentences into a ragged tensor of ids (sentences,
        None), those of the target with the ids of [start] and [end] around them.
    """
    import tensorflow as tf

    made = []
    for texts, standardize in (
        (pairs.english, standardize_source),
        (pairs.spanish, standardize_target),
    ):
        layer = keras.layers.TextVectorization(max_tokens, standardize=standardize, ragged=True)
        layer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(1024))
        made.append(layer)
    return made


def filter_pairs(pairs, vectorizers, max_length: int, known_only: bool, max_train: int):
    """Leave out pairs that are too long, or hold a word that is not in the vocabulary, in all three parts.

    Args:
        pairs: `datasets.SentencePairs`.
        vectorizers: of source and target.
        length: the largest number of tokens of either side, marks included.
        known: whether every word must be in the vocabulary.
        most: the largest number of training pairs; the first ones are kept.

    Returns:
        `SentencePairs` with fewer pairs, in the same order.
    """

    def kept(part, max_train=None):
        ids = [
            vectorizer(texts)
            for vectorizer, texts in zip(vectorizers, (part.english, part.spanish), strict=True)
        ]
        good = np.all([rows.row_lengths().numpy() <= max_length for rows in ids], axis=0)
        if known_only:
            good &= np.all(
                [~np.array([UNKNOWN_ID in row for row in rows.numpy()]) for rows in ids], axis=0
            )
        places = np.flatnonzero(good)[:max_train]
        columns = (part.english, part.spanish, part.alignments)
        return type(part)(*([column[i] for i in places] if column else None for column in columns))

    return replace(
        pairs,
        train=kept(pairs.train, max_train),
        validation=kept(pairs.validation),
        test=kept(pairs.test),
    )


def ids_to_text(ids, vocabulary: list[str]) -> list[str]:
    """Write token ids as sentences: marks gone, punctuation where it belongs, a capital at the beginning.

    Args:
        ids: (sentences, length), padded with 0; what follows [end] is left out.
        vocabulary: of the target vectorizer.
    """
    return [detokenize(vocabulary[i] for i in row if i != PADDING_ID) for row in np.asarray(ids)]


def detokenize(words) -> str:
    """Make a sentence of words and signs, which end at [end]."""
    text, opened, glue = "", False, ""
    for word in words:
        if word == START_TOKEN:
            continue
        if word == END_TOKEN:
            break
        if word == '"':
            opened = not opened
            closes = not opened
        else:
            closes = word in ".,;:!?)%…»"
        text += word if closes else glue + word
        # After an opening sign, and within a number such as 3.5 or 10:30, nothing is set apart.
        glue = "" if word in "¿¡(«$" or (word == '"' and opened) else " "
    start = next((place for place, letter in enumerate(text) if letter.isalpha()), 0)
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]
