"""Teacher forcing, the loss by hand, and the GRU decoder step by step against the whole model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import datasets, decoding
from utils.models import seq2seq
from utils.text import adapt_vectorizers

SOURCE = tf.ragged.constant([[5, 6, 7], [4], [9, 8, 3, 3, 12], [2, 2]], dtype="int64")
START_ID = 2
END_ID = 3


@pytest.fixture
def gru():
    keras.utils.set_random_seed(1)
    model = seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.5)
    rng = np.random.default_rng(1)
    model.set_weights([w + rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def ragged(rows):
    return tf.ragged.constant(rows, dtype="int64")


def random_pairs(count):
    rng = np.random.default_rng(0)
    source = [[3 + row % 7] * n for row, n in enumerate(rng.integers(1, 20, count))]
    target = [[START_ID, *[5] * n, END_ID] for n in rng.integers(1, 20, count)]
    return ragged(source), ragged(target)


@pytest.mark.tensorflow
def test_targets_are_the_decoder_inputs_shifted_by_one_and_padding_has_no_weight():
    source = ragged([[4], [5, 6], [7, 8, 9, 4], [5], [6, 6, 6]])
    target = ragged([[2, 9, 3], [2, 9, 8, 7, 6, 5, 3], [2, 7, 3], [2, 3], [2, 8, 8, 3]])
    pairs = []
    batches = seq2seq.teacher_forcing_batches(source, target, 2)
    for number in range(len(batches)):
        (source_ids, decoder_input), decoder_target, weights = batches[number]
        assert weights.dtype == np.float32
        np.testing.assert_array_equal(weights, decoder_target != 0)
        np.testing.assert_array_equal(decoder_input[:, 1:], decoder_target[:, :-1])
        whole_target = np.concatenate([decoder_input[:, :1], decoder_target], axis=1)
        for ids, target_ids in zip(source_ids, whole_target, strict=True):
            pairs.append((ids[ids > 0].tolist(), target_ids[target_ids > 0].tolist()))
    expected = zip(source.to_list(), target.to_list(), strict=True)
    assert sorted(pairs) == sorted(expected)


@pytest.mark.tensorflow
def test_batches_are_bucketed_by_length_and_shuffled_in_every_epoch():
    source, target = random_pairs(200)
    batches = seq2seq.teacher_forcing_batches(source, target, 16, seed=1)
    orders = []
    for epoch in range(2):
        batches.epoch = epoch
        epoch_batches = [batches[number] for number in range(len(batches))]
        orders.append([source_ids.tolist() for (source_ids, _), _, _ in epoch_batches])
        assert sum(len(rows) for rows in orders[-1]) == 200
        # Of one bucket: no row is more than 3 tokens shorter than the longest, in its longer side.
        for (source_ids, decoder_input), decoder_target, _ in epoch_batches:
            target_lengths = 1 + (decoder_target != 0).sum(axis=1)
            lengths = np.maximum((source_ids != 0).sum(axis=1), target_lengths)
            assert np.ptp(lengths) <= 3
            assert max(source_ids.shape[1], decoder_input.shape[1] + 1) - lengths.min() <= 3
    assert orders[0] != orders[1]


def test_the_learning_rate_warms_up_and_decreases_to_zero(gru):
    seq2seq.compile_seq2seq(gru, 4e-3, 200)
    # 10 steps of warm-up; half-way through the remaining 190, a cosine is at a half.
    rates = []
    for step in (0, 5, 10, 105, 200):
        gru.optimizer.iterations.assign(step)
        rates.append(float(gru.optimizer.learning_rate))
    assert rates == pytest.approx([0, 2e-3, 4e-3, 2e-3, 0], abs=1e-6)


def test_the_loss_leaves_padding_out(gru):
    seq2seq.compile_seq2seq(gru, 1e-3, 100)
    target = np.array([[2, 5, 9, 3, 0, 0], [2, 7, 3, 0, 0, 0]])
    inputs = [SOURCE.to_tensor().numpy()[:2], target[:, :-1]]
    decoder_target = target[:, 1:]
    result = gru.test_on_batch(inputs, decoder_target, decoder_target != 0, return_dict=True)

    logits = gru.predict(inputs, verbose=0).astype("float64")
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    tokens = [(row, i) for row in range(2) for i in range(5) if decoder_target[row, i]]
    assert len(tokens) == 5
    losses = [-log_probabilities[row, i, decoder_target[row, i]] for row, i in tokens]
    right = [logits[row, i].argmax() == decoder_target[row, i] for row, i in tokens]
    assert result["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert result["accuracy"] == pytest.approx(np.mean(right))

    more_padding = ((0, 0), (0, 20))
    padded_inputs = [inputs[0], np.pad(inputs[1], more_padding)]
    padded_target = np.pad(decoder_target, more_padding)
    padded = gru.test_on_batch(padded_inputs, padded_target, padded_target != 0, return_dict=True)
    assert padded == pytest.approx(result, rel=1e-4), "more padding, the same loss"


def test_the_gru_does_not_depend_on_the_future_or_on_padding(gru):
    target = np.array([[2, 5, 9, 14, 7]] * 4)
    logits = gru.predict([SOURCE.to_tensor(), target], verbose=0)
    other_future = target.copy()
    other_future[:, 3:] = 20
    changed = gru.predict([SOURCE.to_tensor(), other_future], verbose=0)
    np.testing.assert_array_equal(changed[:, :3], logits[:, :3])
    assert np.abs(changed[:, 3:] - logits[:, 3:]).max() > 0.1, "or nothing was changed"
    padded_source = np.pad(SOURCE.to_tensor(), ((0, 0), (0, 6)))
    padded = gru.predict([padded_source, target], verbose=0)
    np.testing.assert_allclose(padded, logits, atol=1e-5)


def test_an_encoder_of_ones_own_must_have_the_name_that_decoding_looks_for():
    own = keras.layers.GRU(8, name="encoder")
    model = seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.5, encoder=own)
    assert model.get_layer("encoder") is own
    init_state, _ = seq2seq.gru_decode_fns(model)
    assert init_state(SOURCE.to_tensor())[0].shape == (4, 8)
    with pytest.raises(ValueError, match='"encoder", not "my_gru"'):
        seq2seq.build_gru_seq2seq(20, 25, 6, 8, 0.5, encoder=keras.layers.GRU(8, name="my_gru"))


def test_the_carried_state_generates_what_the_whole_prefix_generates(gru):
    init_state, step = seq2seq.gru_decode_fns(gru)
    batched = decoding.greedy_search(step, init_state(SOURCE.to_tensor()), START_ID, END_ID, 9)
    for source_ids, generated in zip(SOURCE.numpy(), batched, strict=True):
        prefix = [START_ID]
        while len(prefix) < 10 and (len(prefix) == 1 or prefix[-1] != END_ID):
            logits = gru.predict([source_ids[None], np.array([prefix])], verbose=0)
            prefix.append(int(logits[0, -1].argmax()))
        assert [i for i in generated if i] == [i for i in prefix[1:] if i]


VOCABULARY = ["", "[UNK]", "[start]", "[end]", *(f"w{n}" for n in range(21))]


def test_translations_are_in_the_order_of_the_source(gru):
    init_state, step = seq2seq.gru_decode_fns(gru)
    batched = seq2seq.translate(SOURCE, init_state, step, VOCABULARY, batch_size=2)
    single = []
    for row in range(4):
        single += seq2seq.translate(SOURCE[row : row + 1], init_state, step, VOCABULARY)
    assert batched == single
    assert len(set(batched)) > 1


def test_a_source_without_tokens_has_no_translation(gru):
    init_state, step = seq2seq.gru_decode_fns(gru)
    expected = seq2seq.translate(ragged([[5, 6, 7], [4]]), init_state, step, VOCABULARY)
    with_empty = ragged([[5, 6, 7], [], [4], []])
    translations = seq2seq.translate(with_empty, init_state, step, VOCABULARY)
    assert all(expected) and translations == [expected[0], "", expected[1], ""]
    assert seq2seq.translate(ragged([[], []]), init_state, step, VOCABULARY) == ["", ""]


@pytest.mark.tensorflow
def test_odd_texts_are_translated(odd_texts):
    keras.utils.set_random_seed(0)
    texts = [text[:11] for text in odd_texts]
    pairs = datasets.Pairs(texts, texts)
    source_vectorizer, target_vectorizer = adapt_vectorizers(pairs, 200)
    vocabulary = target_vectorizer.get_vocabulary()
    model = seq2seq.build_gru_seq2seq(
        source_vectorizer.vocabulary_size(), len(vocabulary), 4, 4, 0.0
    )
    ids = source_vectorizer(pairs.english)
    decode_fns = seq2seq.gru_decode_fns(model)
    translations = seq2seq.translate(ids, *decode_fns, vocabulary, max_new_tokens=3)
    assert len(translations) == len(texts)
    lengths = ids.row_lengths().numpy()
    assert 0 in lengths
    assert all(text == "" for text, length in zip(translations, lengths, strict=True) if not length)
    assert any(translations)
    for inputs, _, weights in seq2seq.teacher_forcing_batches(
        ids, target_vectorizer(pairs.spanish), batch_size=64
    ):
        assert np.isfinite(model(inputs)).all() and weights.any(axis=1).all()
