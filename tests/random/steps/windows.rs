//! Steps of images and series: convolutions, pools, normalisation of channels.

use super::map;
use crate::evaluate::{self, Tensor, Window, lines, select};
use crate::generate::{Builder, Value};
use crate::onnx::Attribute;

/// A value with spatial axes.
fn image(b: &mut Builder) -> Option<Value> {
    b.such(|v| (3..=4).contains(&v.shape().len()))
}

fn drawn(b: &mut Builder, spatial: &[usize], largest: usize, dilated: bool) -> Window {
    let rank = spatial.len();
    let mut each = |low: usize, high: usize| -> Vec<usize> {
        (0..rank).map(|_| b.random.from(low, high)).collect()
    };
    let kernel = each(1, largest);
    let strides = each(1, 2);
    let dilations = if dilated { each(1, 2) } else { vec![1; rank] };
    // Less than the kernel, so that no window lies in the padding alone.
    let pads = [each(0, largest - 1), each(0, largest - 1)];
    let capped = |p: &[usize]| p.iter().zip(&kernel).map(|(p, k)| *p.min(&(k - 1))).collect();
    let [before, after] = [capped(&pads[0]), capped(&pads[1])];
    Window { kernel, strides, dilations, before, after }
}

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|&v| v as i64).collect())
}

fn attributes(window: &Window, dilated: bool) -> Vec<(&'static str, Attribute)> {
    let pads = [&window.before[..], &window.after[..]].concat();
    let mut all = vec![
        ("kernel_shape", ints(&window.kernel)),
        ("strides", ints(&window.strides)),
        ("pads", ints(&pads)),
    ];
    if dilated {
        all.push(("dilations", ints(&window.dilations)));
    }
    all
}

/// Groups that divide the channels.
fn groups(b: &mut Builder, channels: usize) -> usize {
    let all: Vec<usize> = (1..=channels).filter(|g| channels.is_multiple_of(*g)).collect();
    if b.random.once_in(2) { 1 } else { *b.random.pick(&all) }
}

pub(super) fn conv(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let channels = x.shape()[1];
    let window = drawn(b, &x.shape()[2..], 3, true);
    let groups = groups(b, channels);
    let outputs = groups * b.random.from(1, 3);
    let shape = [&[outputs, channels / groups], &window.kernel[..]].concat();
    let (weight, w) = b.weights(&shape, 1.0);
    let (bias, shift) = b.weights(&[outputs], 1.0);
    let shift = shift.iter().copied().collect::<Vec<_>>();
    let one = |s: &Tensor| evaluate::conv(s, &w, Some(&shift), &window, groups);
    let samples = x.samples.iter().map(one).collect::<Option<_>>()?;
    let mut attributes = attributes(&window, true);
    attributes.push(("group", Attribute::Int(groups as i64)));
    b.node("Conv", &[&x.name, &weight, &bias], &attributes, samples, x.depth + 1)
}

pub(super) fn conv_transpose(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let channels = x.shape()[1];
    let window = drawn(b, &x.shape()[2..], 3, true);
    let groups = groups(b, channels);
    let shape = [&[channels, b.random.from(1, 2)], &window.kernel[..]].concat();
    let (weight, w) = b.weights(&shape, 1.0);
    let one = |s: &Tensor| evaluate::conv_transpose(s, &w, &window, groups);
    let samples = x.samples.iter().map(one).collect::<Option<_>>()?;
    let mut attributes = attributes(&window, true);
    attributes.push(("group", Attribute::Int(groups as i64)));
    b.node("ConvTranspose", &[&x.name, &weight], &attributes, samples, x.depth + 1)
}

pub(super) fn average_pool(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let window = drawn(b, &x.shape()[2..], 3, false);
    let whole = b.random.once_in(2);
    let mean = |under: &[f64], size: usize| {
        under.iter().sum::<f64>() / if whole { size } else { under.len() } as f64
    };
    let one = |s: &Tensor| evaluate::pool(s, &window, mean);
    let samples = x.samples.iter().map(one).collect::<Option<_>>()?;
    let mut attributes = attributes(&window, false);
    attributes.push(("count_include_pad", Attribute::Int(whole.into())));
    b.node("AveragePool", &[&x.name], &attributes, samples, x.depth + 1)
}

pub(super) fn max_pool(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let window = drawn(b, &x.shape()[2..], 2, false);
    let most = |under: &[f64], _| under.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let one = |s: &Tensor| evaluate::pool(s, &window, most);
    let samples = x.samples.iter().map(one).collect::<Option<_>>()?;
    b.node("MaxPool", &[&x.name], &attributes(&window, false), samples, x.depth + 9)
}

pub(super) fn global_pool(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let axes: Vec<usize> = (2..x.shape().len()).collect();
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let samples = map(&x, |s| evaluate::reduce(s, &axes, true, mean));
    b.node("GlobalAveragePool", &[&x.name], &[], samples, x.depth + 1)
}

pub(super) fn batch_norm(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() >= 2)?;
    let channels = x.shape()[1];
    let [scale, shift, mean] = [0; 3].map(|_| b.weights(&[channels], 1.0));
    let variance = evaluate::tensor(&[channels], |_| b.random.number(0.2, 2.0));
    let name = b.constant(&variance);
    let epsilon = b.random.number(0.001, 0.1);
    let samples = map(&x, |s| {
        evaluate::tensor(s.shape(), |at| {
            let c = at[1];
            let centred = s[at] - mean.1[[c].as_slice()];
            let deviation = (variance[[c].as_slice()] + epsilon).sqrt();
            centred / deviation * scale.1[[c].as_slice()] + shift.1[[c].as_slice()]
        })
    });
    let inputs = [&x.name[..], &scale.0, &shift.0, &mean.0, &name];
    let attributes = [("epsilon", Attribute::Float(epsilon as f32))];
    b.node("BatchNormalization", &inputs, &attributes, samples, x.depth + 1)
}

pub(super) fn instance_norm(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let channels = x.shape()[1];
    let [scale, shift] = [0; 2].map(|_| b.weights(&[channels], 1.0));
    let epsilon = b.random.number(0.3, 1.0);
    let axes: Vec<usize> = (2..x.shape().len()).collect();
    let line = |v: &[f64]| -> Vec<f64> {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        let variance = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64;
        v.iter().map(|x| (x - mean) / (variance + epsilon).sqrt()).collect()
    };
    let samples = map(&x, |s| {
        let y = lines(s, &axes, line);
        let of = |w: &Tensor, at: &[usize]| w[[at[1]].as_slice()];
        evaluate::tensor(y.shape(), |at| y[at] * of(&scale.1, at) + of(&shift.1, at))
    });
    let attributes = [("epsilon", Attribute::Float(epsilon as f32))];
    let inputs = [&x.name[..], &scale.0, &shift.0];
    b.node("InstanceNormalization", &inputs, &attributes, samples, x.depth + 8)
}

/// `Resize` to the nearest element, by whole factors.
pub(super) fn upsample(b: &mut Builder) -> Option<()> {
    let x = image(b)?;
    let rank = x.shape().len();
    let factors: Vec<usize> =
        (0..rank).map(|a| if a < 2 { 1 } else { b.random.from(1, 2) }).collect();
    let scales = evaluate::tensor(&[rank], |at| factors[at[0]] as f64);
    let name = b.constant(&scales);
    let samples = map(&x, |s| {
        factors.iter().enumerate().fold(s.clone(), |s, (axis, &f)| {
            let from: Vec<_> = (0..s.shape()[axis] * f).map(|i| Some(i / f)).collect();
            select(&s, axis, &from)
        })
    });
    let attributes = [
        ("mode", Attribute::Text("nearest")),
        ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
        ("nearest_mode", Attribute::Text("floor")),
    ];
    b.node("Resize", &[&x.name, "", &name], &attributes, samples, x.depth + 1)
}
