"""What a training has to bring back after an interruption: variables, optimizers, callbacks.

When it is saved and restored is decided in `callbacks`.
"""

from types import FunctionType

import keras
import numpy as np

from utils import _keras_private
from utils.fingerprints import fingerprint

# Callbacks of Keras that count epochs or keep a best value: a resumed training gets them back.
STATEFUL = (
    keras.callbacks.EarlyStopping,
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.ModelCheckpoint,
)
# A callback whose code has one of these names may change the weights, and so counts.
CHANGES_WEIGHTS = {
    "assign",
    "learning_rate",
    "load_weights",
    "optimizer",
    "set_weights",
    "stop_training",
    "trainable",
}


def optimizers_of(model) -> list:
    """List the optimizers of a model, of which a GAN has two: Keras itself knows about one."""
    found = []

    def search(value):
        if isinstance(value, keras.optimizers.Optimizer):
            if not any(value is each for each in found):
                found.append(value)
        elif isinstance(value, list | tuple):
            for item in value:
                search(item)
        elif isinstance(value, dict):
            for item in value.values():
                search(item)

    for name, value in vars(model).items():
        if not name.startswith("_"):  # Keras's own lists of layers and variables
            search(value)
    return found


def trained_variables(model) -> list:
    """List for each optimizer which of the model's variables it trains, to build it again."""
    numbers = {id(variable): number for number, variable in enumerate(model.variables)}
    trained = []
    for optimizer in optimizers_of(model):
        variables = _keras_private.trained_variables(optimizer)
        trained.append([numbers[id(v)] for v in variables if id(v) in numbers])
    return trained


def model_variables(model) -> list:
    """List the weights and the states of the layers' seeds, which `save_weights` leaves out."""
    seeds = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    return [*model.weights, *seeds]


def all_variables(model) -> list:
    """List every variable the next epoch depends on."""
    state = [*model_variables(model), _keras_private.global_seed()]
    for optimizer in optimizers_of(model):
        if optimizer.built:
            state += optimizer.variables
    return state


def values_of(variables) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def assign(variables, values) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def describe_callback(callback):
    """Describe what of a callback may change the weights; nothing of one that only watches."""
    if isinstance(callback, (*STATEFUL, keras.callbacks.LearningRateScheduler)):
        described = [type(callback).__qualname__]
        for name in _keras_private.argument_names(callback):
            value = getattr(callback, name, None)
            if isinstance(value, int | float | str | FunctionType):
                described.append([name, fingerprint(value)])
        return described
    functions = [*vars(type(callback)).values(), *vars(callback).values()]
    codes = [each.__code__ for each in functions if isinstance(each, FunctionType)]
    if any(_code_names(code) & CHANGES_WEIGHTS for code in codes):
        return fingerprint(codes)
    return None


def _code_names(code) -> set:
    names = set(code.co_names)
    for constant in code.co_consts:
        if hasattr(constant, "co_names"):
            names |= _code_names(constant)
    return names


def counted(callback) -> tuple[dict, dict]:
    """Return the numbers that a callback has counted, and its lists of arrays."""
    numbers = {}
    lists = {}
    arguments = _keras_private.argument_names(callback)
    for key, value in vars(callback).items():
        if key.startswith("_") or key in arguments:
            continue
        if isinstance(value, bool | int | float | str | None | np.number):
            numbers[key] = value.item() if isinstance(value, np.number) else value
        elif isinstance(value, list) and all(isinstance(item, np.ndarray) for item in value):
            lists[key] = value
    return numbers, lists


def ask_direction(model, name, monitor, mode) -> bool:
    """Say whether a larger value of a metric is better, as Keras's own callback takes it."""
    # Which of two values does Keras's own callback take for the better one?
    stopping = keras.callbacks.EarlyStopping(monitor, mode=mode, patience=2)
    stopping.set_model(model)
    stopping.on_train_begin()
    try:
        for epoch, value in enumerate((0.0, 1.0)):
            stopping.on_epoch_end(epoch, {monitor: value})
    except ValueError:
        raise ValueError(
            f"{name}: Keras does not know whether a larger {monitor} is better. Pass "
            "mode='max' or mode='min' to resume_callbacks."
        ) from None
    return stopping.best == 1
