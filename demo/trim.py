"""Trims data sets to what the demo and the tests need.

    python3 trim.py demo  FOLDER            mnist.onnx, calibration.npz, digits.npz beside this file
    python3 trim.py tests FOLDER TARGET     one folder per model under TARGET

FOLDER holds one folder per model with model.onnx, further exports of the same network,
calibration.npz (x, y) and test.npz (x, y, out: what onnxruntime answers for model.onnx).
The same input gives the same bytes: archives carry no dates.
"""

import io
import pathlib
import shutil
import sys
import zipfile

import numpy as np

MODELS = """act_relu act_silu act_gelu act_tanh act_square mnist_mlp cryptonets lola_mnist lenet5
cnn_bn_silu ts_conv1d_italy tab_mlp_breast_cancer""".split()

# Variants of networks above this size stay out of the repository.
LARGEST_VARIANT = 350_000

# Calibration samples that a model keeps; fewer would miss the tails of the tabular data.
CALIBRATION = {"tab_mlp_breast_cancer": 256}


def save(path, **arrays):
    """Writes a compressed npz whose bytes depend on the arrays only."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.save(data, np.ascontiguousarray(array))
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data.getvalue(), compresslevel=9)


def first(folder, file, count, names):
    with np.load(folder / file) as data:
        return {name: data[name][:count] for name in names if name in data}


def demo(source):
    """The bundled digit recogniser: LoLa's network, 64 calibration digits, one digit per class."""
    here = pathlib.Path(__file__).parent
    model = source / "lola_mnist"
    shutil.copyfile(model / "model.onnx", here / "mnist.onnx")
    save(here / "calibration.npz", **first(model, "calibration.npz", 64, ["x"]))
    with np.load(model / "test.npz") as data:
        rows = [int(np.flatnonzero(data["y"] == digit)[0]) for digit in range(10)]
        save(here / "digits.npz", **{name: data[name][rows] for name in ["x", "y", "out"]})


def tests(source, target):
    """A calibration set of 128 samples, unless stated otherwise, and 50 test samples of each model."""
    for name in MODELS:
        to = target / name
        to.mkdir(parents=True, exist_ok=True)
        for model in sorted((source / name).glob("model*.onnx")):
            if model.name == "model.onnx" or model.stat().st_size < LARGEST_VARIANT:
                shutil.copyfile(model, to / model.name)
        save(to / "calibration.npz", **first(source / name, "calibration.npz", CALIBRATION.get(name, 128), ["x"]))
        save(to / "test.npz", **first(source / name, "test.npz", 50, ["x", "y", "out"]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["demo", source]:
            demo(pathlib.Path(source))
        case ["tests", source, target]:
            tests(pathlib.Path(source), pathlib.Path(target))
        case _:
            sys.exit(__doc__)
