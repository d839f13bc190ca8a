"""Fingerprints: what counts and what does not, against contents that differ in one thing."""

import functools
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import settings
from utils.batching import bucket_by_length
from utils.fingerprints import fingerprint


def run(code, **names):
    """Execute the code of a cell, as a notebook does, and return its variables."""
    namespace = {"__name__": "__main__", "keras": keras, "np": np, "tf": tf} | names
    exec(compile(code, "cell", "exec"), namespace)
    return SimpleNamespace(**namespace)


FUNCTION = """
rate = 0.5
cfg = SimpleNamespace(steps=3, budget=60)
def inner(x):
    return x * 2
def f(x, times=4):
    total = 0
    for _ in range(cfg.steps):
        total += inner(x) * rate + times
    return total
"""


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("x * 2", "x * 3", False),  # what it calls
        ("total = 0", "total = 1", False),
        ("rate = 0.5", "rate = 0.25", False),  # a variable of the notebook
        ("times=4", "times=5", False),
        ("steps=3", "steps=4", False),
        ("total += inner(x)", "total -= inner(x)", False),
        ("budget=60", "budget=90", True),  # it does not use this one
        ("total = 0", "total = 0  # a comment", True),
        ("total", "result", True),
        ("rate = 0.5", "\n\n\nrate = 0.5", True),  # another place in the file
        ("def inner(x):\n    return x * 2", "inner = lambda y: y * 2", True),
    ],
)
def test_a_function_counts_by_its_code_and_by_what_it_uses(old, new, is_same):
    assert old in FUNCTION
    one = run(FUNCTION, SimpleNamespace=SimpleNamespace).f
    other = run(FUNCTION.replace(old, new), SimpleNamespace=SimpleNamespace).f
    assert (fingerprint(one) == fingerprint(other)) == is_same


@pytest.mark.parametrize(
    "wrap",
    [
        lambda f: functools.partial(f, 1, times=2),
        lambda f: lambda: f(1),
        lambda f: tf.function(f),
        lambda f: [{"make": f}],
        lambda f: type("Layer", (), {"call": f}),
        lambda f: type("Layer", (), {"call": f})(),
        lambda f: type("Layer", (), {"call": staticmethod(f)}),
        lambda f: type("Layer", (), {"value": property(f)}),
        lambda f: type("Layer", (), {"call": f})().call,
        lambda f: keras.layers.Lambda(f),
        lambda f: keras.layers.Dense(2, activation=f),
        lambda f: keras.metrics.MeanMetricWrapper(f),
    ],
)
def test_code_is_found_wherever_it_is(wrap):
    functions = [run(f"def f(x, times=1):\n    return {sign}x * times").f for sign in ("", "-", "")]
    first, flipped, again = (fingerprint(wrap(function)) for function in functions)
    assert first == again != flipped


def test_functions_that_use_each_other_are_no_endless_loop():
    code = "def f(x):\n    return g(x)\ndef g(x):\n    return f(x) + 1"
    one, other = run(code), run(code.replace("+ 1", "+ 2"))
    assert fingerprint(one.f) == fingerprint(run(code).f) != fingerprint(other.f)
    cell = run("class A:\n    def f(self):\n        super().f()\n        return A")
    assert len(fingerprint(cell.A)) == 16


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ([1, 23], [12, 3]),
        ([1], [1.0]),
        ([True], [1]),
        ({"a": 1}, {"b": 1}),
        ({1, 2}, {1, 3}),
        (b"a", "a"),
        (np.zeros(2, "int8"), np.zeros(2, "uint8")),
        (tf.constant([1.0]), tf.constant([2.0])),
        (tf.ragged.constant([[1, 2], [3]]), tf.ragged.constant([[1], [2, 3]])),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (keras.optimizers.Adam(0.1), keras.optimizers.Adam(0.2)),
        (keras.optimizers.Adam(0.1), keras.optimizers.RMSprop(0.1)),
        (keras.losses.Huber(1.0), keras.losses.Huber(2.0)),
        (SimpleNamespace(a=1), SimpleNamespace(a=2)),
        (tf.data.Dataset.range(4), tf.data.Dataset.range(5)),
        (tf.data.Dataset.range(4).batch(2), tf.data.Dataset.range(4).batch(4)),
        (
            bucket_by_length([[1, 2], [3]], [0, 1], 2, seed=1),
            bucket_by_length([[1, 2], [3]], [1, 0], 2, seed=1),
        ),
        (
            bucket_by_length([[1, 2], [3]], [0, 1], 2, transform=lambda x, y: (x, y)),
            bucket_by_length([[1, 2], [3]], [0, 1], 2, transform=lambda x, y: (x, -y)),
        ),
    ],
)
def test_different_contents_differ(one, other):
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)


def test_the_generator_counts_by_where_it_is():
    random = np.random.default_rng(1)
    before = fingerprint(random)
    assert fingerprint(np.random.default_rng(1)) == before
    random.random()
    assert fingerprint(random) != before


def model(units=3, seed=0, words=("a", "b")):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((), dtype="string")
    ids = keras.layers.TextVectorization(vocabulary=list(words), output_sequence_length=2)(inputs)
    vectors = keras.layers.Embedding(4, units)(ids)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(vectors)))


def test_a_model_counts_by_sizes_weights_and_vocabulary_not_by_the_names_of_its_layers():
    first = fingerprint(model())
    assert fingerprint(model()) == first
    others = [model(units=4), model(seed=1), model(words=("a", "c"))]
    assert len({first, *map(fingerprint, others)}) == 4
    changed = model()
    changed.set_weights([weight + 1 for weight in changed.get_weights()])
    assert fingerprint(changed) != first


def test_the_wiring_of_a_model_counts():
    def wired(skip):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        one = keras.layers.Dense(3)(inputs)
        two = keras.layers.Dense(3)(one)
        return keras.Model(inputs, keras.layers.Add()([inputs if skip else one, two]))

    assert fingerprint(wired(False)) == fingerprint(wired(False)) != fingerprint(wired(True))


@pytest.mark.parametrize("make", [lambda seed: tf.data.Dataset.range(20).shuffle(20, seed=seed)])
def test_the_order_of_a_shuffle_does_not_count_but_every_row_does(make):
    pairs = make(1).map(lambda number: (number, number * number)).batch(4)
    assert next(iter(pairs))[0].numpy().tolist() != [0, 1, 2, 3]
    first = fingerprint(pairs)
    assert fingerprint(pairs) == first  # in another order
    assert fingerprint(make(2).map(lambda number: (number, number * number)).batch(4)) == first
    # Labels that belong to other inputs are other rows.
    moved = make(1).map(lambda number: (number, (19 - number) * (19 - number))).batch(4)
    assert fingerprint(moved) != first


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(TypeError, match="generator cannot be compared: use numbers"):
        fingerprint({"rows": (number for number in range(3))})
    with pytest.raises(ValueError, match="never ends: leave out repeat"):
        fingerprint(tf.data.Dataset.range(3).repeat())


def test_two_processes_agree(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import keras, numpy as np\n"
        "from utils.fingerprints import fingerprint\n"
        "class Layer(keras.layers.Layer):\n"
        "    def call(self, inputs):\n"
        "        return inputs if inputs.dtype in {'float32', 'float16', 'int8'} else 2 * inputs\n"
        "keras.utils.set_random_seed(0)\n"
        "model = keras.Sequential([keras.Input((3,)), Layer(), keras.layers.Dense(2)])\n"
        "print(fingerprint([model, lambda x: x + 1, {'a', 'b', 'c'}, keras.optimizers.Adam()]))\n"
    )
    seen = set()
    for hash_seed in "12":
        done = subprocess.run(
            [sys.executable, script],
            env={"PYTHONPATH": str(settings.ROOT), "PYTHONHASHSEED": hash_seed, "PATH": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-1000:]
        seen.add(done.stdout)
    assert len(seen) == 1
