"""Greedy and beam search against an exhaustive search over a tiny language with made-up probabilities."""

import inspect
import itertools

import numpy as np
import pytest
from keras import ops

from utils import decoding

START, END, WORDS, LIMIT = 1, 2, 5, 4  # ids: 0 padding, 1 start, 2 end, 3 and 4 words
TABLE = np.random.default_rng(5).normal(size=(40, WORDS)).astype("float32") * 2
TABLE[:, [0, START]] = -30  # no model writes these


def step(ids, state):
    """Logits that depend on everything written before: the state is a number that stands for all of it."""
    history = (7 * state["history"] + ids[:, None]) % 40
    return ops.take(ops.convert_to_tensor(TABLE), history[:, 0], axis=0), {"history": history}


def begin(*histories):
    return {"history": np.array(histories, "int32")[:, None]}


def log_probability(history, sequence):
    """The chain rule, one row at a time in NumPy."""
    total, last = 0.0, START
    for token in sequence:
        history = (7 * history + last) % 40
        logits = TABLE[history].astype("float64")
        total += logits[token] - np.log(np.exp(logits).sum())
        last = token
    return total


def every_sequence():
    """All sequences of at most LIMIT tokens that end at their end, or are cut off at the limit."""
    for length in range(1, LIMIT + 1):
        for words in itertools.product((3, 4), repeat=length - 1):
            yield (*words, END)
    yield from itertools.product((3, 4), repeat=LIMIT)


def trimmed(row):
    return tuple(int(i) for i in row if i)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty):
    histories = list(range(25))
    found = decoding.beam_search(step, begin(*histories), START, END, LIMIT, width=60, penalty=penalty)
    for history, row in zip(histories, found, strict=True):

        def worth(sequence, history=history):
            return log_probability(history, sequence) / ((5 + len(sequence)) / 6) ** penalty

        assert trimmed(row) == max(every_sequence(), key=worth)


def test_the_penalty_makes_sentences_longer():
    lengths = [
        np.mean(
            [len(trimmed(row)) for row in decoding.beam_search(step, begin(*range(40)), START, END, 9, 8, p)]
        )
        for p in (0.0, 1.0, 3.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_greedy_takes_the_best_word_of_each_step():
    found = decoding.greedy(step, begin(*range(30)), START, END, LIMIT)
    for history, row in zip(range(30), found, strict=True):
        written, last = [], START
        while len(written) < LIMIT and last != END:
            history = (7 * history + last) % 40
            last = int(TABLE[history].argmax())
            written.append(last)
        assert trimmed(row) == tuple(written)
        assert not row[len(written) :].any(), "padding behind the end"


@pytest.mark.parametrize("penalty", [0.0, 0.6])
def test_a_beam_of_one_is_greedy(penalty):
    narrow = decoding.beam_search(step, begin(*range(40)), START, END, 12, width=1, penalty=penalty)
    np.testing.assert_array_equal(narrow, decoding.greedy(step, begin(*range(40)), START, END, 12))


@pytest.mark.parametrize("search", [decoding.greedy, decoding.beam_search])
def test_rows_of_a_batch_do_not_know_of_each_other(search):
    together = search(step, begin(*range(20)), START, END, LIMIT)
    for history, row in enumerate(together):
        assert trimmed(search(step, begin(history), START, END, LIMIT)[0]) == trimmed(row)


@pytest.mark.parametrize("search", [decoding.greedy, decoding.beam_search])
def test_a_model_that_never_ends_is_cut_off(search):
    def endless(ids, state):
        return ops.convert_to_tensor(np.tile([-9.0, -9, -9, 0, -1], (ids.shape[0], 1))), state

    assert search(endless, begin(0, 1), START, END, 6).tolist() == [[3] * 6] * 2


@pytest.mark.parametrize("search", [decoding.greedy, decoding.beam_search])
def test_writing_stops_when_all_rows_have_ended(search):
    calls = []

    def at_once(ids, state):
        calls.append(1)
        return ops.convert_to_tensor(np.tile([-99.0, -99, 0, -99, -99], (ids.shape[0], 1))), state

    assert search(at_once, begin(0, 1, 2), START, END, 50).tolist() == [[END]] * 3
    assert len(calls) < 5


def test_a_beam_of_none_is_refused():
    with pytest.raises(ValueError, match="width=0: keep at least one"):
        decoding.beam_search(step, begin(0), START, END, LIMIT, width=0)


def test_decoding_runs_on_any_backend():
    assert "tensorflow" not in inspect.getsource(decoding)
