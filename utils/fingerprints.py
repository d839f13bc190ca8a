"""Fingerprints of what a result depends on: data by content, functions by code, models by weights.

A result that was saved is loaded again only if its fingerprint is the same: what is left out here
would be loaded although it has changed. What a fingerprint is for belongs to who asks for it.
"""

import dis
import functools
import hashlib
import itertools
import json
import sys
import types
import warnings
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath

import numpy as np

PLAIN = (type(None), bool, int, float, str)
# What Python itself writes into the namespace of a class.
CLASS_NOISE = {
    "__abstractmethods__",
    "__annotations__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__qualname__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}


def fingerprint(content) -> str:
    """Return 16 digits of a sha256 that two contents share only if a result may be the same.

    - Nested lists, dicts, namespaces, dataclasses, arrays, tensors and scalars count by type, shape
      and value; a tuple as a list, a dataclass as a dict, and a scalar of NumPy as one of Python.
    - A function of the notebook or of this project counts by its code, its defaults, and the
      variables and functions of the notebook that it uses; comments, names of local variables and
      the place in the file do not matter. One of a library counts by its name.
    - A Keras model or layer counts by its configuration, weights and vocabulary, and by the code of
      its class; names that Keras numbers do not matter.
    - A `tf.data.Dataset` and a `PyDataset` are read once, and count by their rows in any order. In
      the code of a function they count by their shapes and types alone.

    Args:
        content: one value; a list for several.

    Raises:
        TypeError: it holds something whose content is unknown, such as a generator.
        ValueError: it holds a `tf.data.Dataset` that never ends.
    """
    # JSON marks where a value ends: [1, 23] is not [12, 3].
    text = json.dumps(_Description().of(content))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Description:
    """Describes values by what JSON knows."""

    def __init__(self):
        self._open = {}  # depth of what is being described, by address: a function may use itself
        self._digests = {}  # of functions, classes and layers, by address
        self._kept = []  # so that no address is used twice
        self._inside_code = 0

    def of(self, value):
        """Describe one value."""
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, np.generic):
            return value.item() if isinstance(value.item(), PLAIN) else repr(value.item())
        if isinstance(value, complex | bytes | PurePath | slice | range | types.EllipsisType):
            return {type(value).__name__: str(value)}
        if id(value) in self._digests:
            return self._digests[id(value)]
        if id(value) in self._open:
            return {"again": self._open[id(value)]}
        self._open[id(value)] = len(self._open)
        described = self._of_object(value)
        del self._open[id(value)]
        if isinstance(value, type | types.FunctionType) or hasattr(value, "weights"):
            described = hashlib.sha256(json.dumps(described).encode()).hexdigest()
            self._digests[id(value)] = described
            self._kept.append(value)
        return described

    def _of_object(self, value):
        if isinstance(value, np.ndarray):
            return self._of_array(value)
        if isinstance(value, Mapping):
            return {str(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        if isinstance(value, set | frozenset):
            return {"set": sorted(json.dumps(self.of(item)) for item in value)}
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if isinstance(value, type):
            return self._of_class(value)
        if isinstance(getattr(value, "fingerprint", None), str):
            return {"fingerprint": value.fingerprint}
        if is_dataclass(value):
            return {field.name: self.of(getattr(value, field.name)) for field in fields(value)}
        if isinstance(value, types.SimpleNamespace):
            return self.of(vars(value))
        if isinstance(value, functools.partial):
            return {"partial": [self.of(value.func), self.of(value.args), self.of(value.keywords)]}
        if isinstance(value, types.MethodType):
            return {"method": [self.of(value.__func__), self.of(value.__self__)]}
        if isinstance(value, staticmethod | classmethod):
            return self.of(value.__func__)
        if isinstance(value, property):
            return self.of([value.fget, value.fset])
        if hasattr(value, "python_function"):  # a `tf.function`
            return self.of(value.python_function)
        if isinstance(value, types.FunctionType):
            return self._of_function(value)
        if isinstance(value, types.CodeType):
            return self._of_code(value)
        if isinstance(value, np.random.Generator):
            return {"generator": self.of(value.bit_generator.state)}
        described = self._of_keras(value)
        if described is not None:
            return described
        if _is_ours(type(value).__module__):
            return {"instance": [self.of(type(value)), self._of_attributes(vars(value))]}
        if callable(value) and hasattr(value, "__qualname__"):
            return {"library": f"{value.__module__}.{value.__qualname__}"}
        if self._inside_code:
            return {"instance": f"{type(value).__module__}.{type(value).__qualname__}"}
        raise TypeError(
            f"{type(value).__name__} cannot be compared: use numbers, strings, arrays, lists, "
            "dicts, functions, data sets or models."
        )

    def _of_array(self, array):
        if array.dtype.hasobject:  # its bytes would be addresses
            return {"objects": self.of(array.tolist()), "shape": list(array.shape)}
        digest = hashlib.sha256(np.ascontiguousarray(array)).hexdigest()
        return {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": digest}

    def _of_attributes(self, attributes):
        return [[name, self.of(value)] for name, value in sorted(attributes.items())]

    # Code

    def _of_class(self, cls):
        name = f"{cls.__module__}.{cls.__qualname__}"
        if not _is_ours(cls.__module__):
            return {"library": name}
        own = {key: value for key, value in vars(cls).items() if key not in CLASS_NOISE}
        self._inside_code += 1
        described = {
            "class": [self.of(base) for base in cls.__bases__],
            "has": self._of_attributes(own),
        }
        self._inside_code -= 1
        return described

    def _of_function(self, function):
        if not _is_ours(function.__module__):
            return {"library": f"{function.__module__}.{function.__qualname__}"}
        self._inside_code += 1
        described = {
            "function": self._of_code(function.__code__),
            "defaults": self.of([function.__defaults__, function.__kwdefaults__]),
            "closure": [self._of_cell(cell) for cell in function.__closure__ or ()],
        }
        # What the project's own functions use in turn is the project's: it changes with a version.
        if not _is_project(function.__module__):
            described["uses"] = self._of_globals(function.__code__, function.__globals__)
        self._inside_code -= 1
        return described

    def _of_cell(self, cell):
        try:
            return self.of(cell.cell_contents)
        except ValueError:  # not assigned yet
            return None

    def _of_code(self, code):
        constants = [self.of(constant) for constant in code.co_consts]
        instructions = code.co_code + code.co_exceptiontable
        return [hashlib.sha256(instructions).hexdigest(), list(code.co_names), constants]

    def _of_globals(self, code, namespace):
        """Describe the global variables that a function uses; of a namespace only what it uses."""
        used = []
        instructions = [*dis.get_instructions(code), None]
        for instruction, following in itertools.pairwise(instructions):
            if instruction.opname not in ("LOAD_GLOBAL", "LOAD_NAME"):
                continue
            name = instruction.argval
            if name not in namespace:
                continue  # a builtin, or not defined yet
            value = namespace[name]
            attribute = None
            if following is not None and following.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attribute = following.argval
            if isinstance(value, types.SimpleNamespace) and hasattr(value, str(attribute)):
                value = getattr(value, attribute)
            elif isinstance(value, types.ModuleType) and _is_ours(value.__name__):
                value = getattr(value, str(attribute), None)
            used.append([name, self.of(value)])
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                used += self._of_globals(constant, namespace)
        return used

    # Keras and TensorFlow

    def _of_keras(self, value):
        keras = sys.modules.get("keras")
        if keras is None:
            return None
        if isinstance(value, keras.layers.Layer):
            return self._of_layer(value)
        if isinstance(value, keras.random.SeedGenerator):
            return {"seed": self.of(keras.ops.convert_to_numpy(value.state.value))}
        if isinstance(value, keras.utils.PyDataset):
            return self._of_batches(value, (value[number] for number in range(len(value))))
        if hasattr(value, "get_config"):  # an optimizer, a loss, a metric, an initializer
            described = [type(value).__name__, plain_config(value.get_config)]
            described += [self.of(type(value)), self._of_own_functions(value)]
            # Keras leaves these out of the configuration of a loss, such as Huber's `delta`.
            return [*described, self.of(getattr(value, "_fn_kwargs", None))]
        if hasattr(value, "flat_values") and hasattr(value, "row_splits"):  # a ragged tensor
            return {"ragged": [self.of(value.flat_values), self.of(value.row_splits)]}
        if hasattr(value, "element_spec") and hasattr(value, "cardinality"):  # a tf.data.Dataset
            return self._of_dataset(value)
        if hasattr(value, "numpy") and hasattr(value, "dtype"):  # a tensor or a variable
            try:
                return {"tensor": self.of(np.asarray(value.numpy()))}
            except NotImplementedError:  # symbolic: of a graph
                return {"tensor": [str(value.shape), str(value.dtype)]}
        return None

    def _of_layer(self, layer):
        from utils import _keras_private

        parts = []
        for part in _keras_private.all_layers(layer):
            words = part.get_vocabulary() if hasattr(part, "get_vocabulary") else None
            parts.append(
                [
                    self.of(type(part)),
                    plain_config(part.get_config),
                    self._of_own_functions(part),
                    self._of_own_settings(part),
                    self.of(words),
                ]
            )
        weights = [self.of(np.asarray(weight.numpy())) for weight in layer.weights]
        return {"layers": parts, "weights": weights}

    def _of_own_functions(self, value):
        """Describe functions of the notebook that a part of Keras holds, such as a lambda."""
        own = {}
        for name, item in vars(value).items():
            if isinstance(item, types.FunctionType) and _is_ours(item.__module__):
                own[name] = item
        return self._of_attributes(own)

    def _of_own_settings(self, layer):
        """Describe numbers, strings and arrays that a class of the notebook has given its layer."""
        if not _is_ours(type(layer).__module__):
            return []
        own = {}
        for name, item in vars(layer).items():
            is_setting = isinstance(item, (*PLAIN, np.ndarray, np.generic))
            if isinstance(item, list | tuple):
                is_setting = all(isinstance(part, (*PLAIN, np.generic)) for part in item)
            if is_setting and not name.startswith("_") and name not in _keras_attributes():
                own[name] = item
        return self._of_attributes(own)

    def _of_dataset(self, dataset):
        if self._inside_code:
            return {"dataset": str(dataset.element_spec)}
        if int(dataset.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
            raise ValueError("the tf.data.Dataset never ends: leave out repeat().")
        return self._of_batches(dataset, iter(dataset))

    def _of_batches(self, data, batches):
        """Read all batches once; their rows count in any order, which a shuffle may change."""
        if self._inside_code:
            return {"dataset": type(data).__name__}
        total = 0
        sizes = {}
        for batch in batches:
            structure, arrays = _flat_arrays(batch)
            size = min((len(array) for array in arrays if array.ndim), default=0)
            kind = json.dumps([structure, size, [array.dtype.str for array in arrays]])
            sizes[kind] = sizes.get(kind, 0) + 1
            for row in range(size):
                digest = hashlib.sha256()
                for array in arrays:
                    item = np.asarray(array[row] if array.ndim else array)
                    is_text = item.dtype.hasobject
                    content = repr(item.tolist()).encode() if is_text else item.tobytes()
                    digest.update(repr(item.shape).encode() + content)
                total += int.from_bytes(digest.digest(), "big")
        return {"rows": f"{total % 2**256:064x}", "batches": sorted(sizes.items())}


def plain_config(get_config):
    """Return a configuration of Keras in plain values, without the names that Keras numbers.

    Args:
        get_config: returns the configuration. Where it cannot, as in a class of a notebook that
            cannot be saved, the result is None.
    """
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
                return "lambda"  # its code, described elsewhere, holds the address of the cell
            items = value.items()
            return {str(k): numbered(v) if k == "name" else plain(v) for k, v in items}
        if isinstance(value, list | tuple):
            if is_connection(value):
                return [numbered(value[0]), *value[1:]]
            return [plain(item) for item in value]
        return value if isinstance(value, PLAIN) else type(value).__name__

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lambdas, which nobody loads from these
        try:
            return plain(get_config())
        except (NotImplementedError, TypeError, ValueError):
            return None


def _is_project(module: str | None) -> bool:
    return (module or "").split(".")[0] == "utils"


def _is_ours(module: str | None) -> bool:
    """Say whether a module is the notebook, this project or the reader's own, not a library."""
    root = (module or "").split(".")[0]
    if root in ("__main__", "utils"):
        return True
    if root in sys.stdlib_module_names or root in sys.builtin_module_names:
        return False
    path = getattr(sys.modules.get(root), "__file__", None)
    return path is not None and not {"site-packages", "dist-packages"} & set(PurePath(path).parts)


@functools.cache
def _keras_attributes() -> frozenset:
    """Return the names that Keras itself gives the attributes of a compiled model."""
    import keras

    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(loss="mse")
    return frozenset([*vars(model), "history"])


def _flat_arrays(batch) -> tuple[str, list[np.ndarray]]:
    """Return the structure of a batch, and its arrays."""
    if isinstance(batch, list | tuple):
        parts = [_flat_arrays(part) for part in batch]
    elif isinstance(batch, Mapping):
        parts = [_flat_arrays(batch[key]) for key in sorted(batch)]
    elif hasattr(batch, "flat_values") and hasattr(batch, "to_list"):  # a ragged tensor
        rows = np.empty(len(batch.to_list()), dtype=object)
        rows[:] = batch.to_list()
        return "*", [rows]
    else:
        return "*", [np.asarray(batch.numpy() if hasattr(batch, "numpy") else batch)]
    structure = ",".join(structure for structure, _ in parts)
    return f"({structure})", [array for _, arrays in parts for array in arrays]
