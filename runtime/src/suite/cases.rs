//! The cases: one per kind of instruction, then combinations as compiled plans have them.

use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_ir::slots::Compact;
use heplan_ir::transform::{Diagonal, LinearTransform};

use super::Case;
use super::builder::{Builder, Value, parameters};

/// Bits below the scale to which one operation is right: about 10 of noise at this ring dimension
/// and 4 for the largest of many slots.
const LOSS: f64 = 15.0;
/// The same after several operations in a row.
const DEEP_LOSS: f64 = 18.0;
/// The same where a rounding meets the secret's square.
const SQUARED_LOSS: f64 = 24.0;

/// All cases, under parameters with digits of one prime and of two.
pub fn cases() -> Vec<Case> {
    let one = parameters(49, 35, 1, 49);
    let two = parameters(40, 28, 2, 43);
    let mut out = under(&one, 35, "digits of one prime");
    out.extend(under(&two, 28, "digits of two primes"));
    out
}

/// The same cases for `batch` samples per ciphertext, in slots of one of them.
///
/// # Panics
/// If `batch` is no power of two up to a few hundred.
pub fn shared_cases(batch: usize) -> Vec<Case> {
    let shared = parameters(40, 28, 2, 43).with_batch(batch).expect("a small power of two");
    under(&shared, 28, &format!("{batch} samples per ciphertext"))
}

/// What every case starts from.
struct Setting<'a> {
    parameters: &'a Parameters,
    /// Base-2 logarithm of the waterline scale.
    log_scale: i32,
    suffix: &'a str,
}

impl Setting<'_> {
    fn builder(&self) -> Builder {
        Builder::new(self.parameters)
    }

    fn delta(&self) -> Scale {
        Scale::pow2(self.log_scale)
    }

    fn top(&self) -> usize {
        self.parameters.max_level()
    }

    fn finish(&self, b: Builder, name: &str, outputs: &[&Value], loss: f64) -> Case {
        let name = format!("{name}, {}", self.suffix);
        b.finish(&name, outputs, f64::from(self.log_scale) - loss)
    }
}

fn under(parameters: &Parameters, log_scale: i32, suffix: &str) -> Vec<Case> {
    let set = Setting { parameters, log_scale, suffix };
    vec![
        input_and_output(&set),
        compact_inputs(&set),
        sums(&set),
        plain_sums(&set),
        plain_products(&set),
        square(&set),
        product_of_different_scales(&set),
        lazy_relinearisation(&set),
        rotations(&set),
        rotations_with_sums(&set),
        residual(&set),
        baby_steps_only(&set),
        giant_steps(&set),
        horner(&set),
        without_rotation(&set),
        several_operands_and_results(&set),
        short_period(&set),
        fold(&set),
        fused_giant_steps(&set),
        chebyshev(&set),
        network(&set),
    ]
}

fn input_and_output(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let y = b.input(0, set.delta());
    set.finish(b, "input and output", &[&x, &y], LOSS)
}

/// Of each input something else is left out.
fn compact_inputs(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let some = [(0, true), (1, false), (2, false), (3, false), (3, true)];
    let some = some.map(|(rotations, conjugate)| Compact { rotations, conjugate });
    let whole = some.map(|compact| b.compact_input(set.top(), set.delta(), compact));
    set.finish(b, "compact inputs", &whole.each_ref(), DEEP_LOSS)
}

fn sums(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let (x, y) = (b.input(set.top(), set.delta()), b.input(set.top(), set.delta()));
    let sum = b.add(&x, &y);
    let difference = b.sub(&x, &y);
    let twice = b.add(&x, &x);
    set.finish(b, "sums", &[&sum, &difference, &twice], LOSS)
}

fn plain_sums(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let scalar = b.add_scalar(&x, -0.375);
    let v = b.random(b.width());
    let vector = b.add_vector(&x, v);
    set.finish(b, "sums with plaintexts", &[&scalar, &vector], LOSS)
}

fn plain_products(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let scale = b.prime(set.top());
    let scalar = b.mul_scalar(&x, 0.7, scale.clone());
    let scalar = b.rescale(&scalar);
    let v = b.random(b.width());
    let vector = b.mul_vector(&x, v, scale);
    let vector = b.rescale(&vector);
    set.finish(b, "products with plaintexts", &[&scalar, &vector], LOSS)
}

fn square(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let y = b.product(&x, &x);
    let z = b.product(&y, &y);
    set.finish(b, "squares", &[&y, &z], DEEP_LOSS)
}

fn product_of_different_scales(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(1, set.delta());
    let y = b.input(1, Scale::pow2(set.log_scale - 1));
    let product = b.product(&x, &y);
    set.finish(b, "product of different scales", &[&product], LOSS + 2.0)
}

fn lazy_relinearisation(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let (x, y) = (b.input(set.top(), set.delta()), b.input(set.top(), set.delta()));
    let (xx, xy) = (b.mul(&x, &x), b.mul(&x, &y));
    let sum = b.add(&xx, &xy);
    let sum = b.add_scalar(&sum, 0.25);
    let early = b.relinearise(&sum);
    let early = b.rescale(&early);
    // Rescaled at degree 2, the rounding of the third polynomial meets the secret's square.
    let late = b.rescale(&sum);
    let late = b.relinearise(&late);
    set.finish(b, "one relinearisation for a sum of products", &[&early, &late], SQUARED_LOSS)
}

fn rotations(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let low = b.drop_level(&x, 1);
    let outputs = [b.rotate(&x, 1), b.rotate(&x, b.width() - 3), b.rotate(&low, 1)];
    let again = b.rotate(&outputs[1], b.width() / 2);
    set.finish(b, "rotations", &[&outputs[0], &outputs[1], &outputs[2], &again], LOSS + 2.0)
}

fn rotations_with_sums(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let (x, y) = (b.input(set.top(), set.delta()), b.input(set.top(), set.delta()));
    let low = b.drop_level(&x, 1);
    let of_two = b.rotate_add(&x, 3, &y);
    let doubled = b.rotate_add(&x, b.width() / 2, &x);
    let conjugate = b.rotate_add(&y, b.width(), &of_two);
    let low = b.rotate_add(&low, 1, &low);
    let outputs = [&of_two, &doubled, &conjugate, &low];
    set.finish(b, "rotations with sums", &outputs, LOSS + 2.0)
}

fn residual(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let prime = b.prime(set.top());
    let branch = b.mul_scalar(&x, -0.5, prime);
    let branch = b.rescale(&branch);
    let trunk = b.drop_level(&x, set.top() - 1);
    let y = b.add(&branch, &trunk);
    set.finish(b, "residual connection", &[&y], LOSS)
}

/// A transform with random values on diagonals `(output, input, offset)`; every `gap`-th slot of
/// the period carries a value.
fn transform(
    b: &mut Builder,
    period: usize,
    gap: usize,
    diagonals: &[(u32, u32, i64)],
) -> LinearTransform {
    let width = b.width();
    let mut list: Vec<Diagonal> = diagonals
        .iter()
        .map(|&(output, input, offset)| {
            let slots: Vec<u32> =
                (0..period).step_by(gap).map(|s| u32::try_from(s).expect("widths fit")).collect();
            let values = b.random(slots.len()).iter().map(|&v| v as f32 / 4.0).collect();
            let offset = u32::try_from(offset.rem_euclid(width as i64)).expect("widths fit");
            Diagonal { output, input, offset, slots, values }
        })
        .collect();
    list.sort_by_key(|d| (d.output, d.input, d.offset));
    let count = |f: fn(&Diagonal) -> u32| list.iter().map(f).max().map_or(0, |m| m as usize + 1);
    let (inputs, outputs) = (count(|d| d.input), count(|d| d.output));
    LinearTransform { width, period, inputs, outputs, diagonals: list }
}

/// A linear map of one operand, divided.
fn linear(b: &mut Builder, x: &Value, map: LinearTransform, scale: Scale) -> Vec<Value> {
    let ys = b.linear(&[x], map, vec![scale]);
    ys.iter().map(|y| b.mod_down(y)).collect()
}

fn baby_steps_only(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let width = b.width();
    let x = b.input(set.top(), set.delta());
    let map = transform(&mut b, width, 1, &[(0, 0, 0), (0, 0, 1), (0, 0, -5)]);
    let scale = b.prime(set.top());
    let y = linear(&mut b, &x, map, scale);
    set.finish(b, "linear map of baby steps", &[&y[0]], LOSS)
}

/// Four extended results of four baby steps each.
fn babies(set: &Setting<'_>, b: &mut Builder) -> Vec<Value> {
    let x = b.input(set.top(), set.delta());
    let width = b.width();
    let diagonals: Vec<(u32, u32, i64)> =
        (0..16).map(|i| (i / 4, 0, i64::from(i % 4) - 1)).collect();
    let map = transform(b, width, 3, &diagonals);
    let scale = b.prime(set.top());
    b.linear(&[&x], map, vec![scale])
}

fn giant_steps(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let ys = babies(set, &mut b);
    let back = b.width() - 4;
    let mut sum = b.rotate(&ys[0], back);
    for (y, by) in ys[1..].iter().zip([0, 4, 8]) {
        let turned = if by == 0 { y.clone() } else { b.rotate(y, by) };
        sum = b.add(&sum, &turned);
    }
    let difference = b.sub(&sum, &ys[1]);
    let (sum, difference) = (b.mod_down(&sum), b.mod_down(&difference));
    set.finish(b, "giant steps of an extended result", &[&sum, &difference], DEEP_LOSS)
}

fn horner(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let ys = babies(set, &mut b);
    let mut sum = ys[3].clone();
    for y in ys[..3].iter().rev() {
        let turned = b.rotate(&sum, 4);
        sum = b.add(y, &turned);
    }
    let sum = b.mod_down(&sum);
    // Divided, a result is like any other.
    let turned = b.rotate(&sum, 4);
    set.finish(b, "giant steps by Horner's rule", &[&sum, &turned], DEEP_LOSS)
}

/// Horner's rule and a fold, with every rotation in its sum.
fn fused_giant_steps(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let ys = babies(set, &mut b);
    let sum = ys[..3].iter().rev().fold(ys[3].clone(), |sum, y| b.rotate_add(&sum, 4, y));
    let sum = b.rotate_add(&sum, b.width() / 2, &sum);
    let sum = b.mod_down(&sum);
    set.finish(b, "giant steps with their sums", &[&sum], DEEP_LOSS)
}

fn without_rotation(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let width = b.width();
    let map = transform(&mut b, width, 1, &[(0, 0, 0), (1, 0, 0)]);
    let scale = b.prime(set.top());
    let ys = b.linear(&[&x], map, vec![scale]);
    set.finish(b, "linear map without rotations", &[&ys[0], &ys[1]], LOSS)
}

fn several_operands_and_results(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let (width, level) = (b.width(), set.top() - 1);
    let x0 = b.input(level, set.delta());
    let x1 = b.input(level, Scale::pow2(set.log_scale - 2));
    let diagonals = [(0, 0, 0), (0, 1, 7), (1, 0, -1), (1, 1, 0), (1, 1, 8), (2, 1, 1)];
    let map = transform(&mut b, width, 2, &diagonals);
    let scale = b.prime(level);
    let scales = vec![scale.clone(), scale.mul(&Scale::pow2(2))];
    let ys = b.linear(&[&x0, &x1], map, scales);
    let ys: Vec<Value> = ys.iter().map(|y| b.mod_down(y)).collect();
    set.finish(
        b,
        "linear map of several operands and results",
        &[&ys[0], &ys[1], &ys[2]],
        LOSS + 1.0,
    )
}

fn short_period(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let mut map = transform(&mut b, 64, 1, &[(0, 0, 0), (0, 0, 3), (0, 0, 33)]);
    // A result that no diagonal reaches is zero.
    map.outputs = 2;
    let scale = b.prime(set.top());
    let ys = linear(&mut b, &x, map, scale);
    set.finish(b, "linear map of short period", &[&ys[0], &ys[1]], LOSS)
}

fn fold(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let width = b.width();
    let period = width / 4;
    let map = transform(&mut b, width, 1, &[(0, 0, 0), (0, 0, 2)]);
    let scale = b.prime(set.top());
    let mut y = b.linear(&[&x], map, vec![scale]).remove(0);
    for by in [period, 2 * period] {
        let turned = b.rotate(&y, by);
        y = b.add(&y, &turned);
    }
    let y = b.mod_down(&y);
    set.finish(b, "folded linear map", &[&y], DEEP_LOSS)
}

/// `0.5·T_1 - 0.25·T_2 + 0.125·T_4`, every term brought to one level and one scale.
fn chebyshev(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let top = set.top();
    let x = b.input(top, set.delta());
    let double = |b: &mut Builder, t: &Value| {
        let square = b.product(t, t);
        let twice = b.add(&square, &square);
        b.add_scalar(&twice, -1.0)
    };
    let t2 = double(&mut b, &x);
    let t4 = double(&mut b, &t2);
    let target = set.delta();
    let term = |b: &mut Builder, t: &Value, c: f64| {
        let low = if t.ty.level > top - 2 { b.drop_level(t, top - 2) } else { t.clone() };
        let scale = target.mul(&b.prime(top - 2)).div(&low.ty.scale);
        b.mul_scalar(&low, c, scale)
    };
    let terms = [term(&mut b, &x, 0.5), term(&mut b, &t2, -0.25), term(&mut b, &t4, 0.125)];
    let sum = b.add(&terms[0], &terms[1]);
    let sum = b.add(&sum, &terms[2]);
    let y = b.rescale(&sum);
    set.finish(b, "Chebyshev series", &[&y], DEEP_LOSS)
}

/// Linear map, bias, square, linear map.
fn network(set: &Setting<'_>) -> Case {
    let mut b = set.builder();
    let x = b.input(set.top(), set.delta());
    let width = b.width();
    let first = transform(&mut b, width, 1, &[(0, 0, -1), (0, 0, 0), (0, 0, 1)]);
    let scale = b.prime(set.top());
    let h = linear(&mut b, &x, first, scale);
    let bias = b.random(b.width());
    let h = b.add_vector(&h[0], bias);
    let h = b.product(&h, &h);
    let second = transform(&mut b, 128, 1, &[(0, 0, 0), (0, 0, 64)]);
    let scale = set.delta().mul(&b.prime(h.ty.level)).div(&h.ty.scale);
    let y = linear(&mut b, &h, second, scale);
    set.finish(b, "network", &[&y[0]], DEEP_LOSS)
}
