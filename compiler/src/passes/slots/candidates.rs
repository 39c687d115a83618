//! Layouts worth trying for a tensor.
//!
//! Candidates are generous and cheap to generate; the search counts what each one costs.
//! - *row-major*, dense or with every axis padded to a power of two;
//! - *gap*: a strided or pooled image stays on the grid of the image that it was computed from, so
//!   that neighbouring outputs read neighbouring inputs with few distinct offsets;
//! - *uneven*: an input repeats after a number of slots that is no power of two;
//! - *polyphase*: an input image is split by the remainders of its rows and columns, so that a strided
//!   convolution reads neighbours from every part and writes a dense image;
//! - *multiplexed*: channels fill the gaps of such a grid (Lee et al., ePrint 2021/1688).
//!
//! Each of the others comes with every period from the smallest that holds it up to the ciphertext's width.

use heplan_ir::layout::{Axis, Layout};

/// The candidates for a graph input of this shape.
pub(super) fn for_input(shape: &[usize], width: usize) -> Vec<Layout> {
    let mut bases = row_majors(shape);
    bases.extend([2, 4].into_iter().filter_map(|parts| polyphase(shape, parts)));
    let mut out = finish(bases, width);
    let elements = shape.iter().product();
    out.extend(uneven(elements, width));
    out
}

/// Dense layouts whose periods are no powers of two, one for each number of offsets that a map out
/// of it may take: an odd multiple of that number (`routing::Uneven`). Only a client can write them.
fn uneven(elements: usize, width: usize) -> impl Iterator<Item = Layout> {
    let offsets = (2..width.ilog2()).map(|b| 1 << b).take_while(move |&g| 3 * g <= width);
    offsets.filter_map(move |g: usize| {
        let turns = elements.div_ceil(g) | 1;
        let (axes, period) = (vec![Axis { size: elements, stride: 1 }], turns * g);
        let layout = Layout { axes, offset: 0, period, width };
        // Fewer than twice the elements, more than two copies: beyond that there is nothing to gain.
        (turns > 1 && period < 2 * elements && 2 * period < width).then_some(layout)
    })
}

/// An image `[channels, spatial…]` as `parts` images per spatial axis, each padded to powers of two:
/// pixel `parts·y + p` lies in row `y` of part `p`.
fn polyphase(shape: &[usize], parts: usize) -> Option<Vec<Axis>> {
    let (channels, spatial) = (shape.get(..2)?, &shape[2..]);
    let splits = |&n: &usize| n > parts && n.is_multiple_of(parts);
    if spatial.is_empty() || !spatial.iter().all(splits) {
        return None;
    }
    let mut rows = Vec::with_capacity(spatial.len());
    let mut stride = 1;
    for size in spatial.iter().rev().map(|n| n / parts) {
        rows.push(Axis { size, stride });
        stride *= size.next_power_of_two();
    }
    let mut axes = Vec::with_capacity(2 * spatial.len() + 1);
    for row in rows {
        axes.extend([Axis { size: parts, stride }, row]);
        stride *= parts;
    }
    axes.push(Axis { size: channels.iter().product(), stride });
    axes.reverse();
    Some(axes)
}

/// The candidates for a tensor of `shape` that an affine map computes from tensors of the given
/// shapes and layouts.
pub(super) fn for_affine(
    shape: &[usize],
    inputs: &[(&[usize], &Layout)],
    width: usize,
) -> Vec<Layout> {
    let mut bases = row_majors(shape);
    for (input_shape, layout) in inputs {
        bases.extend(on_grid(shape, input_shape, layout));
    }
    finish(bases, width)
}

/// Dimensions larger than one.
fn proper(shape: &[usize]) -> Vec<usize> {
    shape.iter().copied().filter(|&d| d > 1).collect()
}

/// Row-major with dense rows, with power-of-two blocks for the leading axis, and with every axis
/// padded to a power of two.
fn row_majors(shape: &[usize]) -> Vec<Vec<Axis>> {
    let dims = proper(shape);
    let strided = |pad: &dyn Fn(usize, usize) -> usize| {
        let mut stride = 1;
        let mut axes: Vec<Axis> = Vec::new();
        for (i, &size) in dims.iter().enumerate().rev() {
            axes.push(Axis { size, stride });
            stride = pad(i, stride * size);
        }
        axes.reverse();
        axes
    };
    vec![
        strided(&|_, s| s),
        strided(&|i, s| if i == 1 { s.next_power_of_two() } else { s }),
        strided(&|_, s| s.next_power_of_two()),
    ]
}

/// Arrangements of `[channels, spatial…]` on the grid of an input `[channels, spatial…]`.
fn on_grid(shape: &[usize], input_shape: &[usize], layout: &Layout) -> Vec<Vec<Axis>> {
    let rank = shape.len();
    if rank < 3 || input_shape.len() != rank {
        return Vec::new();
    }
    let Some(grid) = spatial_strides(input_shape, layout) else { return Vec::new() };
    let mut out = Vec::new();
    for round_up in [false, true] {
        let gaps: Vec<usize> = (2..rank)
            .map(|i| {
                if round_up { input_shape[i].div_ceil(shape[i]) } else { input_shape[i] / shape[i] }
            })
            .collect();
        let fits = |(gap, parts): (&usize, &usize)| *gap > 0 && gap.is_multiple_of(*parts);
        if !gaps.iter().zip(&grid.parts).all(fits) {
            continue;
        }
        let stride = |i: usize| grid.strides[i] * gaps[i] / grid.parts[i];
        let spatial: Vec<Axis> =
            (2..rank).map(|i| Axis { size: shape[i], stride: stride(i - 2) }).collect();
        let channels = shape[0] * shape[1];
        for block in [grid.block, grid.block.next_power_of_two()] {
            let plain = Axis { size: channels, stride: block };
            out.push(std::iter::once(plain).chain(spatial.clone()).collect());
            out.extend(multiplexed(channels, block, &grid, &spatial));
        }
    }
    out
}

/// The grid that an image lies on.
struct Grid {
    /// Slots between neighbours of the same part, per spatial axis.
    strides: Vec<usize>,
    /// The parts that a polyphase layout splits each axis into; 1 without.
    parts: Vec<usize>,
    /// Slots from the image's first place to past its last, without channels in gaps.
    block: usize,
    /// The densest strides that the original image can have had: the room that gaps leave.
    fine: Vec<usize>,
}

/// The strides of the spatial axes, if the layout has one axis for each, or two: of parts and rows.
fn spatial_strides(shape: &[usize], layout: &Layout) -> Option<Grid> {
    let spatial = &shape[2..];
    let mut axes = layout.axes.iter().rev();
    let mut strides: Vec<usize> = Vec::new();
    let mut parts: Vec<usize> = Vec::new();
    for &size in spatial.iter().rev() {
        if size == 1 {
            strides.push(strides.last().map_or(1, |&s| s));
            parts.push(1);
            continue;
        }
        let axis = axes.next()?;
        let (row, split) = if axis.size == size { (axis, 1) } else { (axes.next()?, axis.size) };
        if row.size * split != size {
            return None;
        }
        strides.push(row.stride);
        parts.push(split);
    }
    parts.reverse();
    strides.reverse();
    let rows = spatial.iter().zip(&parts).map(|(n, p)| n / p);
    let extent = rows.zip(&strides).map(|(n, s)| (n - 1) * s).sum::<usize>();
    // Channels in gaps show as axes whose stride is smaller than the finest spatial one.
    let outer = axes.map(|a| a.stride).filter(|&s| s > extent).min();
    let block = outer.unwrap_or(extent + strides.last().copied().unwrap_or(1));
    let fine = fine_strides(&strides);
    Some(Grid { strides, parts, block, fine })
}

/// With strides such as (56, 2) the original image had columns one apart and rows 28 apart.
fn fine_strides(strides: &[usize]) -> Vec<usize> {
    let gap = strides.last().copied().unwrap_or(1).max(1);
    strides.iter().map(|&s| if s % gap == 0 { s / gap } else { s }).collect()
}

/// Channels spread over the gaps of the last two spatial axes, the rest in blocks.
fn multiplexed(channels: usize, block: usize, grid: &Grid, spatial: &[Axis]) -> Vec<Vec<Axis>> {
    let Some(column) = spatial.last() else { return Vec::new() };
    let fine_column = grid.fine.last().copied().unwrap_or(1);
    let across = largest_factor(channels, column.stride / fine_column.max(1));
    let mut out = Vec::new();
    let lead = |outer: usize| Axis { size: outer, stride: block };
    if across > 1 {
        let inner = Axis { size: across, stride: fine_column };
        out.push([vec![lead(channels / across), inner], spatial.to_vec()].concat());
    }
    if let [.., row, _] = spatial {
        let fine_row = grid.fine[grid.fine.len() - 2];
        let down = largest_factor(channels / across, row.stride / fine_row.max(1));
        if down > 1 {
            let axes = vec![
                lead(channels / across / down),
                Axis { size: down, stride: fine_row },
                Axis { size: across, stride: fine_column },
            ];
            out.push([axes, spatial.to_vec()].concat());
        }
    }
    out
}

/// The largest factor of `n` that is at most `limit`.
fn largest_factor(n: usize, limit: usize) -> usize {
    (1..=limit.min(n)).rev().find(|f| n.is_multiple_of(*f)).unwrap_or(1)
}

/// Adds periods, drops unit axes, unsound layouts and repeats.
fn finish(bases: Vec<Vec<Axis>>, width: usize) -> Vec<Layout> {
    let mut out: Vec<Layout> = Vec::new();
    for mut axes in bases {
        axes.retain(|a| a.size > 1);
        if axes.is_empty() {
            axes.push(Axis { size: 1, stride: 1 });
        }
        let normal = merged(&axes);
        let elements = axes.iter().map(|a| a.size).product();
        let mut layout = Layout { axes, offset: 0, period: width, width };
        let mut period = layout.extent().next_power_of_two().min(width);
        layout.period = period;
        if out.iter().any(|l| merged(&l.axes) == normal) || !layout.problems(elements).is_empty() {
            continue;
        }
        while period <= width {
            layout.period = period;
            out.push(layout.clone());
            period *= 2;
        }
    }
    out
}

/// Joins neighbouring axes that are dense in each other: the normal form in which two layouts are
/// compared. Layouts keep one axis per tensor axis, from which the next candidates are read off.
fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::new();
    for &axis in axes {
        match out.last_mut() {
            Some(last) if last.stride == axis.size * axis.stride => {
                *last = Axis { size: last.size * axis.size, stride: axis.stride };
            }
            _ => out.push(axis),
        }
    }
    out
}
