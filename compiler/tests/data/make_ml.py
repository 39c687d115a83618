"""Writes the models of `import_ml/`: classical models of `ai.onnx.ml`, and what the ONNX runtime
computes for them. Labels in words stand in `expected.npz` as their places in the list of classes.

Needs the packages onnx, onnxruntime and numpy. Run from any folder: python make_ml.py
"""

import os
import shutil

import numpy as np
import onnxruntime
from onnx import helper, numpy_helper

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


def runtime(name, nodes, shapes, kinds, consts=None, words=NAMES, low=-1.0, high=1.0, opset=17, version=3, decimals=3):
    """A case whose truth is the runtime's; `kinds` are the types of its outputs: f, i or s."""
    from onnx import TensorProto
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
    feeds = {v: make.rng.uniform(low, high, s).round(decimals).astype(np.float32) for v, s in zip(names, shapes)}
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
    keys, values = [numpy_helper.from_array(np.array(v), k) for k, v in [("k", [3, 0, 1]), ("v", [50, -25, 7])]]
    other = numpy_helper.from_array(np.array([9]), "d")
    runtime("encoder_tensors", [scores, place, ml("LabelEncoder", "place", keys_tensor=keys, values_tensor=values, default_tensor=other)],
            (6, 5), "i", weights, version=4, opset=18)


MODES = ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"]


def grown(depth, features, modes):
    """A random tree as nested lists: [feature, mode, threshold, yes, no], or None for a leaf. Thresholds are tenths, as the data is."""
    if depth == 0 or make.rng.random() < 0.15:
        return None
    pick = lambda n: int(make.rng.integers(n))
    threshold = round(float(make.rng.uniform(-0.8, 0.8)), 1)
    return [pick(features), modes[pick(len(modes))], threshold, grown(depth - 1, features, modes), grown(depth - 1, features, modes)]


def numbered(trees, prefix, leaf):
    """Attributes of opsets 1 to 4; `leaf()` gives the targets and weights of a leaf."""
    a = {f"nodes_{k}": [] for k in ["treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids"]}
    b = {f"{prefix}_{k}": [] for k in ["treeids", "nodeids", "ids", "weights"]}

    def add(number, node):
        at = sum(1 for t in a["nodes_treeids"] if t == number)
        row = dict(treeids=number, nodeids=at, featureids=0, modes="LEAF", values=0.0, truenodeids=0, falsenodeids=0)
        if node:
            row |= dict(featureids=node[0], modes="BRANCH_" + node[1], values=node[2])
        for k, v in row.items():
            a["nodes_" + k].append(v)
        place = len(a["nodes_nodeids"]) - 1
        if node:
            a["nodes_truenodeids"][place] = add(number, node[3])
            a["nodes_falsenodeids"][place] = add(number, node[4])
        else:
            for target, w in leaf():
                for k, v in dict(treeids=number, nodeids=at, ids=target, weights=w).items():
                    b[f"{prefix}_{k}"].append(v)
        return at

    for number, tree in enumerate(trees):
        add(number, tree)
    return a | b | (dict(n_targets=1 + max(b["target_ids"])) if prefix == "target" else {})


def rooted(trees, targets, leaf, **more):
    """Attributes of opset 5, with a set of members for every test EQ; thresholds are whole."""
    a = {k: [] for k in ["featureids", "modes", "splits", "truenodeids", "trueleafs", "falsenodeids", "falseleafs"]}
    ids, weights, roots, members = [], [], [], []

    def add(node):
        if node is None:
            target, w = leaf()[0]
            ids.append(target)
            weights.append(w)
            return len(ids) - 1, 1
        feature, mode, split, yes, no = node
        place, split = len(a["modes"]), round(5 * split)
        if mode == "EQ":
            members.extend([abs(split) + 1, abs(split) + 3, 2, float("nan")])
        for k, v in dict(featureids=feature, modes=6 if mode == "EQ" else MODES.index(mode), splits=split, truenodeids=0, trueleafs=0, falsenodeids=0, falseleafs=0).items():
            a[k].append(v)
        for side, child in [("true", yes), ("false", no)]:
            a[side + "nodeids"][place], a[side + "leafs"][place] = add(child)
        return place, 0

    for tree in trees:
        roots.append(add(tree or [0, "LEQ", 0.0, None, None])[0])
    f = lambda v, name: numpy_helper.from_array(np.array(v, np.float32), name)
    out = {"nodes_" + k: v for k, v in a.items()}
    out |= dict(nodes_modes=numpy_helper.from_array(np.array(a["modes"], np.uint8), "m"), nodes_splits=f(a["splits"], "s"), leaf_targetids=ids, leaf_weights=f(weights, "w"),
                tree_roots=roots, n_targets=targets)
    return out | (dict(membership_values=f(members, "v")) if members else {}) | more


def trees():
    w = lambda low=-1.0: round(float(make.rng.uniform(low, 1.0)), 4)
    forest = lambda count, depth, modes=MODES: [grown(depth, 5, modes) for _ in range(count)]
    sizes = dict(decimals=1)
    for name, mode in [("leq", "LEQ"), ("lt", "LT"), ("gte", "GTE"), ("gt", "GT"), ("eq", "EQ"), ("neq", "NEQ")]:
        runtime("tree_" + name, ml("TreeEnsembleRegressor", "x", **numbered(forest(2, 4, [mode]), "target", lambda: [(0, w())])), (40, 5), "f", **sizes)
    runtime("trees_sum", ml("TreeEnsembleRegressor", "x", base_values=[0.5, 0.0, -1.0], **numbered(forest(4, 5), "target", lambda: [(2, w()), (0, w())])),
            (40, 5), "f", **sizes)
    runtime("trees_mean", ml("TreeEnsembleRegressor", "x", aggregate_function="AVERAGE", **numbered(forest(5, 3), "target", lambda: [(0, w())])), (40, 5), "f", **sizes)
    each = lambda: [(c, w()) for c in range(3)]
    for post in ["NONE", "SOFTMAX", "LOGISTIC"]:
        attributes = numbered(forest(3, 3), "class", each)
        runtime(f"forest_{post.lower()}", ml("TreeEnsembleClassifier", "x", "y,y1", classlabels_strings=NAMES[:3], base_values=[0.1, 0.2, -0.3], post_transform=post, **attributes),
                (40, 5), "sf", **sizes)
    runtime("forest_one_chance", ml("TreeEnsembleClassifier", "x", "y,y1", classlabels_int64s=[4, 9], base_values=[0.03], **numbered(forest(1, 4), "class", lambda: [(0, w(0.0))])),
            (40, 5), "if", **sizes)
    for post in ["NONE", "LOGISTIC"]:
        attributes = numbered(forest(3, 3), "class", lambda: [(0, w())])
        runtime(f"boosted_{post.lower()}", ml("TreeEnsembleClassifier", "x", "y,y1", classlabels_int64s=[4, 9], base_values=[-0.07], post_transform=post, **attributes),
                (40, 5), "if", **sizes)
    # Scores that something else reads stay encrypted.
    inside = ml("TreeEnsembleClassifier", "x", "y,s", classlabels_int64s=[4, 9, 2], **numbered(forest(2, 2), "class", each))
    runtime("forest_inside", [inside, n("Mul", "s,s", "y1")], (10, 5), "if", **sizes)
    for name, modes, more in [("sets", ["EQ", "LEQ"], {}), ("all", MODES, dict(aggregate_function=0)), ("plain", ["LEQ"], {})]:
        runtime("ensemble_" + name, ml("TreeEnsemble", "x", **rooted(forest(3, 4, modes), 2, lambda: [(int(make.rng.integers(2)), w())], **more)), (40, 5), "f",
                version=5, opset=21, low=-2.0, high=8.0, decimals=0)


def standings(classes):
    """What skl2onnx makes of the duels `s` of an SVC without probabilities."""
    pairs = [(i, j) for i in range(classes) for j in range(i + 1, classes)]
    nodes = [n("Cast", "s", "d", to=1), n("Less", "d,zero", "lost"), n("Neg", "d", "neg"), n("Cast", "lost", "lost_f", to=1)]
    sums, votes = [[] for _ in range(classes)], [[] for _ in range(classes)]
    for p, (i, j) in enumerate(pairs):
        nodes += [ml("ArrayFeatureExtractor", f"neg,at_{p}", f"c_{p}"), n("Neg", f"c_{p}", f"cn_{p}"),
                  ml("ArrayFeatureExtractor", f"lost_f,at_{p}", f"v_{p}"), n("Neg", f"v_{p}", f"vn_{p}"), n("Add", f"vn_{p},one", f"w_{p}")]
        sums[i].append(f"cn_{p}")
        sums[j].append(f"c_{p}")
        votes[i].append(f"w_{p}")
        votes[j].append(f"v_{p}")
    for c in range(classes):
        nodes += [n("Sum", ",".join(sums[c]), f"sum_{c}"), n("Sum", ",".join(votes[c]), f"vote_{c}")]
    together = lambda what: ",".join(f"{what}_{c}" for c in range(classes))
    nodes += [n("Concat", together("sum"), "sums", axis=1), n("Concat", together("vote"), "votes", axis=1), n("Abs", "sums", "size"),
              n("Add", "size,one", "size1"), n("Mul", "size1,three", "size3"), n("Div", "sums,size3", "shares"), n("Add", "votes,shares", "scores"),
              n("Identity", "scores", "y1")]
    consts = dict(zero=np.array([0.0]), one=np.array([1.0]), three=np.array([3.0])) | {f"at_{p}": i64(p) for p in range(len(pairs))}
    return nodes, consts


def renamed(nodes):
    for node in nodes:
        node.name = f"the_{node.output[0]}"
    return nodes


def pipelines():
    for classes, members in [(3, [2, 3, 2]), (4, [2, 1, 3, 2])]:
        nodes, consts = standings(classes)
        kernel = machine(classes, members, 5, *KERNELS[2], list(range(classes)))
        runtime(f"svm_one_vs_rest_{classes}", renamed([ml("SVMClassifier", "x", "y,s", **kernel)] + nodes), (6, 5), "if", consts)
    # The mean of the probabilities of two classifiers, as of bagged ones.
    def classifier(outputs):
        flat = lambda *shape: [float(v) for v in weight(*shape).ravel()]
        return ml("LinearClassifier", "x", outputs, coefficients=flat(3, 4), intercepts=flat(3), classlabels_ints=[0, 1, 2], post_transform="SOFTMAX")
    nodes = [classifier("l,a"), classifier("m,b"), n("Add", "a,b", "s"), n("Mul", "s,half", "y1"), n("ArgMax", "y1", "y", axis=1, keepdims=0)]
    runtime("classifiers_bagged", renamed(nodes), (6, 4), "if", dict(half=np.array([0.5])))


if __name__ == "__main__":
    shutil.rmtree(make.HERE, ignore_errors=True)
    os.makedirs(make.HERE)
    for group in (machines, linear, features, labels, trees, pipelines):
        group()
    np.savez_compressed(os.path.join(make.HERE, "expected.npz"), **make.expected)
