"""Greedy search, sampling and beam search against their definitions, over a tiny vocabulary."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from utils import decoding

# Token ids: 0 padding, 1 start, 2 end, 3 and 4 words.
START, END, VOCABULARY_SIZE, MAX_TOKENS = 1, 2, 5, 4
TABLE = np.random.default_rng(5).normal(size=(40, VOCABULARY_SIZE)).astype("float32") * 2
TABLE[:, [0, START]] = -30  # no model generates these


def step(ids, state):
    """Return logits that depend on all tokens before: the state is a hash of them."""
    history = (7 * state["history"] + ids[:, None]) % 40
    return ops.take(ops.convert_to_tensor(TABLE), history[:, 0], axis=0), {"history": history}


def initial_state(*histories):
    return {"history": np.array(histories, "int32")[:, None]}


def log_probability(history, sequence):
    """The chain rule, one row at a time in NumPy."""
    total = 0.0
    last = START
    for token in sequence:
        history = (7 * history + last) % 40
        logits = TABLE[history].astype("float64")
        total += logits[token] - np.log(np.exp(logits).sum())
        last = token
    return total


def score(history, sequence, length_penalty):
    return log_probability(history, sequence) / ((5 + len(sequence)) / 6) ** length_penalty


def finished_sequences(max_tokens=MAX_TOKENS):
    """All sequences of at most `max_tokens` tokens that end."""
    for length in range(1, max_tokens + 1):
        for words in itertools.product((3, 4), repeat=length - 1):
            yield (*words, END)


def trimmed(row):
    return tuple(int(i) for i in row if i)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_finished_sequence(length_penalty):
    histories = list(range(25))
    state = initial_state(*histories)
    rows = decoding.beam_search(step, state, START, END, MAX_TOKENS, 60, length_penalty)
    for history, row in zip(histories, rows, strict=True):
        scores = {s: score(history, s, length_penalty) for s in finished_sequences()}
        assert trimmed(row) == max(scores, key=scores.get)


def reference_beam_search(history, max_tokens, num_beams, length_penalty):
    """Search with one row, as a plain list; return all finished hypotheses and the last beam."""
    beam = [()]
    finished = []
    for _ in range(max_tokens):
        candidates = [(*tokens, token) for tokens in beam for token in range(VOCABULARY_SIZE)]
        candidates.sort(key=lambda tokens: -log_probability(history, tokens))
        finished += [tokens for tokens in candidates[:num_beams] if tokens[-1] == END]
        if len(finished) >= num_beams:
            break
        beam = [tokens for tokens in candidates if tokens[-1] != END][:num_beams]
    return finished, beam


@pytest.mark.parametrize("num_beams", [2, 3, 5, 8])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.5])
def test_a_narrow_beam_returns_the_best_finished_hypothesis(num_beams, length_penalty):
    histories = list(range(40))
    state = initial_state(*histories)
    rows = decoding.beam_search(step, state, START, END, 7, num_beams, length_penalty)
    num_searched = 0
    for history, row in zip(histories, rows, strict=True):
        finished, beam = reference_beam_search(history, 7, num_beams, length_penalty)
        scores = {tokens: score(history, tokens, length_penalty) for tokens in finished or beam}
        assert trimmed(row) == max(scores, key=scores.get)
        num_searched += len(finished) > 1
    assert num_searched > 10  # rows in which there is something to lose


def test_an_unfinished_search_returns_the_best_live_hypothesis():
    logits = np.array([-9.0, -9, -30, 0, -0.5], "float32")
    rows = decoding.beam_search(constant(logits), initial_state(0), START, END, 3, 2)
    assert rows.tolist() == [[3, 3, 3]]
    # A finished hypothesis is preferred even to a live one with a better score.
    logits = np.array([-30.0, -30, -5, 0, -30], "float32")
    rows = decoding.beam_search(constant(logits), initial_state(0), START, END, 3, 2)
    assert rows[0, -1] == END


def test_padding_within_a_hypothesis_does_not_cut_off_its_end():
    """The most probable sequence is 3, padding, 4, end."""

    def step(ids, state):
        following = np.zeros((5, 5), "float32")
        for last, token in ((START, 3), (3, 0), (0, 4), (4, END)):
            following[last, token] = 9
        return ops.convert_to_tensor(following[np.asarray(ids)]), state

    for num_beams in (1, 3):
        rows = decoding.beam_search(step, initial_state(0), START, END, 6, num_beams)
        assert rows.tolist() == [[3, 0, 4, END]]
    assert decoding.greedy_search(step, initial_state(0), START, END, 6).tolist() == rows.tolist()


@pytest.mark.parametrize("prompt_length", [1, 3])
def test_no_new_tokens_is_an_empty_result(prompt_length):
    state = initial_state(0, 1, 2)
    prompt = np.full((3, prompt_length), START)
    assert decoding.greedy_search(step, state, START, END, 0).shape == (3, 0)
    assert decoding.sample(step, state, prompt, END, 0, seed=0).shape == (3, 0)
    assert decoding.beam_search(step, state, START, END, 0).shape == (3, 0)


def test_banned_tokens_are_never_generated():
    """The others are generated as if the banned logits had been removed."""
    histories = range(40)
    prompt = np.full((40, 1), START)

    def searches(step, **banned):
        state = initial_state(*histories)
        yield decoding.greedy_search(step, state, START, END, 8, **banned)
        yield decoding.sample(step, state, prompt, END, 8, 0, top_p=0.9, **banned)
        yield decoding.beam_search(step, state, START, END, 8, 3, **banned)

    def without(ids, state):
        logits, state = step(ids, state)
        return ops.where(np.arange(VOCABULARY_SIZE) == 4, -1e9, logits), state

    results = searches(step, banned_ids=[4])
    for plain, result, expected in zip(searches(step), results, searches(without), strict=True):
        assert (plain == 4).any()
        assert not (result == 4).any()
        assert result.dtype == "int32"
        np.testing.assert_array_equal(result, expected)
    for result, expected in zip(searches(step, banned_ids={4}), searches(without), strict=True):
        np.testing.assert_array_equal(result, expected)


def test_log_probabilities_have_single_precision_even_if_the_model_has_half():
    """Near -8, float16 has steps of 1/128: there the best token would be as good as any other."""
    logits = np.zeros(3_000, "float16")
    logits[7] = 1e-3
    logits[END] = -30
    for num_beams in (1, 3):
        rows = decoding.beam_search(
            constant(logits), initial_state(0), START, END, 3, num_beams, banned_ids={0}
        )
        assert rows.tolist() == [[7, 7, 7]]


def test_a_larger_penalty_gives_longer_sequences():
    lengths = []
    for length_penalty in (0.0, 1.0, 3.0):
        state = initial_state(*range(40))
        rows = decoding.beam_search(step, state, START, END, 9, 8, length_penalty)
        lengths.append(np.mean([len(trimmed(row)) for row in rows]))
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_greedy_search_takes_the_best_token_of_each_step():
    rows = decoding.greedy_search(step, initial_state(*range(30)), START, END, MAX_TOKENS)
    for history, row in zip(range(30), rows, strict=True):
        generated = []
        last = START
        while len(generated) < MAX_TOKENS and last != END:
            history = (7 * history + last) % 40
            last = int(TABLE[history].argmax())
            generated.append(last)
        assert trimmed(row) == tuple(generated)
        assert not row[len(generated) :].any(), "no padding after the end"


@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_a_beam_of_one_is_greedy_search(length_penalty):
    narrow = decoding.beam_search(
        step, initial_state(*range(40)), START, END, 12, num_beams=1, length_penalty=length_penalty
    )
    np.testing.assert_array_equal(
        narrow, decoding.greedy_search(step, initial_state(*range(40)), START, END, 12)
    )


@pytest.mark.parametrize("search", [decoding.greedy_search, decoding.beam_search])
def test_rows_of_a_batch_do_not_depend_on_each_other(search):
    together = search(step, initial_state(*range(20)), START, END, MAX_TOKENS)
    for history, row in enumerate(together):
        assert trimmed(search(step, initial_state(history), START, END, MAX_TOKENS)[0]) == trimmed(
            row
        )


@pytest.mark.parametrize("search", [decoding.greedy_search, decoding.beam_search])
def test_a_model_that_never_ends_is_cut_off(search):
    def endless(ids, state):
        return ops.convert_to_tensor(np.tile([-9.0, -9, -9, 0, -1], (ids.shape[0], 1))), state

    assert search(endless, initial_state(0, 1), START, END, 6).tolist() == [[3] * 6] * 2


@pytest.mark.parametrize("search", [decoding.greedy_search, decoding.beam_search])
def test_decoding_stops_when_all_rows_have_ended(search):
    calls = []

    def at_once(ids, state):
        calls.append(1)
        return ops.convert_to_tensor(np.tile([-99.0, -99, 0, -99, -99], (ids.shape[0], 1))), state

    assert search(at_once, initial_state(0, 1, 2), START, END, 50).tolist() == [[END]] * 3
    assert len(calls) < 5


def test_a_search_without_beams_is_refused():
    with pytest.raises(ValueError, match="num_beams must be at least 1, not 0"):
        decoding.beam_search(step, initial_state(0), START, END, MAX_TOKENS, num_beams=0)


LOGITS = np.log(np.random.default_rng(6).dirichlet(np.full(40, 0.4), 200) + 1e-12).astype("float32")


def softmax(logits):
    powers = np.exp(logits.astype("float64") - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def allowed_tokens(probabilities, name, value):
    """Return the set of tokens that may be sampled, for one row, one token at a time."""
    descending = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    if name == "epsilon":
        return {i for i in descending if probabilities[i] >= value} or {descending[0]}
    if name == "top_k":
        return set(descending[:value])
    if name == "min_p":
        return {i for i in descending if probabilities[i] >= value * probabilities[descending[0]]}
    nucleus = set()
    total = 0.0
    for i in descending:
        if total >= value:
            break
        nucleus.add(i)
        total += probabilities[i]
    return nucleus


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon", 0.05),
        ("epsilon", 0.9),
        ("top_k", 1),
        ("top_k", 7),
        ("top_k", 100),
        ("top_p", 0.3),
        ("top_p", 0.9),
        ("top_p", 1e-6),
        ("min_p", 0.2),
        ("min_p", 1.0),
        ("min_p", 0.0),
    ],
)
def test_each_filter_follows_its_definition(name, value):
    result = ops.convert_to_numpy(decoding.filtered_probabilities(LOGITS, **{name: value}))
    for row, probabilities in zip(result, softmax(LOGITS), strict=True):
        allowed = sorted(allowed_tokens(probabilities, name, value))
        assert np.flatnonzero(row).tolist() == allowed
        expected = probabilities[allowed] / probabilities[allowed].sum()
        np.testing.assert_allclose(row[allowed], expected, rtol=1e-4)


def test_a_token_must_pass_every_filter():
    filters = {"epsilon": 0.02, "top_k": 8, "top_p": 0.8, "min_p": 0.1}
    result = ops.convert_to_numpy(decoding.filtered_probabilities(LOGITS, **filters))
    for row, probabilities in zip(result, softmax(LOGITS), strict=True):
        sets = [allowed_tokens(probabilities, name, value) for name, value in filters.items()]
        assert set(np.flatnonzero(row)) == set.intersection(*sets)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature):
    result = ops.convert_to_numpy(decoding.filtered_probabilities(LOGITS, temperature=temperature))
    np.testing.assert_allclose(result, softmax(LOGITS / temperature), atol=1e-5)


def test_temperature_is_applied_before_the_filters():
    result = ops.convert_to_numpy(
        decoding.filtered_probabilities(LOGITS, temperature=2.0, top_p=0.5)
    )
    for row, probabilities in zip(result, softmax(LOGITS / 2), strict=True):
        assert set(np.flatnonzero(row)) == allowed_tokens(probabilities, "top_p", 0.5)


@pytest.mark.parametrize("temperature", [0.0, 1e-7])
def test_without_temperature_the_best_token_is_certain(temperature):
    result = ops.convert_to_numpy(decoding.filtered_probabilities(LOGITS, temperature=temperature))
    np.testing.assert_allclose(result, np.eye(40)[LOGITS.argmax(axis=1)], atol=1e-6)


def test_filters_of_equally_probable_tokens():
    same = np.zeros((3, 10), "float32")
    assert [
        int((ops.convert_to_numpy(decoding.filtered_probabilities(same, **filter))[0] > 0).sum())
        for filter in (
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
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must be|are probabilities"):
        decoding.filtered_probabilities(LOGITS, **wrong)


def constant(row):
    """Return a model with the same distribution at every step."""
    return lambda ids, state: (ops.convert_to_tensor(np.tile(row, (ids.shape[0], 1))), state)


@pytest.mark.parametrize(
    "filter", [{}, {"temperature": 0.5}, {"top_k": 3}, {"top_p": 0.6}, {"min_p": 0.3}]
)
def test_ten_thousand_samples_follow_the_distribution(filter):
    row = LOGITS[0, :12].copy()
    row[:3] = -30  # special tokens
    drawn = decoding.sample(
        constant(row), initial_state(*[0] * 500), np.full((500, 1), START), END, 20, 3, **filter
    )
    assert drawn.shape == (500, 20)
    expected = ops.convert_to_numpy(decoding.filtered_probabilities(row[None], **filter))[0].astype(
        "float64"
    )
    frequencies = np.bincount(drawn.reshape(-1), minlength=12) / 10_000
    # Four standard errors: one token in 16,000 would deviate more by chance.
    assert (
        np.abs(frequencies - expected) <= 4 * np.sqrt(expected * (1 - expected) / 10_000) + 1e-9
    ).all()


def test_samples_depend_on_the_seed_and_on_nothing_else():
    def generated(seed):
        return decoding.sample(
            step, initial_state(*range(30)), np.full((30, 1), START), END, 10, seed
        ).tolist()

    first = generated(1)
    keras.random.normal((3,))  # moves the global generator
    assert generated(1) == first != generated(2)


def test_sampling_does_not_change_the_global_random_state():
    keras.utils.set_random_seed(8)
    expected = ops.convert_to_numpy(keras.random.normal((4,)))
    keras.utils.set_random_seed(8)
    decoding.sample(step, initial_state(0, 1), np.full((2, 1), START), END, 5, 0)
    np.testing.assert_array_equal(ops.convert_to_numpy(keras.random.normal((4,))), expected)


def test_temperature_0_is_greedy_search():
    prompt = np.full((40, 1), START)
    drawn = decoding.sample(step, initial_state(*range(40)), prompt, END, 12, 0, temperature=0)
    np.testing.assert_array_equal(
        drawn, decoding.greedy_search(step, initial_state(*range(40)), START, END, 12)
    )


def test_a_prompt_is_continued():
    greedy = decoding.greedy_search(step, initial_state(*range(40)), START, END, 9)
    long = [history for history, row in enumerate(greedy) if row[3]]
    assert len(long) > 5
    prompts = np.array([[START, *greedy[history, :2]] for history in long])
    state = initial_state(*long)
    rest = decoding.sample(step, state, prompts, END, 7, 0, temperature=0)
    np.testing.assert_array_equal(rest, greedy[long, 2:])
