"""Callbacks around a plain `model.fit`: resume after a dead kernel, best weights, a time budget.

Models, losses and the training loop itself do not belong here: `fit` runs unchanged.
"""

import hashlib
import json
import time
import warnings
import zipfile
from types import SimpleNamespace

import keras
import numpy as np

from utils import settings
from utils.errors import CompanionError

# A monitored metric whose name has one of these words is better when it is larger; any other is a loss.
LARGER_IS_BETTER = ("acc", "auc", "precision", "recall", "f1", "bleu", "chrf")


def resume_callbacks(
    name, *, depends_on, data=None, run=None, max_seconds=None, monitor="val_loss"
) -> list:
    """Make the callbacks of one `model.fit`, so that a cell which is run again goes on where it was.

    A training that was cut off, even by a killed kernel, continues after its last finished epoch in a new
    kernel and ends where an uninterrupted one would have: weights, optimizers, random seeds, history, best
    epoch and the order of the batches are restored. A finished one is loaded and not trained again. It is
    the same training if `config`, the model's layers and sizes, what it was compiled with, the number of
    epochs and of batches, and the profile are the same; the text of a custom loss or `train_step` is not
    looked at. At the end the model has the weights of its best epoch.

    Restored are random numbers of layers (Dropout) and of `keras.random`, not those that a callback or a
    generator draws from NumPy. The order of NumPy inputs needs nothing: once Keras is seeded, as
    `settings.start` does, `fit` shuffles them the same way in every epoch. In a kernel that lives on, a
    shuffled data set has moved on, and the batches of later epochs come in another order.

    Args:
        name: of the model, as a reader knows it.
        config: dict or namespace of everything else that the result depends on, such as knobs and data.
        data: the `tf.data.Dataset` that `fit` gets, without `repeat` and `steps_per_epoch`: its seeded
            `shuffle` then goes on where it was. It must be made anew in a new kernel, as a notebook does.
        run: what `tracking.start` returned; it gets the metrics of every finished epoch once, never twice.
        budget: seconds of one run of the cell after which training ends, before an epoch that would not
            fit or inside one. What was begun is not counted; the next run continues, with a new budget.
        monitor: the metric whose best epoch counts; without it in the logs, or None, the last weights stay.

    Returns:
        A list for the `callbacks` argument of `fit`. The `History` that `fit` returns has the epochs of
        earlier sessions too, and the seconds that all of them took, validation included, in `.seconds`.

    Raises:
        settings.Stop: during `fit`, after its first epoch, if the model had not been built before it.
        TypeError: when `fit` begins, if `config` holds something that cannot be compared, such as a model.
    """
    clock = _TimeBudget(name, max_seconds) if max_seconds is not None else None
    logger = run.callback() if run else None
    # The logger comes last: an epoch is on disk before it is logged, so no kill can log it twice.
    made = [
        _Resume(name, depends_on, data, monitor, clock),
        clock,
        logger and _finished_only(logger, clock),
    ]
    return [callback for callback in made if callback]


class _Resume(keras.callbacks.Callback):
    def __init__(self, name, config, data, monitor, clock):
        super().__init__()
        self.name, self.data, self.monitor, self.clock = name, data, monitor, clock
        self.config = config
        self.sign = -1 if any(word in str(monitor) for word in LARGER_IS_BETTER) else 1

    def on_train_begin(self, logs=None):
        self.past = {"epochs": 0, "seconds": 0.0, "history": {}, "best": None, "done": False}
        self.best_weights, self.count = None, len(self.model.weights)
        facts = [self.config, settings.profile(), self.params["epochs"], self.params["steps"]]
        label = "".join(letter if letter.isalnum() else "-" for letter in self.name.lower()).strip(
            "-"
        )
        self.path = settings.output_dir("models") / f"{label}-{_fingerprint(self.model, facts)}.npz"
        optimizer = getattr(self.model, "optimizer", None)
        plain = self.count and type(self.model).train_step is keras.Model.train_step
        if plain and optimizer and not optimizer.built:
            # A first step that has to make the optimizer's variables is traced twice, for a second or more.
            optimizer.build(self.model.trainable_variables)
        if self.path.exists():
            self._load()
        past, epochs = self.past, self.params["epochs"]
        # Keras's own BackupAndRestore sets this too: `fit` has no public way for a callback to begin later.
        self.model._initial_epoch = epochs if past["done"] else past["epochs"]
        # Every new iterator moves a seeded shuffle on. `fit` makes one for an epoch and, where it knows the
        # number of batches, another one at the epoch's end that it never reads.
        for _ in range(past["epochs"] * (1 if self.params["steps"] is None else 2)):
            if self.data is not None:
                iter(self.data)
        if past["epochs"]:
            place, spent = settings.display_path(self.path), f"{past['seconds']:.0f} s"
            trained = f"trained before ({past['epochs']} epochs, {spent}), loaded from {place}"
            resumed = f"resumed after {past['epochs']} of {epochs} epochs ({spent}) from {place}"
            print(f"{self.name}: {trained if self.model._initial_epoch >= epochs else resumed}")

    def _load(self):
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                past = json.loads(str(saved["past"]))
                for optimizer, trained in zip(
                    _optimizers(self.model), past["optimizers"], strict=True
                ):
                    if trained and not optimizer.built:
                        optimizer.build([self.model.variables[number] for number in trained])
                state = _state(self.model)
                values = [saved[f"value{number}"] for number in range(past["values"])]
                if [value.shape for value in values] != [
                    tuple(variable.shape) for variable in state
                ]:
                    raise ValueError("another model")
                if past["best"]:
                    kept = (
                        "best" if "best0" in saved else "value"
                    )  # the model's weights lead its state
                    self.best_weights = [saved[f"{kept}{number}"] for number in range(self.count)]
        except (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile):
            print(
                f"{self.name}: {settings.display_path(self.path)} is damaged, training from the start."
            )
            return
        for variable, value in zip(state, values, strict=True):
            variable.assign(value)
        self.past = past

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.model._initial_epoch:
            self._fill_history()
        self.model._initial_epoch = None  # or the model's next `fit` would begin late
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        if self.clock and self.clock.cut:
            return
        if len(self.model.weights) != self.count:
            raise CompanionError(
                f"{self.name}: build the model before fit, for example with model(batch)."
            )
        past, logs = (
            self.past,
            {key: np.asarray(value).tolist() for key, value in (logs or {}).items()},
        )
        past["seconds"] += time.perf_counter() - self.began
        past["epochs"] = epoch + 1
        for key, value in logs.items():
            past["history"].setdefault(key, []).append(value)
        value = logs.get(self.monitor, np.nan)
        if np.isfinite(value) and (
            not past["best"] or self.sign * (value - past["best"]["value"]) < 0
        ):
            past["best"] = {"epoch": epoch, "value": value}
            self.best_weights = self.model.get_weights()
        self._save()

    def _save(self):
        state, best = _state(self.model), self.past["best"]
        self.past |= {"values": len(state), "optimizers": _trained(self.model)}
        arrays = {f"value{number}": variable.numpy() for number, variable in enumerate(state)}
        if best and best["epoch"] != self.past["epochs"] - 1:
            arrays |= {f"best{number}": value for number, value in enumerate(self.best_weights)}
        # One file, renamed when complete: a kill leaves the state before or the state after, never a mixture.
        partial = self.path.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                np.savez(file, past=np.array(json.dumps(self.past)), **arrays)
            partial.replace(self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            print(
                f"{self.name}: epoch {self.past['epochs']} not saved ({error.strerror}), training goes on."
            )

    def _fill_history(self):
        history = self.model.history
        history.epoch = list(range(self.past["epochs"]))
        history.history = {key: list(values) for key, values in self.past["history"].items()}

    def on_train_end(self, logs=None):
        cut = bool(self.clock and self.clock.stopped)
        if not cut and 0 < self.past["epochs"] < self.params["epochs"] and not self.past["done"]:
            # Another callback, such as EarlyStopping, found that it is enough.
            self.past["done"] = True
            self._save()
        # Keras empties its History after `on_train_begin` of this callback, and adds an epoch that was cut.
        self._fill_history()
        self.model.history.seconds = self.past["seconds"]
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
        self.model._initial_epoch = None


class _TimeBudget(keras.callbacks.Callback):
    def __init__(self, name, seconds):
        super().__init__()
        self.name, self.seconds = name, seconds

    def on_train_begin(self, logs=None):
        self.began, self.durations = time.perf_counter(), []
        self.cut = self.stopped = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        unfinished = self.params["steps"] is None or batch + 1 < self.params["steps"]
        if unfinished and time.perf_counter() - self.began > self.seconds:
            self.model.stop_training = self.cut = True

    def on_test_batch_end(self, batch, logs=None):
        if self.cut:
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch, logs=None):
        now, epochs = time.perf_counter(), self.params["epochs"]
        self.durations.append(now - self.epoch_began)
        finished = epoch if self.cut else epoch + 1
        full = now - self.began + np.mean(self.durations) > self.seconds
        if finished < epochs and (self.cut or (full and not self.model.stop_training)):
            self.model.stop_training = self.stopped = True
            # Without one whole epoch in this run, the next one would get no further either.
            nothing = self.cut and len(self.durations) == 1
            advice = (
                "raise it, an epoch takes longer" if nothing else "run the cell again to continue"
            )
            reached = (
                f"time budget of {self.seconds:g} s reached after {finished} of {epochs} epochs"
            )
            print(f"{self.name}: {reached}; {advice}.")


def _finished_only(logger, clock):
    log = logger.on_epoch_end

    def on_epoch_end(epoch, logs=None):
        if not (clock and clock.cut):
            log(epoch, logs)

    logger.on_epoch_end = on_epoch_end
    return logger


def _optimizers(model) -> list:
    """List the optimizers of a model, of which a GAN has two: Keras itself knows about one."""
    return [
        value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)
    ]


def _trained(model) -> list:
    """Say for each optimizer which of the model's variables it trains, so that it can be built again."""
    place = {id(variable): number for number, variable in enumerate(model.variables)}
    return [
        [place[id(v)] for v in o._trainable_variables if id(v) in place] for o in _optimizers(model)
    ]


def _state(model) -> list:
    """List every variable that the next epoch depends on; `save_weights` leaves some random seeds out."""
    seeds = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    shared = keras.src.random.seed_generator.global_seed_generator().state
    return [
        *model.weights,
        *seeds,
        shared,
        *(v for o in _optimizers(model) if o.built for v in o.variables),
    ]


def _fingerprint(model, config) -> str:
    names = {}

    def number(name):
        return names.setdefault(str(name), len(names))

    def plain(value):
        # Keras numbers the names of layers within a kernel: a cell run twice must not look like two models.
        if isinstance(value, dict):
            if value.get("class_name") == "__lambda__":
                return "lambda"  # its code holds the address of the notebook's cell
            return {
                str(key): number(value[key]) if key == "name" else plain(value[key])
                for key in value
            }
        if isinstance(value, list | tuple):
            if (
                len(value) == 3
                and isinstance(value[0], str)
                and all(isinstance(v, int) for v in value[1:])
            ):
                return [number(value[0]), *value[1:]]  # where a layer's input comes from
            return [plain(item) for item in value]
        return value if isinstance(value, str | int | float | None) else type(value).__name__

    def tried(describe):
        try:
            return plain(describe())
        except (NotImplementedError, TypeError, ValueError):
            return None  # a class of the notebook that cannot be saved; its parts are listed all the same

    def encoded(value):
        if isinstance(value, SimpleNamespace):
            return vars(value)
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        raise TypeError(f"config holds {value!r}: give numbers, words, lists or dicts.")

    parts = [*model._flatten_layers(), *_optimizers(model)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of lambdas, which nothing here loads
        compiled = tried(model.get_compile_config) or {}
        described = [[type(part).__name__, tried(part.get_config)] for part in parts]
    shapes = [list(variable.shape) for variable in model.weights]
    facts = [config, described, shapes, compiled.get("loss"), compiled.get("metrics")]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=encoded).encode()).hexdigest()[
        :10
    ]
