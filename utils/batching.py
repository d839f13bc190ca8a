"""Batches of sequences bucketed by length, so that little of a batch is padding."""

import numpy as np


def bucket_by_length(
    tokens, labels, batch_size: int, seed: int | None = None, bucket_width: int = 50
):
    """Make batches of sequences of about the same length, each padded with zeros to its own longest one.

    What an epoch costs then follows from the words that there are, and not from the longest sequence:
    notebook 02 builds and measures it.

    Args:
        tokens: ragged tensor (samples, None) of token ids, as from `TextVectorization(ragged=True)`.
        labels: (samples,), or ragged (samples, None) token ids of a translation: then the longer of the two
            counts.
        batch: samples a batch; a group's last batch may hold fewer.
        seed: shuffles anew in every epoch; without it the order stays the same.
        step: how far lengths of one group may lie apart.

    Returns:
        A `tf.data.Dataset` of ids (batch, length) and labels (batch,) or (batch, length of the labels).
    """
    import tensorflow as tf

    lengths = tokens.row_lengths().numpy()
    if isinstance(labels, tf.RaggedTensor):
        lengths = np.maximum(lengths, labels.row_lengths())
    edges = np.arange(bucket_width, lengths.max(), bucket_width)
    # A row of a ragged tensor is typed as ragged too, until a map has returned it.
    dataset = tf.data.Dataset.from_tensor_slices((tokens, labels)).map(
        lambda ids, label: (ids, label)
    )
    if seed is not None:
        dataset = dataset.shuffle(len(lengths), seed=seed)
    sizes = [batch_size] * (len(edges) + 1)
    # A label of one number has the size 1, and decides nothing.
    grouped = dataset.bucket_by_sequence_length(
        lambda ids, label: tf.maximum(tf.size(ids), tf.size(label)), edges.tolist(), sizes
    )
    # Each group gives as many batches in every epoch; Keras warns of a data set that ends unannounced.
    batches = -(-np.bincount(np.digitize(lengths, edges)) // batch_size)
    grouped = grouped.apply(tf.data.experimental.assert_cardinality(batches.sum()))
    return grouped.prefetch(tf.data.AUTOTUNE)


def predict_bucketed(model, tokens, batch_size: int = 256) -> np.ndarray:
    """Predict sequences sorted by length, so that little is padding; return the results in the given order.

    Args:
        model: takes ids (batch, length).
        tokens: ragged tensor (samples, None) of token ids.
        batch: samples a batch.

    Returns:
        What the model gives, (samples, ...).
    """
    import tensorflow as tf

    order = np.argsort(tokens.row_lengths().numpy(), kind="stable")
    rows = tf.data.Dataset.from_tensor_slices(tf.gather(tokens, order)).batch(batch_size)
    found = model.predict(
        rows.map(lambda ids: ids.to_tensor()).prefetch(tf.data.AUTOTUNE), verbose=0
    )
    unsorted = np.empty_like(found)
    unsorted[order] = found
    return unsorted
