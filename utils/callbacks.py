"""Callbacks around a plain `model.fit`: resume after a dead kernel, best weights, a time budget.

Models, losses and the training loop itself do not belong here: `fit` runs unchanged.
"""

import json
import time
import warnings
import zipfile
from types import SimpleNamespace

import keras
import numpy as np

from utils import _keras_private, settings
from utils.errors import CompanionError


def resume_callbacks(
    name,
    *,
    depends_on,
    data=None,
    run=None,
    max_seconds=None,
    monitor="val_loss",
    mode="auto",
) -> list:
    """Make the callbacks of one `model.fit`, so that a cell that is run again continues training.

    A training that was interrupted, even by a killed kernel, continues after its last finished
    epoch and ends where an uninterrupted one would have ended: weights, optimizers, random seeds,
    history, best epoch and the order of the batches are restored. A finished training is loaded and
    not run again. At the end the model has the weights of its best epoch.

    Two trainings are the same if these agree: `depends_on`, the model's layers and their sizes,
    what it was compiled with, the number of epochs and of batches, and the profile. The code of a
    custom loss or `train_step` is not compared.

    Random numbers of layers (Dropout) and of `keras.random` are restored; those that a callback or
    a generator draws from NumPy are not. NumPy inputs need no `data`: once Keras is seeded, as
    `notebook.start` does, `fit` shuffles them the same way in every epoch. Other callbacks are not
    restored: in a resumed training `EarlyStopping` and `ReduceLROnPlateau` start to count again.

    Args:
        name: the model's name, as a reader knows it.
        depends_on: dict or namespace of everything else that the result depends on, such as
            settings and data.
        data: what `fit` gets, if it shuffles itself; without `repeat` and `steps_per_epoch`. Passed
            here, the batches of `bucket_by_length` always come in the order of an uninterrupted
            training. Those of a `tf.data.Dataset` with a seeded `shuffle` do so if it was created
            again, as in a new kernel.
        run: what `tracking.start` returned; it gets the metrics of every finished epoch once.
        max_seconds: time budget in seconds for one run of the cell. Training ends before an epoch
            that would not fit, or within an epoch, which then does not count; the next run of the
            cell continues with a new budget.
        monitor: the metric whose best epoch counts. If it is None, or no epoch logs it, the last
            weights stay.
        mode: "min" or "max", the better direction of `monitor`; "auto" asks Keras, as its
            `EarlyStopping` does.

    Returns:
        A list for the `callbacks` argument of `fit`. The `History` that `fit` returns includes the
        epochs of earlier runs, and in `.seconds` the time of all of them, validation included.

    Raises:
        ValueError: for an unknown `mode`; and after the first batch, if `mode` is "auto" and Keras
            does not know the direction of `monitor`.
        TypeError: when `fit` begins, if `depends_on` holds something that cannot be compared, such
            as a model.
        CompanionError: after the first batch, if the model was not built before `fit`.
    """
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode={mode!r} is unknown: use 'auto', 'min' or 'max'.")
    budget = None if max_seconds is None else _TimeBudget(name, max_seconds)
    logger = run.callback() if run else None
    # The logger comes last: an epoch is on disk before it is logged, so no kill can log it twice.
    callbacks = [
        _Resume(name, depends_on, data, monitor, mode, budget),
        budget,
        logger and _log_finished_epochs_only(logger, budget),
    ]
    return [callback for callback in callbacks if callback]


class _Resume(keras.callbacks.Callback):
    """Saves the training after every epoch, restores it, and keeps the best weights."""

    def __init__(self, name, depends_on, data, monitor, mode, budget):
        super().__init__()
        self.name = name
        self.depends_on = depends_on
        self.data = data
        self.monitor = monitor
        self.mode = mode
        self.budget = budget

    def on_train_begin(self, logs=None):
        self.past = {"epochs": 0, "seconds": 0.0, "history": {}, "best": None, "done": False}
        self.best_weights = None
        self.in_first_batch = True
        self.num_weights = len(self.model.weights)
        self._build_optimizer()
        self.path = None
        if missing := _keras_private.missing_names(self.model, _optimizers(self.model)):
            print(
                f"{self.name}: Keras {keras.__version__} has no {', '.join(missing)}; "
                "this training is not saved and cannot be resumed."
            )
        else:
            self.path = self._state_path()
            if self.path.exists():
                self._load()
        epochs = self.params["epochs"]
        self.first_epoch = epochs if self.past["done"] else self.past["epochs"]
        if self.path is not None:
            _keras_private.begin_fit_at(self.model, self.first_epoch)
        self._replay_shuffles()
        if self.past["epochs"]:
            self._print_past()

    def _print_past(self):
        file = settings.display_path(self.path)
        seconds = f"{self.past['seconds']:.0f} s"
        finished = self.past["epochs"]
        epochs = self.params["epochs"]
        if self.first_epoch >= epochs:
            line = f"trained before ({finished} epochs, {seconds}), loaded from {file}"
        else:
            line = f"resumed after {finished} of {epochs} epochs ({seconds}) from {file}"
        print(f"{self.name}: {line}")

    def _build_optimizer(self):
        optimizer = getattr(self.model, "optimizer", None)
        plain_step = type(self.model).train_step is keras.Model.train_step
        if self.num_weights and plain_step and optimizer and not optimizer.built:
            # A first step that has to make the optimizer's variables is traced twice, which takes
            # a second or more.
            optimizer.build(self.model.trainable_variables)

    def _state_path(self):
        epochs = self.params["epochs"]
        facts = [self.depends_on, settings.profile(), epochs, self.params["steps"]]
        label = settings.file_label(self.name, _described(self.model, facts))
        return settings.output_dir("models") / f"{label}.npz"

    def _replay_shuffles(self):
        """Move the seeded shuffle of a `tf.data.Dataset` on to the first epoch."""
        if self.data is None or hasattr(self.data, "epoch"):
            return
        # Every new iterator moves the shuffle on. `fit` makes one for an epoch and, where it knows
        # the number of batches, another one at the epoch's end that it never reads.
        iterators_per_epoch = 1 if self.params["steps"] is None else 2
        for _ in range(self.past["epochs"] * iterators_per_epoch):
            iter(self.data)

    def _load(self):
        try:
            with np.load(self.path, allow_pickle=False) as saved:
                past = json.loads(str(saved["past"]))
                optimizers = _optimizers(self.model)
                for optimizer, trained in zip(optimizers, past["optimizers"], strict=True):
                    if trained and not optimizer.built:
                        optimizer.build([self.model.variables[number] for number in trained])
                state = _state(self.model)
                values = [saved[f"value{number}"] for number in range(past["values"])]
                shapes = [tuple(variable.shape) for variable in state]
                if [value.shape for value in values] != shapes:
                    raise ValueError("another model")
                if past["best"]:
                    # If the last epoch is the best, its weights are the first values of the state.
                    prefix = "best" if "best0" in saved else "value"
                    self.best_weights = [saved[f"{prefix}{i}"] for i in range(self.num_weights)]
        except (OSError, EOFError, LookupError, ValueError, zipfile.BadZipFile):
            file = settings.display_path(self.path)
            print(f"{self.name}: {file} is damaged, training from the start.")
            return
        for variable, value in zip(state, values, strict=True):
            variable.assign(value)
        self.past = past

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.first_epoch:
            self._fill_history()
        if self.path is not None:
            # Otherwise the model's next `fit` would begin late.
            _keras_private.begin_fit_at(self.model, None)
        if hasattr(self.data, "epoch"):
            self.data.epoch = epoch
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if self.in_first_batch:
            self.in_first_batch = False
            if len(self.model.weights) != self.num_weights:
                raise CompanionError(
                    f"{self.name}: build the model before fit, for example with model(batch)."
                )
            # The metrics of a compiled model exist from its first batch on.
            if self.monitor is not None:
                self.larger_is_better = self._ask_direction()

    def _ask_direction(self):
        # Which of two values does Keras's own callback take for the better one?
        stopping = keras.callbacks.EarlyStopping(self.monitor, mode=self.mode, patience=2)
        stopping.set_model(self.model)
        stopping.on_train_begin()
        try:
            for epoch, value in enumerate((0.0, 1.0)):
                stopping.on_epoch_end(epoch, {self.monitor: value})
        except ValueError:
            raise ValueError(
                f"{self.name}: Keras does not know whether a larger {self.monitor} is better. Pass "
                "mode='max' or mode='min' to resume_callbacks."
            ) from None
        return stopping.best == 1

    def on_epoch_end(self, epoch, logs=None):
        if self.budget and self.budget.cut:
            return
        past = self.past
        past["seconds"] += time.perf_counter() - self.start
        past["epochs"] = epoch + 1
        logs = {key: np.asarray(value).tolist() for key, value in (logs or {}).items()}
        for key, value in logs.items():
            past["history"].setdefault(key, []).append(value)
        if self._is_best(logs.get(self.monitor, np.nan)):
            past["best"] = {"epoch": epoch, "value": logs[self.monitor]}
            self.best_weights = self.model.get_weights()
        self._save()

    def _is_best(self, value):
        if not np.isfinite(value):
            return False
        if not self.past["best"]:
            return True
        if self.larger_is_better:
            return value > self.past["best"]["value"]
        return value < self.past["best"]["value"]

    def _save(self):
        if self.path is None:
            return
        state = _state(self.model)
        self.past |= {"values": len(state), "optimizers": _trained(self.model)}
        arrays = {f"value{number}": variable.numpy() for number, variable in enumerate(state)}
        best = self.past["best"]
        if best and best["epoch"] != self.past["epochs"] - 1:
            arrays |= {f"best{number}": value for number, value in enumerate(self.best_weights)}
        # One file, renamed when complete: a kill leaves the state before or after, never a mixture.
        partial = self.path.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                np.savez(file, past=np.array(json.dumps(self.past)), **arrays)
            partial.replace(self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            epoch = self.past["epochs"]
            print(f"{self.name}: epoch {epoch} not saved ({error.strerror}), training goes on.")

    def _fill_history(self):
        history = self.model.history
        history.epoch = list(range(self.past["epochs"]))
        history.history = {key: list(values) for key, values in self.past["history"].items()}

    def on_train_end(self, logs=None):
        stopped_by_budget = bool(self.budget and self.budget.stopped)
        unfinished = 0 < self.past["epochs"] < self.params["epochs"]
        if unfinished and not stopped_by_budget and not self.past["done"]:
            # Another callback, such as EarlyStopping, has ended this training.
            self.past["done"] = True
            self._save()
        # Keras empties its History after `on_train_begin` of this callback, and adds an epoch that
        # was cut.
        self._fill_history()
        self.model.history.seconds = self.past["seconds"]
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
        if self.path is not None:
            _keras_private.begin_fit_at(self.model, None)


class _TimeBudget(keras.callbacks.Callback):
    """Ends training when the next epoch would not fit, or within an epoch when the time is up."""

    def __init__(self, name, max_seconds):
        super().__init__()
        self.name = name
        self.max_seconds = max_seconds

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()
        self.epoch_seconds = []
        self.cut = False  # within an epoch
        self.stopped = False

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        unfinished = self.params["steps"] is None or batch + 1 < self.params["steps"]
        if unfinished and time.perf_counter() - self.start > self.max_seconds:
            self.model.stop_training = True
            self.cut = True

    def on_test_batch_end(self, batch, logs=None):
        if self.cut:
            self.model.stop_evaluating = True

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        epochs = self.params["epochs"]
        self.epoch_seconds.append(now - self.epoch_start)
        finished = epoch if self.cut else epoch + 1
        next_end = now - self.start + np.mean(self.epoch_seconds)
        stops_before_next = next_end > self.max_seconds and not self.model.stop_training
        if finished == epochs or not (self.cut or stops_before_next):
            return
        self.model.stop_training = True
        self.stopped = True
        # Without one whole epoch in this run, the next one would get no further either.
        if self.cut and len(self.epoch_seconds) == 1:
            advice = "raise it, an epoch takes longer"
        else:
            advice = "run the cell again to continue"
        reached = f"time budget of {self.max_seconds:g} s reached"
        print(f"{self.name}: {reached} after {finished} of {epochs} epochs; {advice}.")


def _log_finished_epochs_only(logger, budget):
    log = logger.on_epoch_end

    def on_epoch_end(epoch, logs=None):
        if not (budget and budget.cut):
            log(epoch, logs)

    logger.on_epoch_end = on_epoch_end
    return logger


def _optimizers(model) -> list:
    """List the optimizers of a model, of which a GAN has two: Keras itself knows about one."""
    attributes = vars(model).values()
    return [value for value in attributes if isinstance(value, keras.optimizers.Optimizer)]


def _trained(model) -> list:
    """List for each optimizer which of the model's variables it trains, to build it again."""
    numbers = {id(variable): number for number, variable in enumerate(model.variables)}
    trained = []
    for optimizer in _optimizers(model):
        variables = _keras_private.trained_variables(optimizer)
        trained.append([numbers[id(v)] for v in variables if id(v) in numbers])
    return trained


def _state(model) -> list:
    """List every variable the next epoch depends on; `save_weights` leaves some seeds out."""
    seeds = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    state = [*model.weights, *seeds, _keras_private.global_seed()]
    for optimizer in _optimizers(model):
        if optimizer.built:
            state += optimizer.variables
    return state


def _described(model, facts) -> str:
    """Describe the facts, the layers with sizes and wiring, and the compiled loss and metrics."""
    numbers = {}

    def numbered(name):
        # Keras numbers the layers of a kernel: a cell run twice must not look like two models.
        return numbers.setdefault(str(name), len(numbers))

    def is_connection(value):
        # Where a layer's input comes from: a layer's name and two numbers.
        return (
            len(value) == 3
            and isinstance(value[0], str)
            and all(isinstance(number, int) for number in value[1:])
        )

    def plain(value):
        if isinstance(value, dict):
            if value.get("class_name") == "__lambda__":
                return "lambda"  # its code holds the address of the notebook's cell
            items = value.items()
            return {str(k): numbered(v) if k == "name" else plain(v) for k, v in items}
        if isinstance(value, list | tuple):
            if is_connection(value):
                return [numbered(value[0]), *value[1:]]
            return [plain(item) for item in value]
        return value if isinstance(value, str | int | float | None) else type(value).__name__

    def plain_config(get_config):
        try:
            return plain(get_config())
        except (NotImplementedError, TypeError, ValueError):
            # A class of the notebook that cannot be saved; its parts are listed as well.
            return None

    def encoded(value):
        if isinstance(value, SimpleNamespace):
            return vars(value)
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        raise TypeError(f"depends_on holds {value!r}: pass numbers, strings, lists or dicts.")

    parts = [*_keras_private.all_layers(model), *_optimizers(model)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lambdas, which nobody loads from these
        compiled = plain_config(model.get_compile_config) or {}
        configs = [[type(part).__name__, plain_config(part.get_config)] for part in parts]
    shapes = [list(variable.shape) for variable in model.weights]
    content = [facts, configs, shapes, compiled.get("loss"), compiled.get("metrics")]
    return json.dumps(content, sort_keys=True, default=encoded)
