"""What both translators share: teacher forcing, the GRU translator, translation in batches.

The Transformer blocks are in `transformer`, decoding strategies in `decoding`.
"""

import keras
import numpy as np
from keras import ops

from utils import decoding
from utils.batching import bucket_by_length, rows_by_length
from utils.text import END_TOKEN, PADDING_ID, START_TOKEN, ids_to_text


def teacher_forcing_batches(source, target, batch_size: int, seed: int | None = None):
    """Batch pairs for teacher forcing: the decoder gets the target and predicts it shifted by one.

    Args:
        source: ragged source ids (pairs, None), as from `adapt_vectorizers`.
        target: ragged target ids (pairs, None), with [start] and [end].
        batch_size: pairs per batch.
        seed: shuffles anew in every epoch; without it the order stays the same.

    Returns:
        A `keras.utils.PyDataset` bucketed by length. A batch is ((source, target without its last
        position), target without its first position, weights), each (batch, length). Weights are 1
        for tokens and 0 for padding, so that loss and weighted metrics leave padding out.
    """
    return bucket_by_length(source, target, batch_size, seed, bucket_width=4, transform=_shift)


def _shift(source_ids, target_ids):
    decoder_input = target_ids[:, :-1]  # (batch, length - 1)
    decoder_target = target_ids[:, 1:]  # (batch, length - 1)
    weights = (decoder_target != PADDING_ID).astype("float32")  # (batch, length - 1)
    return (source_ids, decoder_input), decoder_target, weights


def compile_seq2seq(model, learning_rate: float, steps: int) -> None:
    """Compile a translator whose outputs are logits, for the batches of `teacher_forcing_batches`.

    The loss is the mean over the non-padding positions of a batch. Keras's default divides the sum
    by the number of all positions, so that the loss would depend on the amount of padding.

    Args:
        model: maps (source, target) ids to logits (batch, length, vocabulary).
        learning_rate: the largest learning rate of Adam, reached by linear warm-up after a
            twentieth of the steps; from there it follows a cosine to 0 (Loshchilov and Hutter 2017,
            *SGDR*, without restarts). Gradients of a norm above 1 are scaled to 1 (Pascanu et al.
            2013, *On the difficulty of training recurrent neural networks*, section 3.2).
        steps: number of batches in the whole training.
    """
    warmup_steps = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=1.0)
    model.compile(optimizer, loss, weighted_metrics=["accuracy"])


def build_gru_seq2seq(
    source_vocab_size: int,
    target_vocab_size: int,
    embed_dim: int,
    units: int,
    dropout: float,
    encoder=None,
) -> keras.Model:
    """Build the translator of notebook 04: one GRU encodes, another generates from the state.

    Args:
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        embed_dim: size of both embeddings.
        units: size of the encoder state and of the decoder.
        dropout: rate before the logits.
        encoder: layer named "encoder" from (batch, length, embed_dim) to (batch, units); the
            default is a bidirectional GRU whose two directions are summed.

    Returns:
        A model from (source, target) ids to logits (batch, target length, target_vocab_size).

    Raises:
        ValueError: the encoder has another name, by which `gru_decode_fns` would not find it.
    """
    if encoder is None:
        gru = keras.layers.GRU(units)
        encoder = keras.layers.Bidirectional(gru, merge_mode="sum", name="encoder")
    if encoder.name != "encoder":
        raise ValueError(f'name the encoder "encoder", not "{encoder.name}"')

    source = keras.Input((None,), dtype="int64", name="source")
    x = build_embedding(source_vocab_size, embed_dim)(source)
    encoder_state = encoder(x)  # (batch, units)

    target = keras.Input((None,), dtype="int64", name="target")
    embedding = build_embedding(target_vocab_size, embed_dim, name="target_embedding")
    decoder = keras.layers.GRU(units, return_sequences=True, name="decoder")
    x = decoder(embedding(target), initial_state=encoder_state)  # (batch, target length, units)
    x = keras.layers.Dropout(dropout)(x)
    # In float32 under any policy of Keras, as losses and probabilities are.
    logits = keras.layers.Dense(target_vocab_size, dtype="float32", name="logits")(x)
    return keras.Model([source, target], logits)


def build_embedding(vocab_size: int, embed_dim: int, name: str | None = None):
    """Build an embedding for a GRU, with a mask for padding, id 0.

    Its vectors begin with a standard deviation of 0.3. Keras's default is uniform from -0.05 to
    0.05: so small that a GRU hardly reacts to a token, and learns little in its first epoch.
    """
    init = keras.initializers.RandomNormal(stddev=0.3)
    return keras.layers.Embedding(vocab_size, embed_dim, init, mask_zero=True, name=name)


def gru_decode_fns(model):
    """Return what decoding needs of a model from `build_gru_seq2seq`: init_state and step.

    Returns:
        init_state: from source ids (batch, length) to the state, a list of one (batch, units).
        step: from the last tokens (batch,) and the state to logits (batch, vocabulary) and the next
            state.
    """
    encode = keras.Model(model.inputs[0], model.get_layer("encoder").output)
    embedding = model.get_layer("target_embedding")
    decoder = model.get_layer("decoder")
    logits = model.get_layer("logits")

    def init_state(source_ids):
        return [encode(source_ids)]

    def step(ids, state):
        x = ops.take(embedding.embeddings, ids, axis=0)  # (batch, embed_dim)
        output, state = decoder.cell(x, state)  # (batch, units)
        return logits(output), state

    return init_state, step


def translate(
    source_ids,
    init_state,
    step,
    vocabulary: list[str],
    search=decoding.greedy_search,
    max_new_tokens: int = 40,
    batch_size: int = 256,
) -> list[str]:
    """Translate sentences in batches of similar length.

    Args:
        source_ids: ragged ids (sentences, None).
        init_state: from source ids (batch, length) to the state before the first token.
        step: from the last tokens (batch,) and the state to logits and the next state.
        vocabulary: of the target vectorizer.
        search: `decoding.greedy_search` or a function with the same arguments.
        max_new_tokens: largest number of tokens of a translation.
        batch_size: sentences per batch.

    Returns:
        One translation per sentence, in the order of `source_ids`; "" for one without tokens.
    """
    import tensorflow as tf

    start_id = vocabulary.index(START_TOKEN)
    end_id = vocabulary.index(END_TOKEN)
    lengths = source_ids.row_lengths().numpy()
    # Attention to nothing is not defined, so a source without tokens does not reach the model.
    nonempty = np.flatnonzero(lengths)
    translations = np.full(len(lengths), "", object)
    for batch in rows_by_length(lengths[nonempty], batch_size):
        rows = nonempty[batch]
        padded_ids = tf.gather(source_ids, rows).to_tensor()  # (batch, length)
        target_ids = search(step, init_state(padded_ids), start_id, end_id, max_new_tokens)
        translations[rows] = ids_to_text(target_ids, vocabulary)
    return translations.tolist()
