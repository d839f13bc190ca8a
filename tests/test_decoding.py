"""Greedy, drawing and beam search against their definitions, over a tiny language with made-up chances."""

import inspect
import itertools

import keras
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
    found = decoding.beam_search(
        step, begin(*histories), START, END, LIMIT, num_beams=60, length_penalty=penalty
    )
    for history, row in zip(histories, found, strict=True):

        def worth(sequence, history=history):
            return log_probability(history, sequence) / ((5 + len(sequence)) / 6) ** penalty

        assert trimmed(row) == max(every_sequence(), key=worth)


def test_the_penalty_makes_sentences_longer():
    lengths = [
        np.mean(
            [
                len(trimmed(row))
                for row in decoding.beam_search(step, begin(*range(40)), START, END, 9, 8, p)
            ]
        )
        for p in (0.0, 1.0, 3.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_greedy_takes_the_best_word_of_each_step():
    found = decoding.greedy_search(step, begin(*range(30)), START, END, LIMIT)
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
    narrow = decoding.beam_search(
        step, begin(*range(40)), START, END, 12, num_beams=1, length_penalty=penalty
    )
    np.testing.assert_array_equal(
        narrow, decoding.greedy_search(step, begin(*range(40)), START, END, 12)
    )


@pytest.mark.parametrize("search", [decoding.greedy_search, decoding.beam_search])
def test_rows_of_a_batch_do_not_know_of_each_other(search):
    together = search(step, begin(*range(20)), START, END, LIMIT)
    for history, row in enumerate(together):
        assert trimmed(search(step, begin(history), START, END, LIMIT)[0]) == trimmed(row)


@pytest.mark.parametrize("search", [decoding.greedy_search, decoding.beam_search])
def test_a_model_that_never_ends_is_cut_off(search):
    def endless(ids, state):
        return ops.convert_to_tensor(np.tile([-9.0, -9, -9, 0, -1], (ids.shape[0], 1))), state

    assert search(endless, begin(0, 1), START, END, 6).tolist() == [[3] * 6] * 2


@pytest.mark.parametrize("search", [decoding.greedy_search, decoding.beam_search])
def test_writing_stops_when_all_rows_have_ended(search):
    calls = []

    def at_once(ids, state):
        calls.append(1)
        return ops.convert_to_tensor(np.tile([-99.0, -99, 0, -99, -99], (ids.shape[0], 1))), state

    assert search(at_once, begin(0, 1, 2), START, END, 50).tolist() == [[END]] * 3
    assert len(calls) < 5


def test_a_beam_of_none_is_refused():
    with pytest.raises(ValueError, match="width=0: keep at least one"):
        decoding.beam_search(step, begin(0), START, END, LIMIT, num_beams=0)


def test_decoding_runs_on_any_backend():
    assert "tensorflow" not in inspect.getsource(decoding)


LISTS = np.log(np.random.default_rng(6).dirichlet(np.full(40, 0.4), 200) + 1e-12).astype("float32")


def plain(logits):
    powers = np.exp(logits.astype("float64") - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def by_definition(chances, name, number):
    """The set of tokens that may be drawn, one row, one token at a time."""
    falling = sorted(range(len(chances)), key=lambda i: -chances[i])
    if name == "epsilon":
        return {i for i in falling if chances[i] >= number} or {falling[0]}
    if name == "top_k":
        return set(falling[:number])
    if name == "min_p":
        return {i for i in falling if chances[i] >= number * chances[falling[0]]}
    kept, total = set(), 0.0
    for i in falling:
        if total >= number:
            break
        kept.add(i)
        total += chances[i]
    return kept


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("epsilon", 0.05), ("epsilon", 0.9), ("top_k", 1), ("top_k", 7), ("top_k", 100)),
        *(
            ("top_p", 0.3),
            ("top_p", 0.9),
            ("top_p", 1e-6),
            ("min_p", 0.2),
            ("min_p", 1.0),
            ("min_p", 0.0),
        ),
    ],
)
def test_what_may_be_drawn_follows_the_definition(name, number):
    found = ops.convert_to_numpy(decoding.filtered_probabilities(LISTS, **{name: number}))
    for row, chances in zip(found, plain(LISTS), strict=True):
        kept = by_definition(chances, name, number)
        assert set(np.flatnonzero(row)) == kept
        total = sum(chances[i] for i in kept)
        np.testing.assert_allclose(
            row[sorted(kept)], [chances[i] / total for i in sorted(kept)], rtol=1e-4
        )


def test_a_token_must_pass_every_rule():
    rules = {"epsilon": 0.02, "top_k": 8, "top_p": 0.8, "min_p": 0.1}
    found = ops.convert_to_numpy(decoding.filtered_probabilities(LISTS, **rules))
    for row, chances in zip(found, plain(LISTS), strict=True):
        sets = [by_definition(chances, name, number) for name, number in rules.items()]
        assert set(np.flatnonzero(row)) == set.intersection(*sets)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature):
    found = ops.convert_to_numpy(decoding.filtered_probabilities(LISTS, temperature=temperature))
    np.testing.assert_allclose(found, plain(LISTS / temperature), atol=1e-5)


def test_temperature_comes_before_the_rules():
    found = ops.convert_to_numpy(decoding.filtered_probabilities(LISTS, temperature=2.0, top_p=0.5))
    for row, chances in zip(found, plain(LISTS / 2), strict=True):
        assert set(np.flatnonzero(row)) == by_definition(chances, "top_p", 0.5)


@pytest.mark.parametrize("temperature", [0.0, 1e-7])
def test_without_temperature_the_best_token_is_certain(temperature):
    found = ops.convert_to_numpy(decoding.filtered_probabilities(LISTS, temperature=temperature))
    np.testing.assert_allclose(found, np.eye(40)[LISTS.argmax(axis=1)], atol=1e-6)


def test_equal_tokens_keep_their_number():
    same = np.zeros((3, 10), "float32")
    assert [
        int((ops.convert_to_numpy(decoding.filtered_probabilities(same, **rule))[0] > 0).sum())
        for rule in (
            {"top_k": 4},
            {"temperature": 0.0},
            {"min_p": 1.0},
            {"epsilon": 0.5},
            {"top_p": 0.35},
        )
    ] == [4, 1, 10, 10, 4]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.2},
        {"top_k": 0},
        {"epsilon": 2},
        {"min_p": -0.1},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|are probabilities"):
        decoding.filtered_probabilities(LISTS, **wrong)


def constant(row):
    """A model that expects the same whatever was written."""
    return lambda ids, state: (ops.convert_to_tensor(np.tile(row, (ids.shape[0], 1))), state)


@pytest.mark.parametrize(
    "rule", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.3}]
)
def test_ten_thousand_draws_are_as_frequent_as_they_should_be(rule):
    row = LISTS[0, :12].copy()
    row[:3] = -30  # marks
    drawn = decoding.sample(
        constant(row), begin(*[0] * 500), np.full((500, 1), START), END, 20, 3, **rule
    )
    assert drawn.shape == (500, 20)
    expected = ops.convert_to_numpy(decoding.filtered_probabilities(row[None], **rule))[0].astype(
        "float64"
    )
    seen = np.bincount(drawn.reshape(-1), minlength=12) / 10_000
    # Four standard errors of a share of 10,000 draws: one token in 16,000 would be further off by chance.
    assert (np.abs(seen - expected) <= 4 * np.sqrt(expected * (1 - expected) / 10_000) + 1e-9).all()


def test_the_seed_decides_and_nothing_else_does():
    def written(seed):
        return decoding.sample(
            step, begin(*range(30)), np.full((30, 1), START), END, 10, seed
        ).tolist()

    first = written(1)
    keras.random.normal((3,))  # moves the global generator
    assert written(1) == first != written(2)


def test_drawing_leaves_the_random_numbers_of_a_training_alone():
    keras.utils.set_random_seed(8)
    expected = ops.convert_to_numpy(keras.random.normal((4,)))
    keras.utils.set_random_seed(8)
    decoding.sample(step, begin(0, 1), np.full((2, 1), START), END, 5, 0)
    np.testing.assert_array_equal(ops.convert_to_numpy(keras.random.normal((4,))), expected)


def test_temperature_0_is_greedy():
    prompt = np.full((40, 1), START)
    drawn = decoding.sample(step, begin(*range(40)), prompt, END, 12, 0, temperature=0)
    np.testing.assert_array_equal(
        drawn, decoding.greedy_search(step, begin(*range(40)), START, END, 12)
    )


def test_a_prompt_is_read_before_anything_is_written():
    greedy = decoding.greedy_search(step, begin(*range(40)), START, END, 9)
    long = [(history, row) for history, row in enumerate(greedy) if row[3]]
    starts = np.array([[START, *row[:2]] for _, row in long])
    rest = decoding.sample(step, begin(*[h for h, _ in long]), starts, END, 7, 0, temperature=0)
    np.testing.assert_array_equal(rest, [row[2:] for _, row in long])
    assert len(long) > 5
