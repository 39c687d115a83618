"""Writes the models of this folder with the `onnx` package: one per thing that a reader can get wrong.

Run from any folder: python make.py
"""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))


def info(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def save(name, nodes, inputs, outputs, initialisers=(), opsets=(("", 17),), ir=8):
    graph = helper.make_graph(list(nodes), name, inputs, outputs, initializer=list(initialisers))
    opset_imports = [helper.make_opsetid(d, v) for d, v in opsets]
    model = helper.make_model(graph, opset_imports=opset_imports, producer_name="make.py")
    model.ir_version = ir
    onnx.save(model, os.path.join(HERE, name + ".onnx"))
    return model


def tensor(name, kind, dims, values):
    return helper.make_tensor(name, kind, dims, values)


def storage():
    """Every element type, in its typed field and, where there is one, as raw bytes."""
    floats = [0.0, -1.5, 0.25, 3.0, -0.125, 96.0]
    ints = [0, 1, 2, 3, 5, 7]
    signed = [0, -1, 2, -3, 5, -8]
    out = []
    for name, kind, values in [
        ("float", TensorProto.FLOAT, floats),
        ("double", TensorProto.DOUBLE, floats),
        ("float16", TensorProto.FLOAT16, floats),
        ("bfloat16", TensorProto.BFLOAT16, floats),
        ("f8e4m3fn", TensorProto.FLOAT8E4M3FN, floats),
        ("f8e5m2", TensorProto.FLOAT8E5M2, floats),
        ("uint8", TensorProto.UINT8, ints),
        ("int8", TensorProto.INT8, signed),
        ("uint16", TensorProto.UINT16, ints),
        ("int16", TensorProto.INT16, signed),
        ("int32", TensorProto.INT32, signed),
        ("int64", TensorProto.INT64, signed),
        ("uint32", TensorProto.UINT32, ints),
        ("uint64", TensorProto.UINT64, ints),
        ("bool", TensorProto.BOOL, [1, 0, 0, 1, 1, 0]),
        ("int4", TensorProto.INT4, signed),
        ("uint4", TensorProto.UINT4, ints),
    ]:
        out.append(tensor(name, kind, [2, 3], values))
    for name, array in [
        ("raw_float", np.array(floats, np.float32)),
        ("raw_double", np.array(floats, np.float64)),
        ("raw_float16", np.array(floats, np.float16)),
        ("raw_int8", np.array(signed, np.int8)),
        ("raw_uint16", np.array(ints, np.uint16)),
        ("raw_int32", np.array(signed, np.int32)),
        ("raw_int64", np.array(signed, np.int64)),
        ("raw_uint64", np.array(ints, np.uint64)),
        ("raw_bool", np.array([1, 0, 0, 1, 1, 0], bool)),
    ]:
        out.append(numpy_helper.from_array(array.reshape(2, 3), name))
    out.append(tensor("text", TensorProto.STRING, [2], ["zero", "one"]))
    out.append(tensor("scalar", TensorProto.FLOAT, [], [2.5]))
    out.append(tensor("empty", TensorProto.INT64, [0], []))
    node = helper.make_node("Identity", ["x"], ["y"], name="id")
    save("storage", [node], [info("x", [1])], [info("y", [1])], out)


def attributes():
    """Every attribute kind, symbolic and unset dimensions, an optional input left out."""
    constant = helper.make_tensor("value", TensorProto.FLOAT, [2], [1.0, 2.0])
    nodes = [
        helper.make_node("Constant", [], ["c"], name="const", value=constant),
        helper.make_node("Clip", ["x", "", "c"], ["y"], name="/a/Clip"),
        helper.make_node("Odd", ["y"], ["z", ""], domain="com.example", i=3, f=1.5, s="text",
                         ints=[1, -2], floats=[0.5, 2.0], strings=["a", "b"]),
    ]
    inputs = [info("x", ["batch", 3, None])]
    save("attributes", nodes, inputs, [info("z", None)], opsets=(("", 17), ("com.example", 1)))


def external():
    """Two initialisers in one file beside the model, the second without a length."""
    folder = os.path.join(HERE, "external")
    os.makedirs(folder, exist_ok=True)
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    b = np.array([7, 8], np.int64)
    with open(os.path.join(folder, "weights.bin"), "wb") as f:
        f.write(a.tobytes() + b.tobytes())

    def outside(name, kind, dims, **where):
        t = TensorProto(name=name, data_type=kind, dims=dims)
        t.data_location = TensorProto.EXTERNAL
        for key, value in where.items():
            t.external_data.add(key=key, value=str(value))
        return t

    node = helper.make_node("Identity", ["x"], ["y"])

    def one(name, *tensors):
        save(name, [node], [info("x", [1])], [info("y", [1])], tensors)

    one("external/good",
        outside("a", TensorProto.FLOAT, [2, 3], location="weights.bin", offset=0, length=24),
        outside("b", TensorProto.INT64, [2], location="weights.bin", offset=24))
    one("external/absolute", outside("a", TensorProto.FLOAT, [2], location="/etc/hostname", length=8))
    one("external/parent", outside("a", TensorProto.FLOAT, [2], location="../storage.onnx", length=8))
    one("external/past_end", outside("a", TensorProto.FLOAT, [2], location="weights.bin", offset=36, length=8))
    one("external/wrong_length", outside("a", TensorProto.FLOAT, [2], location="weights.bin", length=12))
    one("external/absent", outside("a", TensorProto.FLOAT, [2], location="nowhere.bin", length=8))
    one("external/not_a_number", outside("a", TensorProto.FLOAT, [2], location="weights.bin", length="many"))
    one("external/no_location", outside("a", TensorProto.FLOAT, [2], length=8))


def bad():
    """What must be refused."""
    node = helper.make_node("Identity", ["x"], ["y"], name="id")
    x, y = [info("x", [1])], [info("y", [1])]
    folder = os.path.join(HERE, "bad")
    os.makedirs(folder, exist_ok=True)
    save("bad/opset_5", [node], x, y, opsets=(("", 5),))
    save("bad/opset_99", [node], x, y, opsets=(("", 99),))
    save("bad/opset_conflict", [node], x, y, opsets=(("", 13), ("ai.onnx", 14)))
    save("bad/ir_99", [node], x, y, ir=99)

    def tensor_case(name, change, kind=TensorProto.FLOAT, dims=(2, 2), values=(1, 2, 3, 4)):
        t = helper.make_tensor("w", kind, dims, values)
        change(t)
        save("bad/" + name, [node], x, y, [t])

    tensor_case("negative_dim", lambda t: t.dims.__setitem__(0, -2))
    tensor_case("too_few", lambda t: t.dims.__setitem__(0, 3))
    tensor_case("overflow", lambda t: t.dims.extend([2**62, 2**62]))
    tensor_case("overflow_hidden", lambda t: t.dims.extend([2**62, 0]))
    tensor_case("two_fields", lambda t: t.int64_data.extend([1, 2, 3, 4]))
    tensor_case("wrong_field", lambda t: setattr(t, "data_type", TensorProto.INT64))
    tensor_case("int8_range", lambda t: t.int32_data.__setitem__(1, 300), kind=TensorProto.INT8)
    tensor_case("raw_length", lambda t: (t.ClearField("float_data"), setattr(t, "raw_data", b"12345")))
    node2 = helper.make_node("Flatten", ["x"], ["y"], name="twice", axis=1)
    node2.attribute.append(node2.attribute[0])
    save("bad/attribute_twice", [node2], x, y)
    model = onnx.load(os.path.join(HERE, "attributes.onnx"))
    model.ClearField("opset_import")
    onnx.save(model, os.path.join(folder, "no_opset.onnx"))
    model = onnx.load(os.path.join(HERE, "attributes.onnx"))
    model.ClearField("graph")
    onnx.save(model, os.path.join(folder, "no_graph.onnx"))


if __name__ == "__main__":
    storage()
    attributes()
    external()
    bad()
