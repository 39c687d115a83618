//! The table of operators: what is imported, from which opset on, within which limits.
//!
//! The README's table is [`operator_table`]. A new operator is one function in the file of
//! its theme and one line here.

use std::sync::LazyLock;

use heplan_onnx::ML_DOMAIN;

use super::context::{Emitted, NodeCx};
use super::{
    activation, attention, choice, contrib, control, conv, einsum, elementwise, extremum, fold,
    loss, matmul, ml, norm, pad, places, pool, quantise, recurrent, reduce, resize, sample, select,
    shape, softmax, spectral, statistics, tail,
};

/// One operator that is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperatorInfo {
    /// Its domain; empty for the default one.
    pub domain: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The first opset of its domain that has it; earlier versions of ONNX than 7 are not read.
    pub min_opset: i64,
    /// The last opset of its domain in which it is read.
    pub max_opset: i64,
    /// What of it is accepted, in one line; empty where all of it is.
    pub limits: &'static str,
}

/// An operator and its importer.
pub(super) struct Entry {
    pub(super) info: OperatorInfo,
    pub(super) import: fn(&mut NodeCx<'_>) -> Emitted,
}

const fn op(
    name: &'static str,
    min_opset: i64,
    import: fn(&mut NodeCx<'_>) -> Emitted,
    limits: &'static str,
) -> Entry {
    Entry { info: OperatorInfo { domain: "", name, min_opset, max_opset: 28, limits }, import }
}

const fn ml(
    name: &'static str,
    import: fn(&mut NodeCx<'_>) -> Emitted,
    limits: &'static str,
) -> Entry {
    let info = OperatorInfo { domain: ML_DOMAIN, name, min_opset: 1, max_opset: 5, limits };
    Entry { info, import }
}

/// The operators that ONNX Runtime's quantiser writes.
const fn contrib(name: &'static str, import: fn(&mut NodeCx<'_>) -> Emitted) -> Entry {
    let info = OperatorInfo {
        domain: "com.microsoft",
        name,
        min_opset: 1,
        max_opset: 1,
        limits: QUANTISED,
    };
    Entry { info, import }
}

const AT_THE_END: &str = "at the end of a graph, by the client";

const CONSTANTS_OR_END: &str = "constants; encrypted data at the end of a graph, by the client";
const COMPARED: &str =
    "constants, the condition of a Where, and at the end of a graph, by the client";

const SVM_LABEL: &str =
    "label, scores and probabilities at the end of a graph; elsewhere the scores";

const QUANTISED: &str =
    "constant scales; computed before rounding, rounded by the client at the end of a graph";
const SCATTERED: &str = "constant positions; reductions mul, max, min with constant updates";
const RECURRENT: &str = "constant weights and lengths; unrolled, as long as a ring is deep enough";

/// Sorted by domain and name.
pub(super) const TABLE: &[Entry] = &[
    op("Abs", 6, activation::unary, ""),
    op("Acos", 7, activation::unary, "data within [-1, 1]"),
    op("Acosh", 9, activation::unary, "data of at least 1"),
    op("Add", 6, elementwise::add, ""),
    op("AffineGrid", 20, spectral::affine_grid, "constant size"),
    op("And", 6, fold::logic, "constants only"),
    op("ArgMax", 1, tail::only_at_the_end, AT_THE_END),
    op("ArgMin", 1, tail::only_at_the_end, AT_THE_END),
    op("Asin", 7, activation::unary, "data within [-1, 1]"),
    op("Asinh", 9, activation::unary, ""),
    op("Atan", 7, activation::unary, ""),
    op("Atanh", 9, activation::unary, "data within (-1, 1)"),
    op("Attention", 23, attention::attention, "constant masks"),
    op("AveragePool", 1, pool::average_pool, ""),
    op("BatchNormalization", 1, norm::batch_normalization, "inference, constant statistics"),
    op("Cast", 1, fold::cast, "encrypted data between float types"),
    op("CastLike", 15, fold::cast, "encrypted data between float types"),
    op("Ceil", 6, fold::rounding, CONSTANTS_OR_END),
    op("Celu", 12, activation::unary, ""),
    op("CenterCropPad", 18, places::center_crop_pad, "constant shape"),
    op("Clip", 6, activation::clip, "constant bounds"),
    op("Col2Im", 18, places::columns_to_image, "constant shapes"),
    op("Compress", 9, places::compress, "constant condition"),
    op("Concat", 4, select::concat, ""),
    op("Constant", 1, fold::constant, "numbers, dense"),
    op("ConstantOfShape", 9, fold::constant_of_shape, "constants only"),
    op("Conv", 1, conv::conv, "constant weights"),
    op("ConvInteger", 10, quantise::convolution_of_integers, "constant weights"),
    op("ConvTranspose", 1, conv::conv_transpose, "constant weights"),
    op("Cos", 7, activation::unary, ""),
    op("Cosh", 9, activation::unary, ""),
    op("CumProd", 26, places::cumulative_product, "constant axis"),
    op("CumSum", 11, places::cumulative_sum, "constant axis"),
    op("DFT", 17, spectral::fourier, "constant length and axis"),
    op("DepthToSpace", 1, select::depth_to_space, ""),
    op("DequantizeLinear", 10, quantise::dequantize_linear, QUANTISED),
    op("Div", 6, elementwise::div, "an encrypted divisor must keep one sign"),
    op("Dropout", 1, shape::dropout, "inference, or a ratio of 0; the mask is left out"),
    op(
        "DynamicQuantizeLinear",
        11,
        control::only_by_the_driver,
        "where its results only dequantise again",
    ),
    op("Einsum", 12, einsum::einsum, ""),
    op("Elu", 6, activation::unary, ""),
    op("Equal", 6, fold::equal, "constants only"),
    op("Erf", 9, activation::unary, ""),
    op("Exp", 6, activation::unary, ""),
    op("Expand", 8, select::expand, "constant shape"),
    op("Flatten", 1, shape::flatten, ""),
    op("Floor", 6, fold::rounding, CONSTANTS_OR_END),
    op("GRU", 1, recurrent::gru, RECURRENT),
    op("Gather", 1, select::gather, "constant positions"),
    op("GatherElements", 11, places::gather_elements, "constant positions"),
    op("GatherND", 11, places::gather_nd, "constant positions"),
    op("Gelu", 20, activation::unary, "both forms; older exports are recognised"),
    op("Gemm", 6, matmul::gemm, ""),
    op("GlobalAveragePool", 1, pool::global_average_pool, ""),
    op("GlobalLpPool", 2, statistics::lp_pool, "p up to 16"),
    op("GlobalMaxPool", 1, extremum::global_max_pool, ""),
    op("Greater", 6, choice::compare, COMPARED),
    op("GreaterOrEqual", 12, choice::compare, COMPARED),
    op("GridSample", 16, sample::grid_sample, "constant grid"),
    op("GroupNormalization", 18, statistics::group, ""),
    op("HardSigmoid", 6, activation::unary, ""),
    op("HardSwish", 14, activation::unary, "older exports are recognised"),
    op("Hardmax", 1, tail::only_at_the_end, AT_THE_END),
    op("Identity", 1, shape::identity, ""),
    op("If", 1, control::only_by_the_driver, "a condition that folds"),
    op("InstanceNormalization", 6, statistics::instance, ""),
    op("IsInf", 10, fold::is_no_number, "constants only"),
    op("IsNaN", 9, fold::is_no_number, "encrypted data has no such element"),
    op("LRN", 1, statistics::local_response, ""),
    op("LSTM", 1, recurrent::lstm, RECURRENT),
    op("LayerNormalization", 17, statistics::layer, ""),
    op("LeakyRelu", 6, activation::unary, ""),
    op("Less", 6, choice::compare, COMPARED),
    op("LessOrEqual", 12, choice::compare, COMPARED),
    op("Log", 6, activation::unary, "positive data"),
    op("LogSoftmax", 1, softmax::log, ""),
    op("Loop", 1, control::only_by_the_driver, "trip count and conditions that fold"),
    op("LpNormalization", 1, statistics::lp, ""),
    op("LpPool", 2, statistics::lp_pool, "p up to 16"),
    op("MatMul", 1, matmul::mat_mul, ""),
    op("MatMulInteger", 10, quantise::matrix_product_of_integers, ""),
    op("Max", 6, elementwise::max, ""),
    op("MaxPool", 1, extremum::max_pool, "the values; positions are left out"),
    op("Mean", 6, elementwise::mean_of_all, ""),
    op("MeanVarianceNormalization", 9, statistics::mean_variance, ""),
    op("Min", 6, elementwise::min, ""),
    op("Mish", 18, activation::unary, "older exports are recognised"),
    op("Mod", 10, fold::modulo, "constants only"),
    op("Mul", 6, elementwise::mul, ""),
    op("Neg", 6, elementwise::neg, ""),
    op("NegativeLogLikelihoodLoss", 12, loss::negative_log_likelihood, "constant labels"),
    op("Not", 1, fold::logic, "constants only"),
    op("OneHot", 9, tail::only_at_the_end, AT_THE_END),
    op("Or", 6, fold::logic, "constants only"),
    op("PRelu", 6, activation::p_relu, "constant slopes"),
    op("Pad", 2, pad::pad, "constant pads; modes constant, edge, reflect, wrap"),
    op("Pow", 6, elementwise::pow, "constant exponents, or a positive constant base"),
    op("QLinearConv", 10, quantise::convolution, QUANTISED),
    op("QLinearMatMul", 10, quantise::matrix_product, QUANTISED),
    op("QuantizeLinear", 10, quantise::quantize_linear, QUANTISED),
    op("RMSNormalization", 23, statistics::root_mean_square, ""),
    op("RNN", 1, recurrent::rnn, RECURRENT),
    op("Range", 11, fold::range, "constants only"),
    op("Reciprocal", 6, activation::unary, "data of one sign"),
    op("ReduceL1", 1, reduce::reduce, "constant axes"),
    op("ReduceL2", 1, reduce::reduce, "constant axes"),
    op("ReduceLogSum", 1, reduce::reduce, "constant axes, positive sums"),
    op("ReduceLogSumExp", 1, reduce::reduce, "constant axes"),
    op("ReduceMax", 1, reduce::reduce, "constant axes"),
    op("ReduceMean", 1, reduce::reduce, "constant axes"),
    op("ReduceMin", 1, reduce::reduce, "constant axes"),
    op("ReduceProd", 1, reduce::reduce, "constant axes"),
    op("ReduceSum", 1, reduce::reduce, "constant axes"),
    op("ReduceSumSquare", 1, reduce::reduce, "constant axes"),
    op("Relu", 6, activation::unary, ""),
    op("Reshape", 5, shape::reshape, "constant shape"),
    op("Resize", 10, resize::resize, "constant scales or sizes"),
    op("ReverseSequence", 10, places::reverse_sequence, "constant lengths"),
    op("RotaryEmbedding", 23, attention::rotary, "constant angles"),
    op("Round", 11, fold::rounding, CONSTANTS_OR_END),
    op("STFT", 17, spectral::short_time_fourier, "constant steps and window"),
    op("Scan", 9, control::only_by_the_driver, "unrolled"),
    op("Scatter", 9, places::scatter_elements, "constant positions"),
    op("ScatterElements", 11, places::scatter_elements, SCATTERED),
    op("ScatterND", 11, places::scatter_nd, SCATTERED),
    op("Selu", 6, activation::unary, ""),
    op("Shape", 1, fold::shape, ""),
    op("Shrink", 9, activation::unary, ""),
    op("Sigmoid", 6, activation::unary, ""),
    op("Sign", 9, activation::unary, ""),
    op("Sin", 7, activation::unary, ""),
    op("Sinh", 9, activation::unary, ""),
    op("Size", 1, fold::size, ""),
    op("Slice", 1, select::slice, "constant positions"),
    op("Softmax", 1, softmax::softmax, ""),
    op("SoftmaxCrossEntropyLoss", 12, loss::softmax_cross_entropy, "constant labels"),
    op("Softplus", 1, activation::unary, "guarded exports are recognised"),
    op("Softsign", 1, activation::unary, ""),
    op("SpaceToDepth", 1, select::space_to_depth, ""),
    op("Split", 2, select::split, "constant lengths"),
    op("Sqrt", 6, activation::unary, "data above zero"),
    op("Squeeze", 1, shape::squeeze, ""),
    op("Sub", 6, elementwise::sub, ""),
    op("Sum", 6, elementwise::sum_of_all, ""),
    op("Swish", 24, activation::unary, "older exports are recognised"),
    op("Tan", 7, activation::unary, "data between two poles"),
    op("Tanh", 6, activation::unary, ""),
    op("TensorScatter", 24, places::tensor_scatter, "constant places"),
    op("ThresholdedRelu", 10, activation::unary, ""),
    op("Tile", 6, select::tile, "constant repeats"),
    op("TopK", 1, tail::only_at_the_end, AT_THE_END),
    op("Transpose", 1, select::transpose, ""),
    op("Trilu", 14, places::triangle, "constant diagonal"),
    op("Unsqueeze", 1, shape::unsqueeze, ""),
    op("Upsample", 6, resize::resize, "constant scales"),
    op(
        "Where",
        9,
        choice::select,
        "constant condition, or a comparison at which both sides meet; two numbers at the end of a graph",
    ),
    op("Xor", 6, fold::logic, "constants only"),
    ml(
        "ArrayFeatureExtractor",
        ml::array_feature_extractor,
        "constant places; labels at the end of a graph, by the client",
    ),
    ml("Binarizer", tail::only_at_the_end, AT_THE_END),
    ml("FeatureVectorizer", ml::feature_vectorizer, ""),
    ml("Imputer", ml::imputer, "of NaN, which encrypted data has none of"),
    ml("LabelEncoder", tail::only_at_the_end, "labels at the end of a graph, by the client"),
    ml(
        "LinearClassifier",
        ml::linear_classifier,
        "label and scores at the end of a graph; elsewhere the scores, post_transform NONE, LOGISTIC or SOFTMAX",
    ),
    ml("LinearRegressor", ml::linear_regressor, "post_transform NONE, LOGISTIC or SOFTMAX"),
    ml("Normalizer", statistics::normalizer, "norm MAX at the end of a graph only"),
    ml("SVMClassifier", ml::svm_classifier, SVM_LABEL),
    ml("SVMRegressor", ml::svm_regressor, "post_transform NONE; one_class at the end of a graph"),
    ml("Scaler", ml::scaler, ""),
    Entry {
        info: OperatorInfo {
            domain: ML_DOMAIN,
            name: "TreeEnsemble",
            min_opset: 5,
            max_opset: 5,
            limits: "aggregates SUM and AVERAGE; up to 1024 comparisons",
        },
        import: ml::tree_ensemble,
    },
    ml(
        "TreeEnsembleClassifier",
        ml::tree_classifier,
        "label and scores at the end of a graph, elsewhere the scores; up to 1024 comparisons",
    ),
    ml(
        "TreeEnsembleRegressor",
        ml::tree_regressor,
        "aggregates SUM and AVERAGE; up to 1024 comparisons",
    ),
    ml("ZipMap", ml::zip_map, "the scores stay a tensor"),
    contrib("DequantizeLinear", quantise::dequantize_linear),
    contrib("DynamicQuantizeMatMul", contrib::dynamic_product),
    contrib("MatMulIntegerToFloat", contrib::integers_to_float),
    contrib("QGemm", contrib::gemm),
    contrib("QLinearAdd", contrib::arithmetic),
    contrib("QLinearAveragePool", contrib::of_one),
    contrib("QLinearConcat", contrib::concat),
    contrib("QLinearGlobalAveragePool", contrib::of_one),
    contrib("QLinearLeakyRelu", contrib::of_one),
    contrib("QLinearMul", contrib::arithmetic),
    contrib("QLinearSigmoid", contrib::of_one),
    contrib("QuantizeLinear", quantise::quantize_linear),
];

/// Every operator that is imported, sorted by domain and name.
pub fn operators() -> &'static [OperatorInfo] {
    static OPERATORS: LazyLock<Vec<OperatorInfo>> =
        LazyLock::new(|| TABLE.iter().map(|entry| entry.info).collect());
    &OPERATORS
}

/// The operators as a Markdown table, which is what the README shows; `tested` says how an
/// operator fares in the ONNX project's own tests.
pub fn operator_table(tested: impl Fn(&str) -> String) -> String {
    let mut out = "| operator | since opset | limits | ONNX's tests passed |
|---|---|---|---|
"
    .to_owned();
    for OperatorInfo { domain, name, min_opset, limits, .. } in operators() {
        let dot = if domain.is_empty() { "" } else { "." };
        out += &format!(
            "| `{domain}{dot}{name}` | {min_opset} | {limits} | {} |
",
            tested(&format!("{domain}{dot}{name}"))
        );
    }
    out
}

/// The importer of an operator.
pub(super) fn find(domain: &str, name: &str) -> Option<&'static Entry> {
    TABLE.iter().find(|e| e.info.domain == domain && e.info.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_without_repetition() {
        let names: Vec<(&str, &str)> = TABLE.iter().map(|e| (e.info.domain, e.info.name)).collect();
        assert!(names.windows(2).all(|w| w[0] < w[1]), "{names:?}");
    }
}
