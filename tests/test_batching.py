import keras
import numpy as np
import pytest

from utils import batching
from utils.batching import bucket_by_length, predict_bucketed, rows_by_length


@pytest.fixture(scope="module")
def rows():
    """Make 300 sequences of 1 to 179 ids; all ids of sequence n are n + 1."""
    lengths = np.random.default_rng(0).integers(1, 180, 300)
    return [[number + 1] * int(length) for number, length in enumerate(lengths)]


@pytest.fixture(params=["ragged", "lists"])
def as_tokens(request):
    """Return a function that makes a ragged tensor of lists of ids, or leaves the lists."""
    if request.param == "lists":
        return lambda rows: rows
    tf = pytest.importorskip("tensorflow")
    # A slice of rows, as in a notebook: its values begin inside another tensor.
    return lambda rows: tf.ragged.constant([[7, 7], *rows, [8]], dtype="int64")[1:-1]


def order(batches) -> list[int]:
    """Return the labels of one epoch, in order."""
    return np.concatenate([labels for _, labels in batches]).tolist()


@pytest.mark.parametrize("seed", [None, 0])
def test_an_epoch_has_every_sequence_once_and_little_padding(rows, as_tokens, seed):
    lengths = np.array([len(row) for row in rows])
    # Buckets of 1 to 50, 51 to 100 and so on; each pads to its own longest sequence.
    longest = {bucket: lengths[(lengths - 1) // 50 == bucket].max() for bucket in range(4)}
    batches = bucket_by_length(as_tokens(rows), np.arange(300), 16, seed)
    for epoch in range(3):
        batches.epoch = epoch
        items = list(batches)
        assert len(items) == len(batches)
        assert sorted(order(items)) == list(range(300))
        for ids, labels in items:
            assert isinstance(ids, np.ndarray) and ids.dtype == "int64"
            assert len(ids) <= 16
            (bucket,) = set((lengths[labels] - 1) // 50)
            assert ids.shape == (len(labels), longest[bucket])
            for row, label in zip(ids, labels, strict=True):
                expected = rows[label] + [0] * (longest[bucket] - len(rows[label]))
                assert row.tolist() == expected
    full = sum(len(ids) == 16 for ids, _ in items)
    assert full >= len(items) - 4, "only the last batch of a bucket is smaller"


def test_an_index_past_the_end_raises(rows):
    batches = bucket_by_length(rows, np.arange(300), 16)
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_the_order_follows_from_seed_and_epoch_alone(rows):
    def epochs(seed):
        batches = bucket_by_length(rows, np.arange(300), 16, seed)
        orders = []
        for batches.epoch in (0, 1, 2):
            orders.append(order(batches))
        return orders

    fixed = epochs(None)
    assert fixed[0] == fixed[1] == fixed[2]
    first = epochs(1)
    assert first == epochs(1)
    assert first[0] != first[1] != first[2] != first[0]
    assert epochs(2)[0] != first[0]
    # Going back gives the earlier order again, whatever was read in between.
    batches = bucket_by_length(rows, np.arange(300), 16, 1)
    batches.epoch = 2
    assert order(batches) == first[2]
    batches.epoch = 0
    assert order(batches) == first[0]
    # It is more than another order of the same batches.
    compositions = [
        {tuple(sorted(labels.tolist())) for _, labels in epoch}
        for epoch in (bucket_by_length(rows, np.arange(300), 16, seed) for seed in (1, 2))
    ]
    assert not compositions[0] & compositions[1]


def test_without_a_seed_batches_come_as_they_fill_up():
    rows = [[1], [2] * 9, [3], [4] * 9, [5], [6]]
    batches = bucket_by_length(rows, np.arange(6), 2, bucket_width=5)
    assert [labels.tolist() for _, labels in batches] == [[0, 2], [1, 3], [4, 5]]


def test_short_sequences_are_one_bucket():
    batches = bucket_by_length([[1], [2, 2], [3]], np.zeros(3), 2)
    assert [ids.tolist() for ids, _ in batches] == [[[1, 0], [2, 2]], [[3, 0]]]


def test_an_empty_sequence_is_one_unknown_token():
    ((ids, labels),) = bucket_by_length([[], [2, 2]], [5, 6], 2)
    assert ids.tolist() == [[1, 0], [2, 2]] and labels.tolist() == [5, 6]
    ((ids, labels),) = bucket_by_length([[], []], [[], [3]], 2)
    assert ids.tolist() == [[1], [1]] and labels.tolist() == [[0], [3]]


@pytest.mark.parametrize("seed", range(2))
def test_empty_sequences_leave_every_loss_and_prediction_finite(as_tokens, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.choice([0, 0, 1, 5, 60], 90)
    rows = [rng.integers(1, 20, length).tolist() for length in lengths]
    inputs = keras.Input((None,), dtype="int64")
    vectors = keras.layers.Embedding(20, 4, mask_zero=True)(inputs)
    pooled = keras.layers.GlobalAveragePooling1D()(vectors)  # 0 / 0 where all is padding
    model = keras.Model(inputs, keras.layers.Dense(1)(pooled))
    model.compile("adam", "mse")
    batches = bucket_by_length(as_tokens(rows), np.ones(90), 8, seed)
    ids = np.concatenate([np.pad(ids, ((0, 0), (0, 60 - ids.shape[1]))) for ids, _ in batches])
    assert sorted(map(tuple, ids)) == sorted(tuple((row or [1]) + [0] * 60)[:60] for row in rows)
    history = model.fit(batches, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    predictions = predict_bucketed(model, as_tokens(rows), 8)
    one_by_one = [model.predict_on_batch(np.array([row or [1]]))[0] for row in rows[:12]]
    np.testing.assert_allclose(predictions[:12], one_by_one, atol=1e-5)
    assert np.isfinite(predictions).all()


def test_the_longer_of_two_sequences_decides_the_bucket(as_tokens):
    source = [[1], [1, 1], [1] * 6, [1]]
    target = [[2, 2], [2], [2], [2] * 7]
    batches = bucket_by_length(as_tokens(source), as_tokens(target), 4, bucket_width=4)
    items = [(ids.tolist(), labels.tolist()) for ids, labels in batches]
    assert items == [
        ([[1, 0], [1, 1]], [[2, 2], [2, 0]]),
        ([[1] * 6, [1] + [0] * 5], [[2] + [0] * 6, [2] * 7]),
    ]


def test_a_transform_makes_the_item():
    def shifted(source, target):
        return (source, target[:, :-1]), target[:, 1:], target[:, 1:] != 0

    batches = bucket_by_length([[1, 2]], [[3, 4, 5]], 1, transform=shifted)
    (((source, decoder_inputs), targets, weights),) = batches
    assert source.tolist() == [[1, 2]]
    assert decoder_inputs.tolist() == [[3, 4]]
    assert targets.tolist() == [[4, 5]]
    assert weights.tolist() == [[True, True]]


def test_labels_must_match():
    with pytest.raises(ValueError, match="2 sequences, but 3 labels"):
        bucket_by_length([[1], [2]], np.zeros(3), 2)


@pytest.mark.parametrize("shape", [(), (3,), (1,), (2, 2)])
def test_labels_in_an_array_stay_what_they_are(rows, shape):
    labels = np.random.default_rng(0).random((300, *shape)).astype("float32")
    batches = bucket_by_length(rows, labels, 16, seed=0)
    for ids, batch_labels in batches:
        assert batch_labels.dtype == "float32"
        np.testing.assert_array_equal(batch_labels, labels[ids[:, 0] - 1])


def test_ids_are_integers():
    with pytest.raises(TypeError, match="float64"):
        bucket_by_length([[1, 2], [3]], [[0.7, 0.3], [1.0]], 2)


@pytest.mark.parametrize("labels", [[], np.zeros(0), np.zeros(2)])
def test_no_sequences_are_refused(as_tokens, labels):
    nothing = as_tokens([[1], [2]])[:0]
    with pytest.raises(ValueError, match="no sequences"):
        bucket_by_length(nothing, labels, 2)
    with pytest.raises(ValueError, match="no sequences"):
        predict_bucketed(None, nothing)


def test_rows_are_sorted_by_length_and_else_stay_in_order():
    rows = rows_by_length(np.array([3, 1, 2, 1, 3]), 2)
    assert [batch.tolist() for batch in rows] == [[1, 3], [2, 0], [4]]
    assert rows_by_length(np.array([], int), 2) == []


class Recorder(keras.Model):
    """Learns nothing, and stores the batches that `fit` and `evaluate` hand to it."""

    def __init__(self):
        super().__init__()
        self.batches = []
        self.compile(loss="mse", run_eagerly=True)

    def train_step(self, data):
        ids, labels = data
        self.batches.append((ids.numpy(), labels.numpy()))
        return {"loss": 0.0}

    test_step = train_step


@pytest.mark.tensorflow
def test_fit_and_evaluate_move_the_epoch_on(rows):
    batches = bucket_by_length(rows, np.arange(300), 16, seed=1)
    expected = []
    for batches.epoch in range(3):
        expected += order(batches)
    batches.epoch = 0
    model = Recorder()
    model.fit(batches, epochs=2, shuffle=False, verbose=0)
    assert batches.epoch == 2
    model.evaluate(batches, verbose=0)
    assert batches.epoch == 3
    assert order(model.batches) == expected


@pytest.mark.tensorflow
@pytest.mark.parametrize("seed", range(8))
def test_fit_takes_batches_of_any_length_though_the_first_two_may_agree(seed):
    # Most sequences are cut to 6 ids, as reviews are cut to the longest length of a model.
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.integers(2, 20, 41), 6)
    source = [[1] * int(length) for length in lengths]
    target = [[2] * int(length) for length in rng.permutation(lengths)]
    for labels in (np.zeros(41), target):
        for bucket_width in (2, 50):
            model = Recorder()
            batches = bucket_by_length(source, labels, 4, seed, bucket_width)
            model.fit(batches, epochs=3, shuffle=False, verbose=0)
            assert sum(len(ids) for ids, _ in model.batches) == 3 * 41
            assert sum(np.count_nonzero(ids) for ids, _ in model.batches) == 3 * lengths.sum()


def test_two_sequences_of_varying_lengths_both_vary_in_the_first_two_batches():
    source = [[1] * 3, [1] * 3, [1] * 4, [1] * 3]
    target = [[2] * 5, [2] * 6, [2] * 5, [2] * 5]
    for seed in range(10):
        batches = bucket_by_length(source, target, 1, seed, bucket_width=1)
        (ids, labels), (other_ids, other_labels) = batches[0], batches[1]
        assert ids.shape[1] != other_ids.shape[1]
        assert labels.shape[1] != other_labels.shape[1]


@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_predictions_come_back_in_the_given_order(rows, as_tokens, batch_size):
    inputs = keras.Input((None,), dtype="int64")
    embedding = keras.layers.Embedding(301, 1, mask_zero=True, embeddings_initializer="normal")
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(embedding(inputs)))
    table = embedding.get_weights()[0]  # (301, 1)
    some = rows[: 20 if batch_size == 1 else 300]
    predictions = predict_bucketed(model, as_tokens(some), batch_size)
    np.testing.assert_allclose(predictions, table[1 : len(some) + 1], rtol=1e-4)


def test_two_devices_get_as_many_rows_of_the_first_batch(monkeypatch):
    # Buckets of 3, 3 and 4 sequences: only one of the three batches can be halved.
    tokens = [[1]] * 3 + [[1, 2]] * 3 + [[1, 2, 3]] * 4
    labels = np.zeros(len(tokens))
    one = bucket_by_length(tokens, labels, 4, bucket_width=1)
    assert [len(ids) for ids, _ in one] == [3, 3, 4]
    monkeypatch.setattr(batching, "_num_devices", lambda: 2)
    two = bucket_by_length(tokens, labels, 4, bucket_width=1)
    assert [len(ids) for ids, _ in two] == [4, 3, 3]
