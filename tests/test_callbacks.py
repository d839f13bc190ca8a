import gc
import os
import re
import signal
import subprocess
import sys
import weakref
from datetime import date
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import _keras_private, _time_budget, callbacks, settings
from utils.batching import bucket_by_length
from utils.callbacks import resume_callbacks
from utils.errors import CompanionError

# Keras warns of a data set that shuffles itself, and of one whose length is not known.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed"),
    pytest.mark.filterwarnings("ignore:Your input ran out of data"),
]
EPOCHS, BATCHES = 4, 4
DEPENDS_ON = SimpleNamespace(learning_rate=0.01, units=[5])

# Four processes of a notebook, one after the other: each trains and, if told to, kills itself in a
# batch or while it saves. They are forks of one that has only imported, which takes longest.
SCRIPT = """
import os, signal, sys
import keras, numpy as np, tensorflow as tf
from utils import notebook
from utils.callbacks import resume_callbacks

class Noise(keras.layers.Layer):
    def call(self, inputs, training=False):
        return inputs + 0.1 * keras.random.normal(keras.ops.shape(inputs)) if training else inputs

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Killer(keras.callbacks.Callback):
    def __init__(self, kill_at):
        super().__init__()
        self.kill_at, self.batches = kill_at, 0
    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.kill_at:
            die()

class Saver:
    def __init__(self, kill_at):
        self.kill_at, self.saves = kill_at, 0
    def __call__(self, file, **arrays):
        self.saves += 1
        if self.saves == self.kill_at:
            file.write(b"half of a state")
            file.flush()
            die()
        savez(file, **arrays)

savez = np.savez

def train(out, kill, kill_at):
    notebook.start("99_test", seed=1)
    np.savez = Saver(kill_at if kill == "save" else 0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 6)).astype("float32")
    y = rng.normal(size=(48, 1)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, y)).cache().shuffle(48, seed=3).batch(8)
    data = data.prefetch(2)
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8), layers.BatchNormalization(),
                              Noise(), layers.Dropout(0.3), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse", metrics=["mae"])
    killer = Killer(kill_at if kill == "batch" else 0)
    resume = resume_callbacks("tiny", monitor="val_mae")
    history = model.fit(data, validation_data=(x, y), epochs=6, verbose=0,
                        callbacks=[killer, *resume])
    weights = {f"weight{number}": value for number, value in enumerate(model.get_weights())}
    values = {f"history_{key}": value for key, value in history.history.items()}
    draw = keras.random.normal((3,))
    savez(out, batches=killer.batches, epoch=history.epoch, draw=draw, **weights, **values)

runs = [("whole", "never", 0), ("cut", "batch", 15), ("cut", "save", 2), ("cut", "never", 0)]
sys.stdout.reconfigure(line_buffering=True)
for folder, kill, kill_at in runs:
    child = os.fork()
    if child == 0:
        os.environ["COMPANION_RUNS"] = folder
        train(folder + ".npz", kill, kill_at)
        sys.exit()
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_killed_in_a_batch_and_in_a_save_ends_as_if_never_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(settings.ROOT)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # Two epochs of six batches are done. The next process finishes the third and dies as it saves
    # the fourth.
    whole, cut_in_batch, cut_in_save, ended, rest = re.split(r"ended with (-?\d+)\n", done.stdout)[
        ::2
    ]
    codes = [int(code) for code in re.findall(r"ended with (-?\d+)\n", done.stdout)]
    assert codes == [0, -signal.SIGKILL, -signal.SIGKILL, 0], done.stderr[-2000:]
    assert "resumed" not in whole and cut_in_batch == rest == ""
    assert "tiny: resumed after 2 of 6" in cut_in_save
    assert "tiny: resumed after 3 of 6" in ended
    with np.load(tmp_path / "whole.npz") as expected, np.load(tmp_path / "cut.npz") as cut:
        assert expected["batches"] == 36
        assert cut["batches"] == 18
        assert expected["epoch"].tolist() == cut["epoch"].tolist() == list(range(6))
        assert sorted(expected) == sorted(cut)
        for key in set(expected) - {"batches"}:
            np.testing.assert_array_equal(cut[key], expected[key], err_msg=key)


class Crash(Exception):
    pass


class Probe(keras.callbacks.Callback):
    """Counts batches, stores the weights of every epoch, raises before batch number `crash`."""

    def __init__(self, crash=None, values=None, key=None):
        super().__init__()
        self.crash = crash
        self.values = values
        self.key = key
        self.batches = 0
        self.tested = 0
        self.weights = {}

    def on_train_batch_begin(self, batch, logs=None):
        if self.batches == self.crash:
            raise Crash

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_test_batch_end(self, batch, logs=None):
        self.tested += 1

    def on_epoch_end(self, epoch, logs=None):
        self.weights[epoch] = self.model.get_weights()
        if self.values:
            logs[self.key] = self.values[epoch]


class Log:
    """Stands for a W&B run."""

    def __init__(self):
        self.epochs = []

    def callback(self):
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: self.epochs.append((epoch, logs))
        )


def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 3)).astype("float32"), rng.normal(size=(32, 1)).astype("float32")


def shuffled():
    return tf.data.Dataset.from_tensor_slices(arrays()).shuffle(32, seed=3).batch(8)


def small(units=5, learning_rate=0.01, loss="mse", metrics=None, steps_per_execution=1):
    keras.utils.set_random_seed(2)
    layers = [
        keras.Input((3,)),
        keras.layers.Dense(units),
        keras.layers.Dropout(0.4),
        keras.layers.Dense(1),
    ]
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, loss, metrics=metrics, steps_per_execution=steps_per_execution)
    return model


def train(
    model=None,
    data=None,
    probe=None,
    epochs=EPOCHS,
    name="small",
    depends_on=DEPENDS_ON,
    validate=True,
    extra=(),
    **arguments,
):
    """Train as a cell of a new kernel would: with a new model and new data."""
    model = model or small()
    probe = probe or Probe()
    data = shuffled() if data is None else data
    resume = resume_callbacks(name, depends_on=depends_on, **arguments)
    if isinstance(data, tuple):
        inputs = {"x": data[0], "y": data[1], "batch_size": 8}
    else:
        inputs = {"x": data, "shuffle": not isinstance(data, keras.utils.PyDataset)}
    validation = {"validation_data": arrays(), "validation_batch_size": 8} if validate else {}
    calls = [probe, *resume, *extra]
    history = model.fit(**inputs, **validation, epochs=epochs, verbose=0, callbacks=calls)
    return SimpleNamespace(model=model, history=history, probe=probe)


def crash(batch, **arguments):
    with pytest.raises(Crash):
        train(probe=Probe(batch), **arguments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The training that nothing disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPANION_RUNS", str(tmp_path_factory.mktemp("runs")))
        done = train()
    assert done.probe.batches == EPOCHS * BATCHES
    return done


def assert_same(one, other):
    assert one.history.history == other.history.history
    assert one.history.epoch == other.history.epoch
    for left, right in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def state_file():
    (file,) = (settings.output_dir("models")).glob("*.npz")
    return file


@keras.saving.register_keras_serializable("test")
class Pair(keras.Model):
    """Two networks with an optimizer each and noise of its own, as in a GAN."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]) for _ in "ab"
        )
        self.noise = keras.random.SeedGenerator(7)

    def compile(self, **optimizers):
        super().compile(loss="mse")
        self.one, self.two = optimizers["one"], optimizers["two"]

    def call(self, inputs):
        return self.first(inputs) + self.second(inputs)

    def train_step(self, data):
        x, y = data
        for network, optimizer in ((self.first, self.one), (self.second, self.two)):
            with tf.GradientTape() as tape:
                noise = keras.random.normal((1, 1), seed=self.noise)
                loss = keras.ops.mean((self(x) + noise - y) ** 2)
            optimizer.apply(
                tape.gradient(loss, network.trainable_variables), network.trainable_variables
            )
        return {"loss": loss}


def pair():
    keras.utils.set_random_seed(2)
    model = Pair()
    model.compile(one=keras.optimizers.Adam(0.01), two=keras.optimizers.RMSprop(0.02))
    return model


@pytest.mark.parametrize(
    ("make_model", "make_data"),
    [
        (small, shuffled),
        (small, lambda: shuffled().filter(lambda x, y: True)),
        (small, arrays),
        (pair, shuffled),
    ],
    ids=["known length", "unknown length", "numpy", "two optimizers"],
)
def test_resumes_to_the_same_result(make_model, make_data, monkeypatch, tmp_path):
    # A crash in the third epoch, and another one in the first epoch after that.
    crash(2 * BATCHES + 2, model=make_model(), data=make_data())
    crash(1, model=make_model(), data=make_data())
    again = train(make_model(), make_data())
    assert again.probe.batches == 2 * BATCHES
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    undisturbed = train(make_model(), make_data())
    assert undisturbed.probe.batches == EPOCHS * BATCHES
    assert_same(again, undisturbed)


def test_several_batches_per_call_resume_to_the_same_result(monkeypatch, tmp_path):
    # An epoch of four batches takes two calls, of three batches and of one.
    crash(2 * 2 + 1, model=small(steps_per_execution=3))
    again = train(small(steps_per_execution=3))
    assert again.probe.batches == 2 * 2
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    undisturbed = train(small(steps_per_execution=3))
    assert_same(again, undisturbed)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "one by one"))
    one_by_one = train(small())
    assert one_by_one.probe.batches == EPOCHS * BATCHES == 2 * undisturbed.probe.batches
    for left, right in zip(
        one_by_one.model.get_weights(), undisturbed.model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(left, right, rtol=1e-5)


def bucketed():
    """Make shuffled batches of 30 sequences in three buckets."""
    rng = np.random.default_rng(4)
    rows = [rng.integers(1, 9, length).tolist() for length in rng.integers(1, 13, 30)]
    return bucket_by_length(rows, rng.normal(size=30).astype("float32"), 8, seed=3, bucket_width=4)


def build_classifier():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((None,), dtype="int64")
    vectors = keras.layers.Embedding(9, 4)(inputs)
    pooled = keras.layers.Dropout(0.4)(keras.layers.GlobalMaxPooling1D()(vectors))
    model = keras.Model(inputs, keras.layers.Dense(1)(pooled))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def test_batches_made_once_go_on_in_a_living_kernel(monkeypatch, tmp_path):
    once = bucketed()
    num_batches = len(once)
    arguments = {"data": once, "validate": False, "name": "classifier"}
    # As in a notebook: the batches stand in a cell above, and the cell that trains is run again.
    crash(2 * num_batches + 2, model=build_classifier(), **arguments)
    crash(1, model=build_classifier(), **arguments)
    again = train(build_classifier(), **arguments)
    assert again.probe.batches == 2 * num_batches
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "other"))
    undisturbed = train(build_classifier(), **arguments | {"data": bucketed()})
    assert undisturbed.probe.batches == EPOCHS * num_batches
    assert_same(again, undisturbed)
    # Evaluating on the same batches between two epochs does not change their order either.
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "evaluated"))
    data = bucketed()
    evaluate = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: evaluated.evaluate(data, verbose=0)
    )
    evaluated = build_classifier()
    evaluated_too = train(evaluated, **arguments | {"data": data}, extra=[evaluate])
    assert_same(evaluated_too, undisturbed)


def test_the_order_of_bucketed_batches_matters_to_the_result():
    # Without this, the test above could not fail.
    first, second = bucketed(), bucketed()
    second.epoch = 1
    models = []
    for data in (first, second):
        models.append(build_classifier())
        for ids, labels in data:
            models[-1].train_on_batch(ids, labels)
    weights = [model.get_weights()[0] for model in models]
    assert not np.array_equal(*weights)


def test_a_finished_training_is_loaded(capsys):
    first = train()
    assert capsys.readouterr().out == ""
    stamp = state_file().stat().st_mtime_ns
    again = train()
    assert again.probe.batches == 0
    assert_same(again, first)
    assert again.history.seconds == first.history.seconds > 0
    out = capsys.readouterr().out
    assert out.startswith(
        f"small: trained before ({EPOCHS} epochs, {first.history.seconds:.0f} s, {date.today()} at "
    )
    assert out.count("\n") == 1
    assert state_file().stat().st_mtime_ns == stamp
    x, y = arrays()
    assert again.model.evaluate(x, y, verbose=0) == pytest.approx(
        min(first.history.history["val_loss"])
    )
    np.testing.assert_array_equal(
        again.model.predict(x, verbose=0), first.model.predict(x, verbose=0)
    )
    # What told Keras where to begin does not reach the model's next training.
    assert again.model.fit(x, y, epochs=2, verbose=0).epoch == [0, 1]


def test_another_training_is_not_loaded():
    train(epochs=2)
    assert train(epochs=2, probe=Probe(0)).probe.batches == 0
    # Batch 0 is only reached by a training that begins.
    crash(0, epochs=2, depends_on=SimpleNamespace(learning_rate=0.01, units=[6]))
    crash(0, epochs=2, depends_on={"learning_rate": 0.01, "units": [5], "name": "b"})
    crash(0, epochs=2, model=small(units=6))
    crash(0, epochs=2, model=small(learning_rate=0.1))
    crash(0, epochs=2, model=small(loss="mae"))
    crash(0, epochs=2, data=shuffled().take(3))
    crash(0, epochs=2, name="other")


class Time:
    """A clock that a training moves on by `batch_seconds[epoch]` for each batch."""

    def __init__(self, monkeypatch, *batch_seconds):
        self.now = 0.0
        self.epoch = 0
        self.batch_seconds = batch_seconds
        for module in (callbacks, _time_budget):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def probe(self):
        clock = self

        class Ticking(Probe):
            def on_epoch_begin(self, epoch, logs=None):
                clock.epoch = epoch

            def on_train_batch_end(self, batch, logs=None):
                super().on_train_batch_end(batch, logs)
                clock.now += clock.batch_seconds[clock.epoch]

        return Ticking()


def test_budget_ends_before_an_epoch_that_would_not_fit(monkeypatch, capsys, whole):
    time = Time(monkeypatch, 1, 1, 1, 1)
    first = train(probe=time.probe(), max_seconds=10)
    assert first.probe.batches == 2 * BATCHES
    line = (
        "small: time budget of 10 s reached after 2 of 4 epochs; run the cell again to continue.\n"
    )
    assert capsys.readouterr().out == line
    assert first.history.seconds == 8
    second = train(probe=time.probe(), max_seconds=10)
    assert second.probe.batches == 2 * BATCHES
    assert second.history.epoch == [0, 1, 2, 3]
    assert second.history.seconds == 16
    out = capsys.readouterr().out
    assert out.startswith("small: resumed after 2 of 4 epochs (8 s, 20")
    assert out.count("\n") == 1
    assert_same(second, whole)


def test_budget_ends_inside_an_epoch_which_is_then_not_counted(monkeypatch, capsys, whole):
    time, log = Time(monkeypatch, 1, 4, 1, 1), Log()
    first = train(probe=time.probe(), max_seconds=10, run=log)
    assert first.probe.batches == BATCHES + 2
    assert first.probe.tested == BATCHES + 1  # one whole validation, and one cut after a batch
    assert "reached after 1 of 4 epochs; run the cell again" in capsys.readouterr().out
    assert first.history.epoch == [0]
    assert len(first.history.history["val_loss"]) == 1
    assert [epoch for epoch, _ in log.epochs] == [0]
    second = train(probe=time.probe(), max_seconds=100, run=log)
    assert second.history.seconds == 4 + 16 + 4 + 4
    assert [epoch for epoch, _ in log.epochs] == [0, 1, 2, 3]
    assert_same(second, whole)


def test_budget_below_one_epoch_asks_for_more(monkeypatch):
    time = Time(monkeypatch, 1, 1, 1, 1)
    probe = time.probe()
    with pytest.raises(CompanionError, match=r"small: .* of 1.5 s reached within the first"):
        train(probe=probe, max_seconds=1.5)
    assert probe.batches == 2
    assert train(probe=time.probe(), max_seconds=100).probe.batches == EPOCHS * BATCHES


def test_budget_that_suffices_says_nothing(monkeypatch, capsys):
    done = train(probe=Time(monkeypatch, 1, 1, 1, 1).probe(), max_seconds=16)
    assert (done.probe.batches, capsys.readouterr().out) == (EPOCHS * BATCHES, "")


@pytest.mark.parametrize(
    ("key", "mode", "values", "best"),
    [
        ("val_loss", "auto", [3, 1, 2, 4], 1),
        ("val_loss", "auto", [float("nan"), 3, 2, 4], 2),
        ("val_loss", "max", [3, 1, 2, 4], 3),
        ("val_bleu", "max", [0.1, 0.9, 0.2, 0.3], 1),
        ("val_bleu", "max", [0.1, 0.2, 0.3, 0.9], 3),
        ("val_bleu", "min", [0.3, 0.1, 0.2, 0.9], 1),
    ],
)
def test_best_weights_come_back(key, mode, values, best, whole):
    arguments = {"monitor": key, "mode": mode}
    with pytest.raises(Crash):
        train(probe=Probe(3 * BATCHES, values, key), **arguments)
    resumed = train(probe=Probe(None, values, key), **arguments)
    loaded = train(**arguments)
    assert loaded.probe.batches == 0
    # The numbers put in the log leave the weights as they are.
    expected = whole.probe.weights[best]
    for trained in (resumed, loaded):
        for left, right in zip(trained.model.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(left, right)


def unknown(y_true, y_pred):
    """Compute a metric of the notebook's own, of which Keras cannot know what is better."""
    return keras.ops.mean(y_true * y_pred, axis=-1)


@pytest.mark.parametrize(
    ("metric", "key", "best"),
    [
        (keras.metrics.R2Score(), "val_r2_score", 2),
        (keras.metrics.CosineSimilarity(), "val_cosine_similarity", 2),
        (keras.metrics.BinaryAccuracy(), "val_binary_accuracy", 2),
        (keras.metrics.MeanAbsoluteError(), "val_mean_absolute_error", 1),
        (keras.metrics.MeanAbsoluteError(name="error_accuracy"), "error_accuracy", 1),
        (unknown, "val_loss", 1),
    ],
)
def test_keras_decides_which_way_a_metric_is_better(metric, key, best):
    values = [0.2, 0.1, 0.9, 0.8]
    done = train(small(metrics=[metric]), probe=Probe(None, values, key), monitor=key)
    for left, right in zip(done.model.get_weights(), done.probe.weights[best], strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("key", ["val_unknown", "unknown", "val_accuracy_of_nobody"])
def test_a_metric_without_a_known_direction_is_refused_at_once(key):
    probe = Probe()
    with pytest.raises(ValueError, match=f"small: .* larger {key} is better. Pass mode='max' or"):
        train(small(metrics=[unknown]), probe=probe, monitor=key)
    assert probe.batches == 1


@pytest.mark.parametrize(
    ("key", "mode", "best"),
    [("val_unknown", "max", 2), ("unknown", "min", 1), ("val_accuracy_of_nobody", "max", 2)],
)
def test_a_metric_without_a_known_direction_takes_the_given_one(key, mode, best):
    probe = Probe(None, [0.2, 0.1, 0.9, 0.8], key)
    done = train(small(metrics=[unknown]), probe=probe, monitor=key, mode=mode)
    for left, right in zip(done.model.get_weights(), done.probe.weights[best], strict=True):
        np.testing.assert_array_equal(left, right)


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode='up' is unknown"):
        resume_callbacks("small", mode="up")


@pytest.mark.parametrize("arguments", [{"validate": False}, {"monitor": None}], ids=str)
def test_without_the_metric_the_last_weights_stay(arguments, capsys):
    done = train(**arguments)
    again = train(**arguments)
    assert again.probe.batches == 0
    for trained in (done, again):
        for left, right in zip(
            trained.model.get_weights(), done.probe.weights[EPOCHS - 1], strict=True
        ):
            np.testing.assert_array_equal(left, right)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_damaged_state_is_not_believed(capsys, whole):
    train()
    content = state_file().read_bytes()
    middle = len(content) // 2
    for damaged in (
        b"",
        content[:100],
        content[:middle],
        content[:-1],
        content[:middle] + content[middle + 1 :],
    ):
        capsys.readouterr()
        state_file().write_bytes(damaged)
        crash(0)
        out = capsys.readouterr().out
        assert out.startswith("small: ")
        assert out.endswith(" is damaged, training from the start.\n")
        assert out.count("\n") == 1
    assert_same(train(), whole)


def test_a_full_disk_does_not_end_training(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callbacks.np, "savez", full)
    assert train(epochs=2).history.epoch == [0, 1]
    assert (
        "small: epoch 1 not saved (No space left on device), training goes on.\n"
        in capsys.readouterr().out
    )
    assert list(settings.output_dir("models").iterdir()) == []


def test_each_epoch_is_logged_once_with_its_validation():
    log = Log()
    with pytest.raises(Crash):
        train(probe=Probe(2 * BATCHES + 1), run=log)
    done = train(run=log)
    train(run=log)
    assert [epoch for epoch, _ in log.epochs] == [0, 1, 2, 3]
    assert [logs["val_loss"] for _, logs in log.epochs] == done.history.history["val_loss"]


def test_a_run_that_logs_nothing_is_fine():
    assert train(epochs=1, run=SimpleNamespace(callback=lambda: None)).history.epoch == [0]


def test_a_training_that_another_callback_ended_is_finished():
    def stopper():
        return keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(done[-1], "stop_training", epoch == 1)
        )

    done = [small()]
    first = train(done[-1], extra=[stopper()])
    assert first.probe.batches == 2 * BATCHES
    done.append(small())
    again = train(done[-1], extra=[stopper()])
    assert again.probe.batches == 0
    assert_same(again, first)


def test_a_model_that_is_not_built_is_refused():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    probe = Probe()
    with pytest.raises(CompanionError, match="small: build the model before fit"):
        train(model, probe=probe)
    assert probe.batches == 1


def test_a_training_step_is_traced_once(monkeypatch):
    calls = []

    class Counts(keras.layers.Layer):
        def call(self, inputs, training=False):
            calls.append(training)
            return inputs

    def traces(extra, **data):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, keras.layers.Dense(1)(Counts()(inputs)))
        model.compile("adam", "mse", metrics=["mae"])
        calls.clear()
        model.fit(**data, verbose=0, callbacks=extra)
        return sum(calls)

    arrays = (np.ones((4, 2)), np.ones((4, 1)))
    dataset = tf.data.Dataset.from_tensor_slices(arrays).batch(2)
    ragged = tf.RaggedTensor.from_tensor(arrays[0])
    kinds = [dict(zip("xy", arrays, strict=True)), {"x": dataset}]
    kinds.append({"x": bucket_by_length(ragged, arrays[1][:, 0], 2), "shuffle": False})
    for number, data in enumerate(kinds):
        assert traces(resume_callbacks(f"counts {number}"), **data) == 1
        assert traces([], **data) == 2


PRIVATE_NAMES = [
    "Model._initial_epoch",
    "Layer._flatten_layers",
    "Optimizer._trainable_variables",
    "local variables of Model.fit",
    "keras.src.random.seed_generator.global_seed_generator",
    "keras.src.utils.rng_utils.get_random_seed",
]


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_this_keras_has_a_private_name(name):
    assert list(_keras_private.NAMES) == PRIVATE_NAMES
    missing = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            missing.append(_keras_private.missing_names(self.model, [self.model.optimizer]))

    small().fit(*arrays(), verbose=0, callbacks=[Look()])
    assert missing == [[]], f"{name} is gone"


def test_the_private_names_do_what_resuming_needs():
    model = pair()
    assert {model.first, model.second, model.first.layers[0]} < set(
        _keras_private.all_layers(model)
    )
    model.one.build(model.first.trainable_variables)
    trained = _keras_private.trained_variables(model.one)
    assert [id(v) for v in trained] == [id(v) for v in model.first.trainable_variables]
    before = keras.ops.convert_to_numpy(_keras_private.global_seed())
    keras.random.normal((1,))
    assert not np.array_equal(before, keras.ops.convert_to_numpy(_keras_private.global_seed()))
    model = small()
    _keras_private.begin_fit_at(model, 2)
    assert model.fit(*arrays(), epochs=4, verbose=0).epoch == [2, 3]


def gone(model, optimizers):
    raise AttributeError


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_without_a_private_name_training_runs_on_and_one_line_says_what_is_lost(
    name, monkeypatch, capsys
):
    plain = train(data=arrays(), name="plain")
    (settings.output_dir("models") / state_file()).unlink()
    monkeypatch.setitem(_keras_private.NAMES, name, gone)
    expected = (
        f"small: Keras {keras.__version__} has no {name}; "
        "this training is not saved and cannot be resumed.\n"
    )
    for _ in range(2):  # the second run trains again
        done = train(data=arrays())
        assert capsys.readouterr().out == expected
        assert done.probe.batches == EPOCHS * BATCHES
        assert_same(done, plain)
        assert done.history.seconds > 0
    assert list(settings.output_dir("models").iterdir()) == []


def test_a_name_that_is_really_gone_is_noticed(monkeypatch, capsys):
    monkeypatch.delattr(keras.src.random.seed_generator, "global_seed_generator")
    assert train(epochs=1).probe.batches == BATCHES
    assert (
        "has no keras.src.random.seed_generator.global_seed_generator;" in capsys.readouterr().out
    )


def test_the_data_are_freed_when_the_training_has_ended():
    """Even before Python looks for cycles: a cached data set may take a gigabyte."""
    rows = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((rows, rows[:, :1])).batch(8).cache()
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    alive = weakref.ref(dataset)
    gc.collect()
    gc.disable()
    try:
        model.fit(
            dataset,
            validation_data=dataset,
            epochs=2,
            shuffle=False,
            verbose=0,
            callbacks=resume_callbacks("freed"),
        )
        del dataset
        assert alive() is None
    finally:
        gc.enable()
