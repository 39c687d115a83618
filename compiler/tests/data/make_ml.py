"""Writes the models of `import_ml/`: classical models of `ai.onnx.ml`, and what the ONNX runtime
computes for them. Labels in words stand in `expected.npz` as their places in the list of classes.

Needs the packages onnx, onnxruntime and numpy. Run from any folder: python make_ml.py
"""

import os
import shutil

import numpy as np
import onnxruntime
from onnx import helper

import make
from make import case, i64, weight

make.HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "import_ml")
make.rng = np.random.default_rng(29)
make.expected = {}

NAMES = ["ash", "beech", "cedar", "Düne"]


def ml(op, inputs, outputs="y", **attributes):
    return helper.make_node(op, inputs.split(","), outputs.split(","), name=f"the_{op}", domain="ai.onnx.ml", **attributes)


def n(op, inputs, outputs="y", **attributes):
    return make.n(op, inputs, outputs, **attributes)


def runtime(name, nodes, shapes, kinds, consts=None, words=NAMES, low=-1.0, high=1.0, opset=17, version=3):
    """A case whose truth is the runtime's; `kinds` are the types of its outputs: f, i or s."""
    from onnx import TensorProto, numpy_helper
    nodes = nodes if isinstance(nodes, list) else [nodes]
    shapes = shapes if isinstance(shapes, list) else [shapes]
    types = dict(f=TensorProto.FLOAT, i=TensorProto.INT64, s=TensorProto.STRING)
    names = ["x" if i == 0 else f"x{i}" for i in range(len(shapes))]
    inputs = [helper.make_tensor_value_info(v, TensorProto.FLOAT, s) for v, s in zip(names, shapes)]
    outs = [helper.make_tensor_value_info("y" if i == 0 else f"y{i}", types[k], None) for i, k in enumerate(kinds)]
    initialisers = []
    for key, value in (consts or {}).items():
        value = np.asarray(value)
        if value.dtype.kind == "U":
            initialisers.append(helper.make_tensor(key, TensorProto.STRING, value.shape, [v.encode() for v in value.ravel()]))
        else:
            initialisers.append(numpy_helper.from_array(value.astype(np.float32) if value.dtype == np.float64 else value, key))
    graph = helper.make_graph(nodes, name, inputs, outs, initializer=initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", version)])
    model.ir_version = 8
    path = os.path.join(make.HERE, name + ".onnx")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())
    feeds = {v: make.rng.uniform(low, high, s).round(3).astype(np.float32) for v, s in zip(names, shapes)}
    results = onnxruntime.InferenceSession(path).run(None, feeds)
    for v in names:
        make.expected[f"{name}.{'x0' if v == 'x' else v}"] = feeds[v].astype(np.float64)
    for i, y in enumerate(results):
        y = np.asarray(y)
        if y.dtype.kind in "OUS":
            y = np.array([words.index(w) for w in y.ravel()]).reshape(y.shape)
        assert np.all(np.isfinite(y)), name
        make.expected[f"{name}.y{i}"] = y.astype(np.float64)


def machine(classes, members, features, kernel, parameters, labels, probabilities=False, **more):
    """The attributes of an SVMClassifier with random support vectors."""
    count, pairs = sum(members), classes * (classes - 1) // 2
    flat = lambda *shape, **span: [float(v) for v in weight(*shape, **span).ravel()]
    attributes = dict(kernel_type=kernel, kernel_params=parameters, vectors_per_class=members, support_vectors=flat(count, features),
                      coefficients=flat(classes - 1, count, low=-2, high=2), rho=flat(pairs, low=-0.3, high=0.3), **more)
    if probabilities:
        attributes |= dict(prob_a=flat(pairs, low=-3, high=-1), prob_b=flat(pairs, low=-0.2, high=0.2))
    key = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_ints"
    return attributes | {key: labels}


KERNELS = [("LINEAR", [0.0, 0.0, 0.0]), ("POLY", [0.7, 0.4, 3.0]), ("RBF", [0.5, 0.0, 0.0]), ("SIGMOID", [0.4, -0.1, 0.0])]


def machines():
    for kernel, parameters in KERNELS:
        name = kernel.lower()
        for classes, members in [(2, [3, 4]), (3, [2, 3, 2]), (4, [2, 1, 3, 2])]:
            for chances in [False, True]:
                labels = NAMES[:classes] if chances else [10 * c + 3 for c in range(classes)]
                attributes = machine(classes, members, 5, kernel, parameters, labels, chances)
                kinds = "sf" if chances else "if"
                runtime(f"svm_{name}_{classes}{'_chances' if chances else ''}", ml("SVMClassifier", "x", "y,y1", **attributes), (6, 5), kinds)
        vectors = [float(v) for v in weight(7, 5).ravel()]
        regressor = dict(kernel_type=kernel, kernel_params=parameters, n_supports=7, support_vectors=vectors,
                         coefficients=[float(v) for v in weight(7)], rho=[0.25])
        runtime(f"svr_{name}", ml("SVMRegressor", "x", **regressor), (4, 5), "f")
        runtime(f"one_class_{name}", ml("SVMRegressor", "x", **regressor, one_class=1), (6, 5), "f")
    runtime("svr_of_features", ml("SVMRegressor", "x", kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0], n_supports=0, coefficients=[0.5, -1.0, 2.0], rho=[0.5]), (4, 3), "f")
    runtime("svm_logistic", ml("SVMClassifier", "x", "y,y1", **machine(2, [3, 4], 5, *KERNELS[1], [7, 8], post_transform="LOGISTIC")), (6, 5), "if")
    # Scores that something else reads stay encrypted.
    scored = ml("SVMClassifier", "x", "y,s", **machine(2, [3, 4], 5, *KERNELS[1], NAMES[:2]))
    runtime("svm_scaled", [ml("Scaler", "x", "a", offset=[0.5], scale=[2.0]), scored, n("Mul", "s,c", "y1")], (6, 5), "sf", dict(c=np.array(0.5)))
    named = scored.__class__()
    named.CopyFrom(scored)
    named.input[0] = "x"
    runtime("svm_cast", [named, n("Identity", "s", "y1")], (6, 5), "sf")


def linear():
    rows = [float(v) for v in weight(3, 4).ravel()]
    for post in ["NONE", "LOGISTIC", "SOFTMAX"]:
        runtime(f"classifier_{post.lower()}", ml("LinearClassifier", "x", "y,y1", coefficients=rows, intercepts=[0.1, -0.2, 0.3], classlabels_strings=NAMES[:3],
                post_transform=post, multi_class=0), (5, 4), "sf")
    runtime("scaler_one", ml("Scaler", "x", offset=[0.25], scale=[3.0]), (2, 3), "f")
    # The runtime's MAX is that of numbers, ours that of magnitudes.
    for norm in ["L1", "L2"]:
        nodes = [n("MatMul", "x,w", "scores"), ml("Normalizer", "scores", norm=norm)]
        runtime("normalizer_" + norm.lower(), nodes, (4, 3), "f", dict(w=weight(3, 4)))
        nodes = [ml("Normalizer", "x", "rows", norm=norm), n("MatMul", "rows,w")]
        runtime(f"normalizer_{norm.lower()}_inside", nodes, (4, 3), "f", dict(w=weight(3, 4)))


def features():
    nan = float("nan")
    runtime("imputer", ml("Imputer", "x", imputed_value_floats=[1.0, 2.0, 3.0], replaced_value_float=nan), (2, 3), "f")
    runtime("imputer_one", ml("Imputer", "x", imputed_value_floats=[1.0], replaced_value_float=nan), (2, 3), "f")
    runtime("vectorizer", ml("FeatureVectorizer", "x,x1,x2", inputdimensions=[2, 3, 1]), [(2, 2), (2, 3), (2, 1)], "f")
    runtime("extractor", ml("ArrayFeatureExtractor", "x,i"), (2, 5), "f", dict(i=i64(4, 0, 0, 2)))
    runtime("extractor_one_row", ml("ArrayFeatureExtractor", "x,i"), (5,), "f", dict(i=i64(3, 1)))
    runtime("extractor_3d", ml("ArrayFeatureExtractor", "x,i"), (2, 3, 4), "f", dict(i=i64(3).reshape(1, 1)))


def labels():
    scores = n("MatMul", "x,w", "scores")
    weights = dict(w=weight(5, 4))
    place = n("ArgMax", "scores", "place", axis=1, keepdims=0)
    runtime("binarizer", [scores, ml("Binarizer", "scores", threshold=0.3)], (6, 5), "f", weights)
    runtime("label_numbers", [scores, place, ml("ArrayFeatureExtractor", "c,place", "a"), n("Reshape", "a,s")], (6, 5), "i",
            weights | dict(c=i64(5, -1, 7, 9), s=i64(-1)))
    runtime("label_words", [scores, place, ml("ArrayFeatureExtractor", "c,place", "a"), n("Reshape", "a,s")], (6, 5), "s",
            weights | dict(c=np.array(NAMES), s=i64(-1)))
    runtime("encoder_words", [scores, place, ml("LabelEncoder", "place", keys_int64s=[0, 1, 2], values_strings=NAMES[1:], default_string="ash")], (6, 5), "s",
            weights)
    runtime("encoder_floats", [scores, place, ml("LabelEncoder", "place", keys_int64s=[3, 1], values_floats=[0.5, -2.5], default_float=9.0)], (6, 5), "f", weights)
    chain = [scores, place, ml("ArrayFeatureExtractor", "c,place", "a"), ml("LabelEncoder", "a", keys_strings=NAMES[:3], values_int64s=[7, 8, 9])]
    runtime("encoder_of_words", chain, (6, 5), "i", weights | dict(c=np.array(NAMES)))
    zipped = ml("LinearClassifier", "x", "y,y1", coefficients=[float(v) for v in weight(2, 4).ravel()], intercepts=[0.1, -0.2], classlabels_ints=[4, 2], multi_class=1,
                post_transform="SOFTMAX")
    runtime("classifier_softmax_two", zipped, (5, 4), "if")


if __name__ == "__main__":
    shutil.rmtree(make.HERE, ignore_errors=True)
    os.makedirs(make.HERE)
    for group in (machines, linear, features, labels):
        group()
    np.savez_compressed(os.path.join(make.HERE, "expected.npz"), **make.expected)
