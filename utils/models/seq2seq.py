"""What both translators share: teacher forcing, the GRU translator, translating in batches.

The Transformer blocks are in `transformer`, decoding strategies in `decoding`.
"""

import keras
import numpy as np
from keras import ops

from utils import decoding
from utils.batching import bucket_by_length
from utils.text import END_TOKEN, PADDING_ID, START_TOKEN, ids_to_text


def teacher_forcing_batches(source, target, batch_size: int, seed: int | None = None):
    """Make batches for teacher forcing: the decoder reads a target and is asked for the same, one place on.

    Args:
        source, target: ragged ids (pairs, None), from `vectorizers`.
        batch, seed: as for `training.like_lengths`.

    Returns:
        A `tf.data.Dataset` of ((source (batch, length), target without its last place), target without its
        first place, weights): the weights are 1 where the target has a word or [end], and 0 at padding, so
        that loss and weighted metrics count real places only.
    """

    def shifted(source, target):
        weights = ops.cast(target[:, 1:] != PADDING_ID, "float32")  # mirrored models add them up
        return (source, target[:, :-1]), target[:, 1:], weights

    return bucket_by_length(source, target, batch_size, seed, bucket_width=4).map(shifted)


def compile_seq2seq(model, learning_rate: float, steps: int) -> None:
    """Compile a translator whose outputs are logits, for the batches that `batches` makes.

    The loss is the mean over the real places of a batch. Keras would divide the sum by all places, padding
    included, and then two ways of padding give two losses.

    Args:
        model: takes (source, target) ids and returns logits (batch, length, vocabulary).
        rate: the largest learning rate of Adam, reached after a twentieth of the steps; from there it falls
            to 0 along a cosine (Loshchilov and Hutter 2017, *SGDR*, without restarts).
        steps: batches of the whole training.
    """
    warm = max(1, steps // 20)
    rates = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm), warmup_target=learning_rate, warmup_steps=warm
    )
    loss = keras.losses.SparseCategoricalCrossentropy(True, reduction="mean_with_sample_weight")
    model.compile(keras.optimizers.Adam(rates), loss, weighted_metrics=["accuracy"])


def build_gru_seq2seq(
    source_vocab_size: int,
    target_vocab_size: int,
    embed_dim: int,
    units: int,
    dropout: float,
    encoder=None,
):
    """Make the translator of notebook 04: a GRU reads the source into one vector, another writes from it.

    Args:
        source_words, target_words: sizes of the vocabularies.
        dim, units, dropout: of the embeddings, of either GRU, before the logits.
        encoder: layer from (batch, length, dim) to (batch, units); else a bidirectional GRU, summed.

    Returns:
        A model of (source, target) ids to logits (batch, target length, `target_words`).
    """
    both = keras.layers.Bidirectional(keras.layers.GRU(units), merge_mode="sum", name="encoder")
    read = keras.Input((None,), dtype="int64", name="source")
    vector = (encoder or both)(
        keras.layers.Embedding(source_vocab_size, embed_dim, mask_zero=True)(read)
    )
    written = keras.Input((None,), dtype="int64", name="target")
    vectors = keras.layers.Embedding(target_vocab_size, embed_dim, mask_zero=True, name="words")(
        written
    )
    states = keras.layers.GRU(units, return_sequences=True, name="decoder")(
        vectors, initial_state=vector
    )
    hidden = keras.layers.Dropout(dropout)(states)
    return keras.Model(
        [read, written], keras.layers.Dense(target_vocab_size, name="logits")(hidden)
    )


def gru_decode_fns(model):
    """Return what `translate` needs of a model from `gru`: how its state begins, and a step on from it."""
    encode = keras.Model(model.inputs[0], model.get_layer("encoder").output)
    words, decoder, logits = (model.get_layer(name) for name in ("words", "decoder", "logits"))

    def step(ids, state):
        _, state = decoder.cell(ops.take(words.embeddings, ids, axis=0), state)
        return logits(state[0]), state

    return lambda ids: [encode(ids)], step


def translate(
    source_ids,
    init_state,
    step,
    vocabulary,
    search=decoding.greedy_search,
    max_new_tokens: int = 40,
    batch_size: int = 256,
):
    """Translate sentences in batches of like length.

    Args:
        rows: ragged ids (sentences, None) of the source.
        begin: from source ids (batch, length) to the state of decoding.
        step, search, limit: as for `decoding.greedy`, and which of its kind to use.
        vocabulary: of the target vectorizer.

    Returns:
        A finished sentence for each row.
    """
    import tensorflow as tf

    start, end = (vocabulary.index(mark) for mark in (START_TOKEN, END_TOKEN))
    order, found = np.argsort(source_ids.row_lengths(), kind="stable"), []
    for first in range(0, len(order), batch_size):
        ids = tf.gather(source_ids, order[first : first + batch_size]).to_tensor()
        found += ids_to_text(search(step, init_state(ids), start, end, max_new_tokens), vocabulary)
    return [found[place] for place in np.argsort(order)]
