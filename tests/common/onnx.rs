//! Writes small ONNX files byte by byte, so that tests can make what no exporter would.
//!
//! Field numbers are those of `onnx.proto`; nothing of the project's own reader is used.

/// One field of a protobuf message.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn int(field: u64, value: i64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value as u64, out);
}

fn bytes(field: u64, value: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub(crate) enum Attribute {
    /// A number.
    Float(f32),
    /// An integer.
    Int(i64),
    /// Several integers.
    Ints(Vec<i64>),
    /// Several numbers.
    Floats(Vec<f32>),
    /// A string.
    Text(&'static str),
    /// Several strings.
    Texts(Vec<&'static str>),
}

impl Attribute {
    fn encode(&self, name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        bytes(1, name.as_bytes(), &mut out);
        match self {
            Self::Float(x) => {
                varint(2 << 3 | 5, &mut out);
                out.extend_from_slice(&x.to_le_bytes());
                int(20, 1, &mut out);
            }
            Self::Int(x) => {
                int(3, *x, &mut out);
                int(20, 2, &mut out);
            }
            Self::Text(x) => {
                bytes(4, x.as_bytes(), &mut out);
                int(20, 3, &mut out);
            }
            Self::Floats(xs) => {
                let raw: Vec<u8> = xs.iter().flat_map(|x| x.to_le_bytes()).collect();
                bytes(7, &raw, &mut out);
                int(20, 6, &mut out);
            }
            Self::Texts(xs) => {
                xs.iter().for_each(|x| bytes(9, x.as_bytes(), &mut out));
                int(20, 8, &mut out);
            }
            Self::Ints(xs) => {
                xs.iter().for_each(|&x| int(8, x, &mut out));
                int(20, 7, &mut out);
            }
        }
        out
    }
}

/// The domain of classical models.
const CLASSICAL: &[u8] = b"ai.onnx.ml";

/// A graph under construction.
#[derive(Clone, Debug)]
pub(crate) struct Onnx {
    opset: i64,
    /// Whether a node is of `ai.onnx.ml`.
    classical: bool,
    nodes: Vec<Vec<u8>>,
    initialisers: Vec<Vec<u8>>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Default for Onnx {
    fn default() -> Self {
        let empty = Vec::new;
        Self {
            opset: 17,
            classical: false,
            nodes: empty(),
            initialisers: empty(),
            inputs: empty(),
            outputs: empty(),
        }
    }
}

impl Onnx {
    /// An empty graph of opset 17.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Another opset.
    pub(crate) fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// A float input.
    pub(crate) fn input(mut self, name: &str, shape: &[i64]) -> Self {
        self.inputs.push(value_info(name, shape));
        self
    }

    /// A float output.
    pub(crate) fn output(mut self, name: &str, shape: &[i64]) -> Self {
        self.outputs.push(value_info(name, shape));
        self
    }

    /// A float initialiser.
    pub(crate) fn weight(mut self, name: &str, shape: &[i64], data: &[f32]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut out = tensor_head(name, shape, 1);
        bytes(9, &raw, &mut out);
        self.initialisers.push(out);
        self
    }

    /// An initialiser of any element type, by its number in `onnx.proto`, from its bytes.
    pub(crate) fn typed(mut self, name: &str, shape: &[i64], data_type: i64, raw: &[u8]) -> Self {
        let mut out = tensor_head(name, shape, data_type);
        bytes(9, raw, &mut out);
        self.initialisers.push(out);
        self
    }

    /// An integer initialiser.
    pub(crate) fn integers(mut self, name: &str, data: &[i64]) -> Self {
        let raw: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut out = tensor_head(name, &[data.len() as i64], 7);
        bytes(9, &raw, &mut out);
        self.initialisers.push(out);
        self
    }

    /// A float initialiser whose data is said to lie in another file.
    pub(crate) fn external(mut self, name: &str, shape: &[i64], location: &str) -> Self {
        let mut out = tensor_head(name, shape, 1);
        let mut entry = Vec::new();
        bytes(1, b"location", &mut entry);
        bytes(2, location.as_bytes(), &mut entry);
        bytes(13, &entry, &mut out);
        int(14, 1, &mut out);
        self.initialisers.push(out);
        self
    }

    /// A node, named like its output with a slash in front.
    pub(crate) fn node(self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.node_with(op, inputs, output, &[])
    }

    /// A node of `ai.onnx.ml` with attributes and several results, named like the first.
    pub(crate) fn classical(
        self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> Self {
        let mut model = self.any_node(op, inputs, outputs, attributes);
        model.classical = true;
        bytes(7, CLASSICAL, model.nodes.last_mut().expect("the node"));
        model
    }

    /// A node with attributes.
    pub(crate) fn node_with(
        self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Attribute)],
    ) -> Self {
        self.any_node(op, inputs, &[output], attributes)
    }

    /// A node of several results, named like the first.
    pub(crate) fn nodes(self, op: &str, inputs: &[&str], outputs: &[&str]) -> Self {
        self.any_node(op, inputs, outputs, &[])
    }

    /// A node of several results with attributes, named like the first.
    pub(crate) fn any_node(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> Self {
        let mut out = Vec::new();
        inputs.iter().for_each(|i| bytes(1, i.as_bytes(), &mut out));
        outputs.iter().for_each(|o| bytes(2, o.as_bytes(), &mut out));
        bytes(3, format!("/{}", outputs[0]).as_bytes(), &mut out);
        bytes(4, op.as_bytes(), &mut out);
        attributes.iter().for_each(|(name, a)| bytes(5, &a.encode(name), &mut out));
        self.nodes.push(out);
        self
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut graph = Vec::new();
        self.nodes.iter().for_each(|n| bytes(1, n, &mut graph));
        bytes(2, b"graph", &mut graph);
        self.initialisers.iter().for_each(|t| bytes(5, t, &mut graph));
        self.inputs.iter().for_each(|v| bytes(11, v, &mut graph));
        self.outputs.iter().for_each(|v| bytes(12, v, &mut graph));
        let mut opset = Vec::new();
        int(2, self.opset, &mut opset);
        let mut out = Vec::new();
        int(1, 8, &mut out);
        bytes(8, &opset, &mut out);
        if self.classical {
            let mut opset = Vec::new();
            bytes(1, CLASSICAL, &mut opset);
            int(2, 3, &mut opset);
            bytes(8, &opset, &mut out);
        }
        bytes(7, &graph, &mut out);
        out
    }
}

fn tensor_head(name: &str, shape: &[i64], data_type: i64) -> Vec<u8> {
    let mut out = Vec::new();
    shape.iter().for_each(|&d| int(1, d, &mut out));
    int(2, data_type, &mut out);
    bytes(8, name.as_bytes(), &mut out);
    out
}

fn value_info(name: &str, shape: &[i64]) -> Vec<u8> {
    let mut dims = Vec::new();
    for &d in shape {
        let mut dim = Vec::new();
        if d < 0 {
            bytes(2, b"batch", &mut dim)
        } else {
            int(1, d, &mut dim)
        }
        bytes(1, &dim, &mut dims);
    }
    let mut tensor = Vec::new();
    int(1, 1, &mut tensor);
    bytes(2, &dims, &mut tensor);
    let mut ty = Vec::new();
    bytes(1, &tensor, &mut ty);
    let mut out = Vec::new();
    bytes(1, name.as_bytes(), &mut out);
    bytes(2, &ty, &mut out);
    out
}
