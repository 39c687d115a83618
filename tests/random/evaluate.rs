//! A second evaluator: each operator as its text says, element by element, over `ndarray`.
//! It shares nothing with the importer, which makes one sparse matrix of whatever is linear.

use ndarray::{ArrayD, Dimension, IxDyn};

/// A tensor of real numbers.
pub(crate) type Tensor = ArrayD<f64>;

/// The tensor with these elements.
pub(crate) fn tensor(shape: &[usize], mut element: impl FnMut(&[usize]) -> f64) -> Tensor {
    Tensor::from_shape_fn(IxDyn(shape), |at| element(at.slice()))
}

/// Calls `visit` with every position of a shape.
fn positions(shape: &[usize], mut visit: impl FnMut(&[usize])) {
    ndarray::indices(IxDyn(shape)).into_iter().for_each(|at| visit(at.slice()));
}

/// The shape of two operands broadcast against each other.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    let joint = |i| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == 1 => Some(x),
        (1, y) => Some(y),
        _ => None,
    };
    (0..rank).map(joint).collect()
}

/// The element of a tensor that is broadcast to a shape of which `at` is a position.
fn spread(x: &Tensor, at: &[usize]) -> f64 {
    let skip = at.len() - x.ndim();
    let own: Vec<usize> =
        x.shape().iter().zip(&at[skip..]).map(|(&d, &i)| if d == 1 { 0 } else { i }).collect();
    x[&own[..]]
}

/// `f` of two tensors, broadcast.
pub(crate) fn zip(a: &Tensor, b: &Tensor, f: impl Fn(f64, f64) -> f64) -> Option<Tensor> {
    let shape = broadcast(a.shape(), b.shape())?;
    Some(tensor(&shape, |at| f(spread(a, at), spread(b, at))))
}

/// Where a window lies: one number per spatial axis.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) kernel: Vec<usize>,
    pub(crate) strides: Vec<usize>,
    pub(crate) dilations: Vec<usize>,
    pub(crate) before: Vec<usize>,
    pub(crate) after: Vec<usize>,
}

impl Window {
    /// The result's spatial axes, if the window fits.
    pub(crate) fn output(&self, input: &[usize]) -> Option<Vec<usize>> {
        let along = |i: usize| {
            let reach = (self.kernel[i] - 1) * self.dilations[i] + 1;
            let room = (input[i] + self.before[i] + self.after[i]).checked_sub(reach)?;
            Some(room / self.strides[i] + 1)
        };
        (0..input.len()).map(along).collect()
    }

    /// The input's position under the kernel's position `k` where the window is at `o`.
    fn source(&self, o: &[usize], k: &[usize], input: &[usize]) -> Option<Vec<usize>> {
        let along = |i: usize| {
            let at = o[i] * self.strides[i] + k[i] * self.dilations[i];
            at.checked_sub(self.before[i]).filter(|&at| at < input[i])
        };
        (0..input.len()).map(along).collect()
    }
}

/// The elements at batch, channel and spatial position.
fn at(x: &Tensor, n: usize, c: usize, position: &[usize]) -> f64 {
    x[&[&[n, c], position].concat()[..]]
}

/// `Conv`.
pub(crate) fn conv(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&[f64]>,
    window: &Window,
    groups: usize,
) -> Option<Tensor> {
    let (spatial, outputs, inputs) = (&x.shape()[2..], w.shape()[0], w.shape()[1]);
    let shape = [vec![x.shape()[0], outputs], window.output(spatial)?].concat();
    Some(tensor(&shape, |o| {
        let (n, m) = (o[0], o[1]);
        let first = m / (outputs / groups) * inputs;
        let mut sum = bias.map_or(0.0, |b| b[m]);
        positions(&window.kernel, |k| {
            let Some(source) = window.source(&o[2..], k, spatial) else { return };
            for c in 0..inputs {
                sum += at(x, n, first + c, &source) * at(w, m, c, k);
            }
        });
        sum
    }))
}

/// `ConvTranspose`: every input element adds its multiple of the kernel to the result.
pub(crate) fn conv_transpose(
    x: &Tensor,
    w: &Tensor,
    window: &Window,
    groups: usize,
) -> Option<Tensor> {
    let (spatial, channels, outputs) = (&x.shape()[2..], x.shape()[1], w.shape()[1]);
    let along = |i: usize| {
        let full =
            (spatial[i] - 1) * window.strides[i] + (window.kernel[i] - 1) * window.dilations[i] + 1;
        full.checked_sub(window.before[i] + window.after[i]).filter(|&n| n > 0)
    };
    let sizes: Vec<usize> = (0..spatial.len()).map(along).collect::<Option<_>>()?;
    let mut y = Tensor::zeros(IxDyn(&[vec![x.shape()[0], outputs * groups], sizes].concat()));
    let limits = y.shape()[2..].to_vec();
    for (n, c) in (0..x.shape()[0]).flat_map(|n| (0..channels).map(move |c| (n, c))) {
        let group = c / (channels / groups);
        positions(spatial, |i| {
            positions(&window.kernel, |k| {
                let target = |a: usize| {
                    let at = i[a] * window.strides[a] + k[a] * window.dilations[a];
                    at.checked_sub(window.before[a]).filter(|&at| at < limits[a])
                };
                let Some(place) = (0..i.len()).map(target).collect::<Option<Vec<_>>>() else {
                    return;
                };
                for m in 0..outputs {
                    let to = [&[n, group * outputs + m], &place[..]].concat();
                    y[&to[..]] += at(x, n, c, i) * at(w, c, m, k);
                }
            });
        });
    }
    Some(y)
}

/// A pool: `fold` of what lies under the window, and of how many the window has.
pub(crate) fn pool(
    x: &Tensor,
    window: &Window,
    fold: impl Fn(&[f64], usize) -> f64,
) -> Option<Tensor> {
    let spatial = &x.shape()[2..];
    let shape = [x.shape()[..2].to_vec(), window.output(spatial)?].concat();
    Some(tensor(&shape, |o| {
        let mut under = Vec::new();
        positions(&window.kernel, |k| {
            let source = window.source(&o[2..], k, spatial);
            under.extend(source.map(|source| at(x, o[0], o[1], &source)));
        });
        fold(&under, window.kernel.iter().product())
    }))
}

/// `MatMul` of tensors of at least two axes.
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Option<Tensor> {
    let (ra, rb) = (a.ndim() - 2, b.ndim() - 2);
    let inner = (a.shape()[ra + 1] == b.shape()[rb]).then_some(b.shape()[rb])?;
    let batch = broadcast(&a.shape()[..ra], &b.shape()[..rb])?;
    let shape = [&batch[..], &[a.shape()[ra], b.shape()[rb + 1]]].concat();
    let own = |x: &Tensor, at: &[usize], tail: [usize; 2]| {
        let rank = x.ndim() - 2;
        let batch = &at[at.len() - 2 - rank..at.len() - 2];
        let kept = batch.iter().zip(x.shape()).map(|(&i, &d)| if d == 1 { 0 } else { i });
        x[&kept.chain(tail).collect::<Vec<_>>()[..]]
    };
    Some(tensor(&shape, |at| {
        let (row, column) = (at[at.len() - 2], at[at.len() - 1]);
        (0..inner).map(|k| own(a, at, [row, k]) * own(b, at, [k, column])).sum()
    }))
}

/// A reduction: `fold` of all elements along the axes.
pub(crate) fn reduce(
    x: &Tensor,
    axes: &[usize],
    keep: bool,
    fold: impl Fn(&[f64]) -> f64,
) -> Tensor {
    let full: Vec<usize> =
        x.shape().iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
    let over: Vec<usize> = axes.iter().map(|&a| x.shape()[a]).collect();
    let y = tensor(&full, |at| {
        let mut all = Vec::new();
        let mut place = at.to_vec();
        positions(&over, |o| {
            axes.iter().zip(o).for_each(|(&a, &i)| place[a] = i);
            all.push(x[&place[..]]);
        });
        fold(&all)
    });
    if keep {
        return y;
    }
    let left =
        (0..x.ndim()).filter(|a| !axes.contains(a)).map(|a| x.shape()[a]).collect::<Vec<_>>();
    reshape(&y, &left)
}

/// `fold` of each line along an axis gives a line: `Softmax`, `CumSum`, normalisations.
pub(crate) fn lines(x: &Tensor, axes: &[usize], line: impl Fn(&[f64]) -> Vec<f64>) -> Tensor {
    let over: Vec<usize> = axes.iter().map(|&a| x.shape()[a]).collect();
    let starts: Vec<usize> =
        x.shape().iter().enumerate().map(|(a, &d)| if axes.contains(&a) { 1 } else { d }).collect();
    let mut y = x.clone();
    positions(&starts, |start| {
        let mut places = Vec::new();
        positions(&over, |o| {
            let mut place = start.to_vec();
            axes.iter().zip(o).for_each(|(&a, &i)| place[a] = i);
            places.push(place);
        });
        let values: Vec<f64> = places.iter().map(|p| x[&p[..]]).collect();
        places.iter().zip(line(&values)).for_each(|(p, v)| y[&p[..]] = v);
    });
    y
}

/// The same elements, in order, in another shape.
pub(crate) fn reshape(x: &Tensor, shape: &[usize]) -> Tensor {
    let mut elements = x.iter().copied();
    tensor(shape, |_| elements.next().unwrap_or(f64::NAN))
}

/// `Transpose`.
pub(crate) fn transpose(x: &Tensor, order: &[usize]) -> Tensor {
    let shape: Vec<usize> = order.iter().map(|&a| x.shape()[a]).collect();
    tensor(&shape, |at| {
        let mut place = vec![0; order.len()];
        order.iter().zip(at).for_each(|(&a, &i)| place[a] = i);
        x[&place[..]]
    })
}

/// `Concat`.
pub(crate) fn concat(xs: &[&Tensor], axis: usize) -> Tensor {
    let mut shape = xs[0].shape().to_vec();
    shape[axis] = xs.iter().map(|x| x.shape()[axis]).sum();
    tensor(&shape, |at| {
        let mut place = at.to_vec();
        for x in xs {
            if place[axis] < x.shape()[axis] {
                return x[&place[..]];
            }
            place[axis] -= x.shape()[axis];
        }
        f64::NAN
    })
}

/// The tensor whose positions along one axis are these of `x`; `None` is a zero.
pub(crate) fn select(x: &Tensor, axis: usize, from: &[Option<usize>]) -> Tensor {
    let mut shape = x.shape().to_vec();
    shape[axis] = from.len();
    tensor(&shape, |at| {
        let mut place = at.to_vec();
        from[at[axis]].map_or(0.0, |i| {
            place[axis] = i;
            x[&place[..]]
        })
    })
}
