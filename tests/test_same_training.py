"""Which training is loaded, which goes on, and which begins anew: `resume_callbacks`."""

import linecache
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import settings
from utils.callbacks import resume_callbacks
from utils.errors import CompanionError

pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Trace nothing: it takes longer than these trainings."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


EPOCHS, BATCHES = 4, 4


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")


def run(code, **names):
    """Execute the code of a cell, as a notebook does, and return its variables."""
    namespace = {"__name__": "__main__", "keras": keras, "tf": tf, "ops": keras.ops} | names
    name = f"cell {len(linecache.cache)}"
    linecache.cache[name] = (len(code), None, code.splitlines(True), name)  # as IPython does
    exec(compile(code, name, "exec"), namespace)
    return SimpleNamespace(**namespace)


class Count(keras.callbacks.Callback):
    """Counts batches, and may interrupt one, as the stop button does."""

    def __init__(self, stop_before=None):
        super().__init__()
        self.batches = 0
        self.stop_before = stop_before

    def on_train_batch_begin(self, batch, logs=None):
        if self.batches == self.stop_before:
            raise KeyboardInterrupt
        self.batches += 1


def small(layer=None, loss="mse", optimizer=None, seed=2):
    keras.utils.set_random_seed(seed)
    parts = [keras.Input((3,)), keras.layers.Dense(5), keras.layers.Dropout(0.4)]
    model = keras.Sequential([*parts, *([layer] if layer else []), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss)
    return model


def train(model=None, data=None, callbacks=(), stop_before=None, resume=(), **fit):
    """Train as a cell would; return what came out and how many batches it took."""
    model = model or small()
    x, y = data or arrays()
    count = Count(stop_before)
    resumed = resume_callbacks("small", **dict(resume))
    fit = {"epochs": EPOCHS, "batch_size": 8, "validation_data": arrays(1)} | fit
    history = model.fit(x, y, verbose=0, callbacks=[*resumed, count, *callbacks], **fit)
    return SimpleNamespace(model=model, history=history, batches=count.batches)


def assert_same(one, other):
    assert one.history.history == other.history.history
    assert one.history.epoch == other.history.epoch
    for left, right in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


STEP = """
class Model(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = error(y, self(x, training=True))
        variables = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return {"loss": loss}

def error(truth, predicted):
    return power * ops.mean((truth - predicted) ** 2)

power = 1.0
keras.utils.set_random_seed(2)
inputs = keras.Input((3,))
model = Model(inputs, keras.layers.Dense(1)(inputs))
model.compile(keras.optimizers.Adam(0.01), "mse")
"""


def stepping(old="", new=""):
    return run(STEP.replace(old, new)).model


def with_layer(code):
    return small(layer=keras.layers.Lambda(run(f"f = {code}").f))


def with_loss(code):
    return small(loss=run(f"f = lambda y, p: {code}").f)


def other_weights():
    model = small()
    model.set_weights([weight + 1 for weight in model.get_weights()])
    return model


def labels_shuffled_in_place():
    x, y = arrays()
    np.random.default_rng(5).shuffle(y)
    return x, y


def inverted():
    x, y = arrays()
    return 1 - x, y


def pipeline(batch=8, standardize="lower_and_strip_punctuation"):
    """The reviews of a notebook in small: a vectorizer in a pipeline that shuffles."""
    vectorizer = keras.layers.TextVectorization(output_mode="multi_hot", standardize=standardize)
    texts = ["A b.", "a c", "B, c", "a b C"] * 8
    vectorizer.adapt(["a b c a"])
    data = tf.data.Dataset.from_tensor_slices((texts, arrays()[1])).shuffle(32, seed=3)
    return data.batch(batch).map(lambda text, label: (vectorizer(text)[:, :3], label))


CHANGES = {
    "labels shuffled in place": ({}, lambda: {"data": labels_shuffled_in_place()}),
    "inputs inverted": ({}, lambda: {"data": inverted()}),
    "validation data": ({}, lambda: {"validation_data": arrays(2)}),
    "batch size, as many batches": ({"batch_size": 9}, lambda: {"batch_size": 10}),
    "sample weights": ({}, lambda: {"sample_weight": np.arange(32.0)}),
    "class weights": ({}, lambda: {"class_weight": {0: 1.0, 1: 2.0}}),
    "order": ({}, lambda: {"shuffle": False}),
    "seed of the order": ({}, lambda: {"seed": 5}),
    "first weights": ({}, lambda: {"model": other_weights()}),
    "learning rate": ({}, lambda: {"model": small(optimizer=keras.optimizers.Adam(0.02))}),
    "optimizer": ({}, lambda: {"model": small(optimizer=keras.optimizers.RMSprop(0.01))}),
    "body of a lambda": (
        {"model": lambda: with_layer("lambda x: 2 * x")},
        lambda: {"model": with_layer("lambda x: 3 * x")},
    ),
    "body of a loss": (
        {"model": lambda: with_loss("(y - p) ** 2")},
        lambda: {"model": with_loss("(p - y) ** 4")},
    ),
    "sign in train_step": (
        {"model": stepping},
        lambda: {"model": stepping("loss = error(", "loss = -error(")},
    ),
    "a function that train_step calls": (
        {"model": stepping},
        lambda: {"model": stepping("(truth - predicted) ** 2", "abs(truth - predicted)")},
    ),
    "a number that train_step uses": (
        {"model": stepping},
        lambda: {"model": stepping("power = 1.0", "power = 2.0")},
    ),
    "patience": (
        {"callbacks": lambda: [keras.callbacks.EarlyStopping(patience=1)]},
        lambda: {"callbacks": [keras.callbacks.EarlyStopping(patience=5)]},
    ),
    "schedule": (
        {"callbacks": lambda: [keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)]},
        lambda: {"callbacks": [keras.callbacks.LearningRateScheduler(lambda epoch: 0.2)]},
    ),
    "monitor": ({}, lambda: {"resume": {"monitor": "loss"}}),
    "what it is told": ({}, lambda: {"resume": {"depends_on": {"file": "b"}}}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_weights_depend_on_counts(change):
    first, changed = CHANGES[change]

    def arguments():
        return {key: value() if callable(value) else value for key, value in first.items()}

    def trained(**arguments):
        model = arguments.pop("model", None) or small()
        seed = arguments.pop("seed", None)
        if seed is not None:
            keras.utils.set_random_seed(seed)
        return train(model, epochs=1, **arguments).batches

    assert trained(**arguments()) > 0
    assert trained(**arguments()) == 0, "the same training was not found"
    assert trained(**arguments() | changed()) > 0, "another training was loaded"


def test_the_content_of_a_pipeline_counts():
    def trained(data):
        model = small()
        count = Count()
        resume = resume_callbacks("small", monitor=None)
        model.fit(data, epochs=1, shuffle=False, verbose=0, callbacks=[*resume, count])
        return count.batches

    assert trained(pipeline()) == 4
    assert trained(pipeline()) == 0
    assert trained(pipeline(standardize="lower")) == 4  # "a b." holds another token
    assert trained(pipeline(batch=10)) == 4


def test_what_the_weights_do_not_depend_on_does_not_count(monkeypatch):
    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            pass

    first = train()
    assert train(resume={"max_seconds": 1_000}).batches == 0
    monkeypatch.setenv("COMPANION_PROFILE", "full")
    assert train().batches == 0
    monkeypatch.delenv("COMPANION_PROFILE")
    again = train(callbacks=[Watch()])
    assert again.batches == 0
    assert_same(again, first)


def test_more_epochs_go_on_and_fewer_begin_anew(monkeypatch, tmp_path, capsys):
    short = train(epochs=2)
    longer = train(epochs=EPOCHS)
    assert longer.batches == 2 * BATCHES
    assert "small: resumed after 2 of 4 epochs" in capsys.readouterr().out
    fewer = train(epochs=2)
    assert "small: trained before for 4 epochs, not 2; training from the start.\n" in (
        capsys.readouterr().out
    )
    assert_same(fewer, short)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    assert_same(longer, train(epochs=EPOCHS))


def test_a_longer_budget_goes_on(capsys):
    with pytest.raises(CompanionError, match="raise it"):
        train(resume={"max_seconds": 1e-6}, epochs=1)
    train(stop_before=None, epochs=1)
    assert train(resume={"max_seconds": 100}, epochs=2).batches == BATCHES
    assert "resumed after 1 of 2" in capsys.readouterr().out


@pytest.mark.parametrize("stop_before", [2, BATCHES + 1, 3 * BATCHES + 2])
@pytest.mark.parametrize("compile_again", [True, False])
def test_after_the_stop_button_the_cell_alone_gives_the_uninterrupted_result(
    stop_before, compile_again, monkeypatch, tmp_path
):
    # The model is built in another cell: it comes back half trained.
    def cell(stop_before=None):
        if compile_again:
            model.compile(keras.optimizers.Adam(0.01), "mse")
        return train(model, stop_before=stop_before)

    model = small()
    with pytest.raises(KeyboardInterrupt):
        cell(stop_before)
    with pytest.raises(KeyboardInterrupt):
        cell(1)
    again = cell()
    assert again.batches == EPOCHS * BATCHES - (stop_before - 1) // BATCHES * BATCHES
    finished = cell()
    assert finished.batches == 0
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    undisturbed = train()
    assert_same(again, undisturbed)
    assert_same(finished, undisturbed)


def test_an_optimizer_that_was_compiled_since_is_taken_back_too(monkeypatch, tmp_path):
    model = small()
    with pytest.raises(KeyboardInterrupt):
        train(model, stop_before=2)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    with pytest.raises(KeyboardInterrupt):
        train(model, stop_before=3)
    again = train(model)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    assert_same(again, train())


def test_a_changed_cell_does_not_train_on_from_its_own_end(monkeypatch, tmp_path):
    model = small()
    train(model)
    model.compile(keras.optimizers.Adam(0.3), "mse")
    changed = train(model)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    assert_same(changed, train(small(optimizer=keras.optimizers.Adam(0.3))))


def test_a_second_stage_and_weights_set_by_hand_are_where_a_training_begins():
    model = small()
    train(model)
    x, y = arrays()
    starts = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: starts.append(model.get_weights()[0])
    )

    def stage():
        calls = [*resume_callbacks("second stage", monitor=None), watch]
        model.fit(x, y, batch_size=32, verbose=0, shuffle=False, callbacks=calls)
        return model.get_weights()

    first = model.get_weights()
    second = stage()
    np.testing.assert_array_equal(starts.pop(), first[0])
    assert not np.array_equal(second[0], first[0])
    for one, other in zip(stage(), second, strict=True):  # it is loaded
        np.testing.assert_array_equal(one, other)
    assert not starts
    model.set_weights([weight * 0 for weight in second])
    stage()
    assert not starts.pop().any()


def test_an_optimizer_that_cannot_be_taken_back_is_named():
    model = stepping()
    with pytest.raises(KeyboardInterrupt):
        train(model, stop_before=2)
    with pytest.raises(CompanionError, match=r"small: .* run the cell that compiles it"):
        train(model)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    assert train(model).batches == EPOCHS * BATCHES


def stopping():
    return [keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=10)]


def reducing():
    return [
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=2, min_delta=10),
        keras.callbacks.EarlyStopping("val_loss", patience=4, min_delta=10),
    ]


@pytest.mark.parametrize("callbacks", [stopping, reducing])
@pytest.mark.parametrize("stop_before", [BATCHES + 1, 2 * BATCHES + 1, 3 * BATCHES + 1])
def test_callbacks_that_count_epochs_go_on_counting(callbacks, stop_before, monkeypatch, tmp_path):
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "whole"))
    watchers = callbacks()
    whole = train(callbacks=watchers, epochs=12)
    assert 3 * BATCHES <= whole.batches < 12 * BATCHES  # it was ended
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "cut"))
    if stop_before < whole.batches:
        with pytest.raises(KeyboardInterrupt):
            train(callbacks=callbacks(), epochs=12, stop_before=stop_before)
    counted = callbacks()
    again = train(callbacks=counted, epochs=12)
    assert_same(again, whole)
    assert counted[-1].stopped_epoch == watchers[-1].stopped_epoch
    counted = callbacks()
    loaded = train(callbacks=counted, epochs=12)
    assert loaded.batches == 0
    assert_same(loaded, whole)
    assert counted[-1].stopped_epoch == watchers[-1].stopped_epoch


def test_an_epoch_that_another_callback_cuts_does_not_count(capsys):
    def diverging():
        return small(optimizer=keras.optimizers.SGD(1e30))

    done = train(diverging(), callbacks=[keras.callbacks.TerminateOnNaN()])
    assert 0 < done.batches < BATCHES and done.history.history == {}
    assert "small: ended within epoch 1, which does not count.\n" in capsys.readouterr().out
    again = train(diverging(), callbacks=[keras.callbacks.TerminateOnNaN()])
    assert again.batches == done.batches


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_optimizers_in_a_list_or_dict_are_saved(kind, monkeypatch, tmp_path):
    code = """
class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.build((None, 3))

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def call(self, inputs):
        return self.dense(inputs)

    def compile(self):
        super().compile(loss="mse")
        adam = keras.optimizers.Adam(0.05)
        self.steps = [adam] if kind == "list" else {"adam": adam}

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = ops.mean((y - self(x)) ** 2)
        adam = self.steps[0] if kind == "list" else self.steps["adam"]
        adam.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}
"""

    def pair():
        keras.utils.set_random_seed(2)
        model = run(code, kind=kind).Pair()
        model.compile()
        return model

    with pytest.raises(KeyboardInterrupt):
        train(pair(), stop_before=2 * BATCHES)
    again = train(pair())
    assert again.batches == 2 * BATCHES
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    assert_same(again, train(pair()))


def test_data_that_cannot_be_compared_cost_a_line(capsys):
    def endless():
        while True:
            yield arrays()

    model = small()
    calls = resume_callbacks("small", monitor=None)
    model.fit(endless(), steps_per_epoch=2, epochs=2, verbose=0, callbacks=calls)
    assert capsys.readouterr().out == (
        "small: generator cannot be compared: use numbers, strings, arrays, lists, dicts, "
        "functions, data sets or models. This training is not saved and cannot be resumed.\n"
    )
    assert list(settings.output_dir("models").iterdir()) == []


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(TypeError, match="object cannot be compared"):
        train(resume={"depends_on": {"model": object()}})


def test_random_numbers_without_a_seed_count_where_they_are_used():
    code = """
class Noise(keras.layers.Layer):
    def call(self, inputs, training=False):
        return inputs + keras.random.normal(ops.shape(inputs)) if training else inputs
"""

    def noisy(draws):
        model = small(layer=run(code).Noise())
        for _ in range(draws):
            keras.random.normal((1,))
        return train(model, epochs=1).batches

    def plain(draws):
        model = small()
        for _ in range(draws):
            keras.random.normal((1,))
        return train(model, epochs=1).batches

    assert noisy(0) > 0 and noisy(0) == 0 and noisy(3) > 0
    assert plain(0) > 0 and plain(3) == 0
