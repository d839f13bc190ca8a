"""Callbacks around a plain `model.fit`: resume after a dead kernel, best weights, a time budget.

Models, losses and the training loop itself do not belong here: `fit` runs unchanged.
"""

import json
import time
import weakref
import zipfile
from types import SimpleNamespace

import keras
import numpy as np

from utils import _keras_private, settings
from utils._time_budget import TimeBudget
from utils._training_state import (
    STATEFUL,
    all_variables,
    ask_direction,
    assign,
    counted,
    describe_callback,
    model_variables,
    optimizers_of,
    trained_variables,
    values_of,
)
from utils.errors import CompanionError
from utils.fingerprints import fingerprint, plain_config

# How each model began, by the training's name: {model: {name: namespace}}.
_beginnings = weakref.WeakKeyDictionary()


def resume_callbacks(
    name,
    *,
    depends_on=None,
    run=None,
    max_seconds=None,
    monitor="val_loss",
    mode="auto",
) -> list:
    """Make the callbacks of one `model.fit`, so that a cell that is run again continues training.

    A training that was interrupted, even by a killed kernel, continues after its last finished
    epoch and ends where an uninterrupted one would have ended: weights, optimizers, random seeds,
    history, best epoch, the order of the batches, and what Keras's `EarlyStopping`,
    `ReduceLROnPlateau` and `ModelCheckpoint` have counted are restored. A finished training is
    loaded and not run again; asked for more epochs, it goes on. At the end the model has the
    weights of its best epoch.

    Two trainings are the same if everything agrees that the weights depend on: what `fit` gets, by
    content; the model's layers and first weights; the code of its classes, loss and lambdas, as
    far as the notebook or this project defines them; optimizers; callbacks that change weights;
    `monitor`; the seed of Keras; and `depends_on`.

    A model that comes back to `fit` under the same name begins with the weights with which it came
    there first, unless other code has changed them after the end of that training. So a cell that
    is run again does not train on from its own end, or from the middle of an epoch.

    Random numbers of layers (Dropout) and of `keras.random` are restored, those drawn from NumPy
    are not. The batches of `bucket_by_length` always come in the order of an uninterrupted
    training; those of a `tf.data.Dataset` with a seeded `shuffle` if it is created in the cell that
    trains. It is read once more to compare it. Pass `shuffle=False` for both. NumPy inputs are
    shuffled by `fit` the same way in every epoch once Keras is seeded, as by `notebook.start`.

    Args:
        name: the model's name, as a reader knows it.
        depends_on: what the result depends on besides, such as a file that a callback reads.
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
        TypeError: when `fit` begins, if `depends_on` cannot be compared, as a generator.
        CompanionError: after the first batch, if the model was not built before `fit`; when `fit`
            begins, if an optimizer that was trained before has to be made anew; if the time budget
            ends within the first epoch.
    """
    if mode not in ("auto", "min", "max"):
        raise ValueError(f"mode={mode!r} is unknown: use 'auto', 'min' or 'max'.")
    budget = None if max_seconds is None else TimeBudget(name, max_seconds)
    resume = _Resume(name, depends_on, monitor, mode, budget)
    callbacks = [resume]
    if budget:
        callbacks.insert(0, budget)
    logger = run.callback() if run else None
    if logger:
        # It comes last: an epoch is on disk before it is logged, so no kill can log it twice.
        callbacks.append(_log_finished_epochs_only(logger, resume))
    resume.companions = callbacks
    return callbacks


class _Resume(keras.callbacks.Callback):
    """Saves the training after every epoch, restores it, and keeps the best weights."""

    def __init__(self, name, depends_on, monitor, mode, budget):
        super().__init__()
        self.name = name
        self.depends_on = depends_on
        self.monitor = monitor
        self.mode = mode
        self.budget = budget

    def on_train_begin(self, logs=None):
        self.past = {"epochs": 0, "seconds": 0.0, "history": {}, "best": None, "done": False}
        self.best_weights = None
        self.in_first_batch = True
        self.cut = False  # within an epoch
        self.callback_values = []
        self.num_weights = len(self.model.weights)
        self.path = None
        self.data = None
        self.others = []
        if missing := _keras_private.missing_names(self.model, optimizers_of(self.model)):
            print(
                f"{self.name}: Keras {keras.__version__} has no {', '.join(missing)}; "
                "this training is not saved and cannot be resumed."
            )
        else:
            arguments = _keras_private.fit_arguments(self.model)
            self.data = arguments["x"]
            self._make_variables(arguments)
            self.others = self._move_to_the_end(arguments["callbacks"])
            rewound = self._rewind()
            self.seed = _keras_private.global_seed().numpy().tolist()
            self.path = self._find_path(arguments)
            if self.path is not None and self.path.exists():
                self._load()
            if not rewound and not self.past["epochs"]:
                raise CompanionError(
                    f"{self.name}: this model was trained before; run the cell that compiles it, "
                    "then this one."
                )
        self.first_epoch = self.params["epochs"] if self.past["done"] else self.past["epochs"]
        if self.path is not None:
            _keras_private.begin_fit_at(self.model, self.first_epoch)
        self._replay_shuffles()
        if not hasattr(self.data, "epoch"):
            self.data = None  # only what counts epochs is needed later; the rest may be large
        if self.past["epochs"]:
            self._print_past()

    def _move_to_the_end(self, callback_list):
        """Let the others go first, so that an epoch is saved with what they have counted."""
        others = [each for each in callback_list.callbacks if each not in self.companions]
        defaults = (keras.callbacks.History, keras.callbacks.ProgbarLogger)
        # A new list, because Keras is just going through the old one.
        callback_list.callbacks = [
            *(each for each in others if not isinstance(each, defaults)),
            *self.companions,
            *(each for each in others if isinstance(each, defaults)),
        ]
        return [each for each in others if not isinstance(each, defaults)]

    def _rewind(self):
        """Take the model back to where its training of this name began; note it the first time.

        Returns:
            False if an optimizer cannot be taken back.
        """
        beginnings = _beginnings.setdefault(self.model, {})
        beginning = beginnings.get(self.name)
        if beginning is None or not self._is_left_as(beginning):
            state = values_of(model_variables(self.model))
            seed = _keras_private.global_seed()
            beginning = SimpleNamespace(state=state, seed=seed, seed_value=seed.numpy())
            beginning.optimizers = weakref.WeakKeyDictionary()
            beginnings[self.name] = beginning
        assign(model_variables(self.model), beginning.state)
        if beginning.seed is _keras_private.global_seed():  # Keras was not seeded anew
            beginning.seed.assign(beginning.seed_value)
        rewound = True
        for optimizer in optimizers_of(self.model):
            # One that was compiled since is at its beginning.
            values = beginning.optimizers.setdefault(optimizer, values_of(optimizer.variables))
            rewound &= len(optimizer.variables) == len(values)
            assign(optimizer.variables[: len(values)], values)
        beginning.left = None  # in training
        return rewound

    def _is_left_as(self, beginning):
        """Say whether nobody has changed the model since its training ended or was interrupted."""
        shapes = [tuple(variable.shape) for variable in model_variables(self.model)]
        if shapes != [value.shape for value in beginning.state]:
            return False
        return beginning.left in (None, fingerprint(self.model.get_weights()))

    def _print_past(self):
        file = settings.display_path(self.path)
        seconds = f"{self.past['seconds']:.0f} s, {settings.display_time(self.path)}"
        finished = self.past["epochs"]
        epochs = self.params["epochs"]
        if self.first_epoch >= epochs:
            line = f"trained before ({finished} epochs, {seconds}), loaded from {file}"
        else:
            line = f"resumed after {finished} of {epochs} epochs ({seconds}) from {file}"
        print(f"{self.name}: {line}")

    def _make_variables(self, arguments):
        """Make the variables of optimizer and metrics: a step that has to is traced twice."""
        plain_step = type(self.model).train_step is keras.Model.train_step
        if self.num_weights and plain_step and getattr(self.model, "optimizer", None):
            batch = (self.data, arguments["y"], arguments["sample_weight"])
            if _is_tf_dataset(self.data):
                batch = self.data.element_spec
            elif isinstance(self.data, keras.utils.PyDataset):
                batch = self.data[0]
            _keras_private.make_variables(self.model, batch)

    def _find_path(self, arguments):
        """Return the file of this training, or None if its data cannot be compared."""
        # Raises what is wrong with `depends_on`.
        facts = [self.depends_on and fingerprint(self.depends_on), self.monitor, self.mode]
        model = self.model
        del arguments["callbacks"]
        try:
            facts += [
                fingerprint([arguments, self.params["steps"]]),
                fingerprint([model, getattr(model, "loss", None), optimizers_of(model)]),
            ]
        except (TypeError, ValueError) as error:
            print(f"{self.name}: {error} This training is not saved and cannot be resumed.")
            return None
        compiled = plain_config(model.get_compile_config) or {}
        described = [describe_callback(each) for each in self.others]
        described = [each for each in described if each is not None]
        facts += [compiled.get("loss_weights"), compiled.get("metrics"), described]
        shuffles_itself = isinstance(self.data, keras.utils.PyDataset) or _is_tf_dataset(self.data)
        if arguments["shuffle"] and not shuffles_itself:
            facts.append(_keras_private.random_seed())
        label = settings.file_label(self.name, fingerprint(facts))
        return settings.output_dir("models") / f"{label}.npz"

    def _replay_shuffles(self):
        """Move the seeded shuffle of a `tf.data.Dataset` on to the first epoch."""
        if not _is_tf_dataset(self.data):
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
                if past["drew_from"] not in (None, self.seed):
                    print(f"{self.name}: trained before with other random numbers; once more.")
                    return
                if past["epochs"] > self.params["epochs"]:
                    epochs = f"{past['epochs']} epochs, not {self.params['epochs']}"
                    print(f"{self.name}: trained before for {epochs}; training from the start.")
                    return
                optimizers = optimizers_of(self.model)
                for optimizer, trained in zip(optimizers, past["optimizers"], strict=True):
                    if trained and not optimizer.built:
                        optimizer.build([self.model.variables[number] for number in trained])
                state = all_variables(self.model)
                values = [saved[f"value{number}"] for number in range(past["values"])]
                shapes = [tuple(variable.shape) for variable in state]
                if [value.shape for value in values] != shapes:
                    raise ValueError("another model")
                if past["best"]:
                    # If the last epoch is the best, its weights are the first values of the state.
                    prefix = "best" if "best0" in saved else "value"
                    self.best_weights = [saved[f"{prefix}{i}"] for i in range(self.num_weights)]
                self.callback_values = past["callbacks"]
                for number, attributes in enumerate(self.callback_values):
                    for key, length in attributes.pop("arrays").items():
                        names = [f"callback{number}{key}{i}" for i in range(length)]
                        attributes[key] = [saved[each] for each in names]
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
            self._restore_callbacks()
        self.cut = False
        if self.path is not None:
            # Otherwise the model's next `fit` would begin late.
            _keras_private.begin_fit_at(self.model, None)
        if hasattr(self.data, "epoch"):
            self.data.epoch = epoch
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        steps = self.params["steps"]
        self.cut = self.model.stop_training and (steps is None or batch + 1 < steps)
        if self.in_first_batch:
            self.in_first_batch = False
            if len(self.model.weights) != self.num_weights:
                raise CompanionError(
                    f"{self.name}: build the model before fit, for example with model(batch)."
                )
            # The metrics of a compiled model exist from its first batch on.
            if self.monitor is not None:
                self.larger_is_better = ask_direction(
                    self.model, self.name, self.monitor, self.mode
                )

    def on_epoch_end(self, epoch, logs=None):
        if self.cut:
            if not (self.budget and self.budget.cut):
                print(f"{self.name}: ended within epoch {epoch + 1}, which does not count.")
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
        state = all_variables(self.model)
        if self.past["epochs"] == 1:
            # Whether the training has drawn random numbers for which nobody gave a seed.
            draws = _keras_private.global_seed().numpy().tolist() != self.seed
            self.past["drew_from"] = self.seed if draws else None
        self.past |= {
            "values": len(state),
            "optimizers": trained_variables(self.model),
        }
        arrays = {f"value{number}": variable.numpy() for number, variable in enumerate(state)}
        best = self.past["best"]
        if best and best["epoch"] != self.past["epochs"] - 1:
            arrays |= {f"best{number}": value for number, value in enumerate(self.best_weights)}
        self.past["callbacks"] = []
        for number, callback in enumerate(self._stateful()):
            attributes, lists = counted(callback)
            lengths = {key: len(values) for key, values in lists.items()}
            self.past["callbacks"].append(attributes | {"arrays": lengths})
            for key, values in lists.items():
                arrays |= {f"callback{number}{key}{i}": value for i, value in enumerate(values)}
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

    def _stateful(self):
        return [each for each in self.others if isinstance(each, STATEFUL)]

    def _restore_callbacks(self):
        for callback, attributes in zip(self._stateful(), self.callback_values, strict=False):
            vars(callback).update(attributes)

    def on_train_end(self, logs=None):
        stopped_by_budget = bool(self.budget and self.budget.stopped)
        unfinished = 0 < self.past["epochs"] < self.params["epochs"]
        if unfinished and not (stopped_by_budget or self.cut or self.past["done"]):
            # Another callback, such as EarlyStopping, has ended this training.
            self.past["done"] = True
            self._save()
        if self.first_epoch >= self.params["epochs"]:
            self._restore_callbacks()  # nothing was trained, so nothing was counted
        # Keras empties its History after `on_train_begin` of this callback, and adds an epoch that
        # was cut.
        self._fill_history()
        self.model.history.seconds = self.past["seconds"]
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
        if self.path is not None:
            _keras_private.begin_fit_at(self.model, None)
        if self.model in _beginnings:
            left = fingerprint(self.model.get_weights())
            _beginnings[self.model][self.name].left = left


def _is_tf_dataset(data):
    return hasattr(data, "cardinality")  # TensorFlow may not be there


def _log_finished_epochs_only(logger, resume):
    log = logger.on_epoch_end

    def on_epoch_end(epoch, logs=None):
        if not resume.cut:
            log(epoch, logs)

    logger.on_epoch_end = on_epoch_end
    return logger
