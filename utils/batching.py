"""Batches of sequences bucketed by length, so that little of a batch is padding.

What a batch is made for, such as teacher forcing, belongs to the models.
"""

import itertools
import sys

import keras
import numpy as np

from utils.fingerprints import fingerprint
from utils.text import UNKNOWN_ID


def bucket_by_length(
    tokens,
    labels,
    batch_size: int,
    seed: int | None = None,
    bucket_width: int = 50,
    transform=None,
) -> keras.utils.PyDataset:
    """Make padded batches of sequences whose lengths are about the same.

    The cost of an epoch then follows from the number of tokens, and not from the longest sequence.
    Pass `shuffle=False` to `fit`: by default Keras shuffles the batches once more, with Python's
    global random numbers, and a resumed training does not repeat that order.

    Args:
        tokens: sequences of token ids: a ragged tensor (samples, None), as from
            `TextVectorization(ragged=True)`, or a list of lists of ids. An empty one becomes one
            unknown token: a mean over no token would be NaN, and so would the loss from then on.
        labels: an array (samples, ...) or a list of numbers; or sequences, ragged or lists like
            `tokens`: then the longer of a sample's two sequences decides its bucket.
        batch_size: samples in a batch; the last batch of a bucket may be smaller.
        seed: shuffles samples and batches anew in every epoch; without it, their order is fixed.
        bucket_width: the first bucket has the lengths 1 to `bucket_width`, the second one goes on
            to `2 * bucket_width`, and so on.
        transform: function of a padded batch `(ids, labels)` that returns what the model gets, for
            example `(inputs, targets, sample_weights)`.

    Returns:
        An item is two NumPy arrays: ids (batch, length), padded with 0 to the longest sequence of
        the bucket, and labels (batch, ...), padded likewise if they are sequences. The order
        follows from the seed and the attribute `epoch` alone, which starts at 0; Keras adds 1 at
        the end of every epoch of `fit`, `evaluate` or `predict`. If an epoch breaks off, the next
        `fit` adds 1 as it begins: set `epoch`, or pass the batches to `resume_callbacks`, which
        does so.

    Raises:
        ValueError: there are no sequences, or not as many labels as sequences.
        TypeError: ids are not integers.
    """
    sequences = [_Sequences(tokens).with_unknown_for_empty()]
    is_list_of_lists = isinstance(labels, list) and labels and np.ndim(labels[0]) > 0
    if is_list_of_lists or hasattr(labels, "row_lengths"):
        sequences.append(_Sequences(labels))
        labels = None
    else:
        labels = np.asarray(labels)
    num_samples = len(sequences[0].lengths)
    num_labels = len(sequences[1].lengths) if labels is None else len(labels)
    if num_samples != num_labels:
        raise ValueError(f"{num_samples} sequences, but {num_labels} labels.")
    longest = np.max([part.lengths for part in sequences], axis=0)  # (samples,)
    buckets = np.maximum(longest - 1, 0) // bucket_width
    return _BucketedBatches(sequences, labels, buckets, batch_size, seed, transform)


def predict_bucketed(model, tokens, batch_size: int = 256) -> np.ndarray:
    """Predict sequences in batches sorted by length; return the results in the order of `tokens`.

    Args:
        model: takes ids (batch, length).
        tokens: sequences of token ids, as for `bucket_by_length`.
        batch_size: sequences in a batch.

    Returns:
        What the model returns, (samples, ...).

    Raises:
        ValueError: there are no sequences.
    """
    sequences = _Sequences(tokens).with_unknown_for_empty()
    buckets = np.empty_like(sequences.lengths)
    for number, rows in enumerate(rows_by_length(sequences.lengths, batch_size)):
        buckets[rows] = number  # one batch each
    batches = _BucketedBatches([sequences], None, buckets, batch_size)
    batched_results = model.predict(batches, verbose=0)
    results = np.empty_like(batched_results)
    results[np.concatenate(batches.rows_by_batch())] = batched_results
    return results


def rows_by_length(lengths, batch_size: int) -> list[np.ndarray]:
    """Return the row numbers of batches of similar length, the shortest first."""
    order = np.argsort(lengths, kind="stable")
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


class _BucketedBatches(keras.utils.PyDataset):
    """Batches of samples from one bucket each; an epoch has every sample once."""

    def __init__(self, sequences, labels, buckets, batch_size, seed=None, transform=None):
        super().__init__()
        self.epoch = 0
        self._sequences = sequences  # one or two `_Sequences`, which are padded
        self._labels = labels  # (samples, ...), or None
        self._buckets = buckets  # (samples,), each 0 or more
        self._batch_size = batch_size
        self._seed = seed
        self._transform = transform
        self._in_epoch = False
        self._planned = (None, None)
        # A batch is as long as its bucket's longest sequence: so every epoch has the same shapes.
        self._lengths = np.zeros((len(sequences), buckets.max() + 1), "int64")
        for longest, part in zip(self._lengths, sequences, strict=True):
            np.maximum.at(longest, buckets, part.lengths)
        self._num_batches = int(np.sum(-(-np.bincount(buckets) // batch_size)))

    def __len__(self):
        return self._num_batches

    def __getitem__(self, index):
        rows = self.rows_by_batch()[index]
        lengths = self._lengths[:, self._buckets[rows[0]]]  # (sequences,)
        batch = []
        for part, length in zip(self._sequences, lengths, strict=True):
            batch.append(part.padded(rows, length))
        if self._labels is not None:
            batch.append(self._labels[rows])
        return self._transform(*batch) if self._transform else tuple(batch)

    @property
    def fingerprint(self) -> str:
        """Hash the sequences, the labels, and what shuffles and transforms them."""
        sequences = [[part.ids, part.lengths] for part in self._sequences]
        plan = [self._buckets, self._batch_size, self._seed, self._transform]
        return fingerprint([sequences, self._labels, plan])

    def on_epoch_begin(self):
        self._in_epoch = True

    def on_epoch_end(self):
        # Keras calls this once more before the first epoch.
        self.epoch += self._in_epoch
        self._in_epoch = False

    def rows_by_batch(self) -> list[np.ndarray]:
        epoch = self.epoch
        planned_epoch, batches = self._planned
        if planned_epoch != epoch:
            batches = self._plan(epoch)
            self._planned = (epoch, batches)  # at once: Keras reads ahead in another thread
        return batches

    def _plan(self, epoch):
        order = np.arange(len(self._buckets))
        if self._seed is not None:
            rng = np.random.default_rng([self._seed, epoch])
            order = rng.permutation(order)
        batches = []
        for bucket in np.unique(self._buckets):
            rows = order[self._buckets[order] == bucket]
            batches += np.split(rows, range(self._batch_size, len(rows), self._batch_size))
        if self._seed is None:
            batches.sort(key=lambda rows: rows[-1])  # as if rows arrived one by one
        else:
            batches = [batches[number] for number in rng.permutation(len(batches))]
        return self._with_two_shapes_first(batches)

    def _with_two_shapes_first(self, batches):
        # With TensorFlow, Keras takes a length that the first two batches share for the length of
        # all batches. So these two must differ in every length that is not the same everywhere.
        used = np.unique(self._buckets)
        varying = np.ptp(self._lengths[:, used], axis=1) > 0  # (sequences,)
        lengths = [self._lengths[varying, self._buckets[rows[0]]] for rows in batches]
        # Keras builds a mirrored model on the mean of the shares of the first batch: all devices
        # must get as many rows of it.
        num_devices = _num_devices()
        for pair in itertools.combinations(range(len(batches)), 2):
            if np.all(lengths[pair[0]] != lengths[pair[1]]):
                for first, second in (pair, pair[::-1]):
                    if len(batches[first]) % num_devices == 0:
                        others = [rows for i, rows in enumerate(batches) if i not in pair]
                        return [batches[first], batches[second], *others]
        return batches


def _num_devices() -> int:
    """Return the number of devices that a model is mirrored on; 1 without TensorFlow."""
    if "tensorflow" not in sys.modules:
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


class _Sequences:
    """Sequences of ids end to end in one array, so that a batch is padded without a loop."""

    def __init__(self, rows):
        if hasattr(rows, "row_lengths"):  # a ragged tensor
            self.ids = rows.flat_values.numpy()  # (tokens,)
            self.lengths = rows.row_lengths().numpy()  # (samples,)
        else:
            # An empty list would be taken for one of floats.
            nonempty = [row for row in rows if len(row)] or [np.zeros(0, "int64")]
            self.ids = np.concatenate(nonempty, dtype="int64", casting="same_kind")
            self.lengths = np.array([len(row) for row in rows])
        if not len(self.lengths):
            raise ValueError("There are no sequences.")
        self.starts = np.cumsum(self.lengths) - self.lengths  # (samples,)

    def with_unknown_for_empty(self):
        is_empty = self.lengths == 0
        self.ids = np.insert(self.ids, self.starts[is_empty], UNKNOWN_ID)
        self.lengths = np.maximum(self.lengths, 1)
        self.starts = np.cumsum(self.lengths) - self.lengths
        return self

    def padded(self, rows, length):
        positions = np.arange(length)  # (length,)
        is_token = positions < self.lengths[rows][:, None]  # (batch, length)
        indices = self.starts[rows][:, None] + positions  # (batch, length)
        padded = np.zeros(is_token.shape, self.ids.dtype)
        padded[is_token] = self.ids[indices[is_token]]
        return padded
