//! Every instruction set against [`scalar`], bit for bit, and the scalar kernels against wide integers.

use proptest::prelude::*;

use super::{Ending, Isa, Origin, scalar};
use crate::modulus::Modulus;
use crate::ntt::NttTable;
use crate::primes::{ntt_primes_below, ntt_primes_from};
use crate::{bits, gaussian};

/// More than one block of the kernels that work block by block, and not a multiple of it.
const LEN: usize = 1024 + 64;

/// The largest prime of several sizes, and the smallest.
fn moduli() -> Vec<Modulus> {
    let bounds = [1 << 50, 1 << 49, 1 << 40, 1 << 31, 1 << 30, 1 << 20];
    let primes = bounds.iter().filter_map(|&bound| ntt_primes_below(bound, 10).next());
    primes.chain(ntt_primes_from(3, 10).next()).map(|q| Modulus::new(q).unwrap()).collect()
}

/// Words below `q`, with many at the edges.
fn residues(q: u64) -> impl Strategy<Value = Vec<u64>> {
    let edge =
        prop_oneof![Just(0), Just(1), Just(q / 2), Just(q / 2 + 1), Just(q - 2), Just(q - 1)];
    proptest::collection::vec(prop_oneof![2 => 0..q, 1 => edge], LEN)
}

/// A modulus, three limbs of residues, a residue.
fn operands() -> impl Strategy<Value = (Modulus, [Vec<u64>; 3], u64)> {
    proptest::sample::select(moduli()).prop_flat_map(|m| {
        let q = m.value();
        let limbs = [residues(q), residues(q), residues(q)];
        (Just(m), limbs, prop_oneof![3 => 0..q, 1 => Just(q - 1), 1 => Just(0)])
    })
}

/// Whether `f(isa)` gives the same limb on every instruction set, and for the scalar one `expected`.
fn agree(limb: &[u64], f: impl Fn(Isa, &mut [u64]), expected: impl Fn(usize) -> u128) {
    for isa in Isa::with_models() {
        let mut out = limb.to_vec();
        f(isa, &mut out);
        for (i, &x) in out.iter().enumerate() {
            assert_eq!(u128::from(x), expected(i), "{isa} at {i}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn sums_agree((m, [a, b, _], s) in operands()) {
        let q = u128::from(m.value());
        let [x, y] = [&a, &b].map(|limb| move |i: usize| u128::from(limb[i]));
        agree(&a, |isa, out| super::add_assign(isa, m, out, &b), |i| (x(i) + y(i)) % q);
        agree(&a, |isa, out| super::sub_assign(isa, m, out, &b), |i| (x(i) + q - y(i)) % q);
        agree(&a, |isa, out| super::neg_assign(isa, m, out), |i| (q - x(i)) % q);
        agree(&a, |isa, out| super::add_scalar_assign(isa, m, out, s), |i| (x(i) + u128::from(s)) % q);
    }

    #[test]
    fn products_agree((m, [a, b, c], s) in operands()) {
        let (q, s_wide) = (u128::from(m.value()), u128::from(s));
        let [x, y, z] = [&a, &b, &c].map(|limb| move |i: usize| u128::from(limb[i]));
        agree(&a, |isa, out| super::mul(isa, m, out, &b, &c), |i| y(i) * z(i) % q);
        agree(&a, |isa, out| super::mul_assign(isa, m, out, &b), |i| x(i) * y(i) % q);
        agree(&a, |isa, out| super::mul_add_assign(isa, m, out, &b, &c), |i| (x(i) + y(i) * z(i)) % q);
        agree(&a, |isa, out| super::mul_scalar_assign(isa, m, out, s), |i| x(i) * s_wide % q);
        agree(&a, |isa, out| super::mul_scalar_add_assign(isa, m, out, &b, s), |i| (x(i) + y(i) * s_wide) % q);
        agree(&a, |isa, out| super::sub_from_mul_scalar(isa, m, out, &b, s), |i| (y(i) + q - x(i)) * s_wide % q);
    }

    #[test]
    fn long_sums_agree((m, [a, b, c], s) in operands(), terms in 0..40usize, wide in residues(1 << 50)) {
        let q = u128::from(m.value());
        let cycle: Vec<(&[u64], &[u64])> = [(&a[..], &b[..]), (&b, &c), (&c, &a)].into_iter().cycle().take(terms).collect();
        agree(&a, |isa, out| super::inner_product(isa, m, out, &cycle), |i| {
            cycle.iter().map(|(x, y)| u128::from(x[i]) * u128::from(y[i])).sum::<u128>() % q
        });
        let narrow = [&a, &b, &c].map(|limb| packed(limb, m));
        let terms_of = |[a, b, c]: [&[u64]; 3], [x, y, z]: [&[u64]; 3]| -> Vec<_> {
            [(a, [y, z]), (c, [x, y]), (b, [z, z])].into_iter().cycle().take(terms).map(|(a, b)| (a.to_vec(), b.map(<[u64]>::to_vec))).collect()
        };
        let limbs = [&a[..], &b, &c];
        let (plain, narrow) = (terms_of(limbs, limbs), terms_of(limbs, narrow.each_ref().map(|limb| &limb[..])));
        for (half, fresh) in [(0, true), (1, true), (0, false), (1, false)] {
            let expected = |i: usize| {
                let there = if fresh { 0 } else { u128::from(a[i]) };
                let product = |(x, y): &(Vec<u64>, [Vec<u64>; 2])| u128::from(x[i]) * u128::from(y[half][i]);
                (there + plain.iter().map(product).sum::<u128>()) % q
            };
            let on = |isa, out: &mut [u64], narrowly: bool| {
                let of = if narrowly { &narrow } else { &plain };
                let triples: Vec<(&[u64], [&[u64]; 2])> = of.iter().map(|(a, b)| (&a[..], b.each_ref().map(|b| &b[..]))).collect();
                let mut other = out.to_vec();
                let outs = if half == 0 { [out, &mut other[..]] } else { [&mut other[..], out] };
                if narrowly {
                    super::narrow_products(isa, m, outs, &triples, fresh);
                } else {
                    super::inner_products(isa, m, outs, &triples, fresh);
                }
            };
            agree(&a, |isa, out| on(isa, out, false), expected);
            agree(&a, |isa, out| on(isa, out, true), expected);
            // Left factors of which each word stands for many.
            for times in [2, 4, 8, 32, 64] {
                agree(&a, |isa, out| {
                    let short = |x: &[u64]| x[..LEN / times].to_vec();
                    let left: Vec<Vec<u64>> = plain.iter().map(|(x, _)| short(x)).collect();
                    let triples: Vec<(&[u64], [&[u64]; 2])> = left.iter().zip(&plain).map(|(x, (_, y))| (&x[..], y.each_ref().map(|y| &y[..]))).collect();
                    let mut other = out.to_vec();
                    let outs = if half == 0 { [out, &mut other[..]] } else { [&mut other[..], out] };
                    super::inner_products(isa, m, outs, &triples, fresh);
                }, |i| {
                    let there = if fresh { 0 } else { u128::from(a[i]) };
                    let product = |(x, y): &(Vec<u64>, [Vec<u64>; 2])| u128::from(x[i / times]) * u128::from(y[half][i]);
                    (there + plain.iter().map(product).sum::<u128>()) % q
                });
            }
        }
        let factors: Vec<(&[u64], u64)> = [(&wide[..], s), (&a, m.value() - 1), (&wide, m.value() - 1)].into_iter().cycle().take(terms).collect();
        agree(&a, |isa, out| super::linear_combination(isa, m, out, &factors, 0), |i| {
            factors.iter().map(|(x, y)| u128::from(x[i]) * u128::from(*y)).sum::<u128>() % q
        });
        // The first limb carries a number besides its residues.
        let over: Vec<u64> = (0..wide.len() as u64).map(|i| i % 4096).collect();
        let carrying: Vec<u64> = wide.iter().zip(&over).map(|(x, over)| x | over << 52).collect();
        let carried_factors: Vec<(&[u64], u64)> = factors.iter().enumerate().map(|(k, &(x, s))| (if k == 0 { &carrying[..] } else { x }, s)).collect();
        agree(&a, |isa, out| super::linear_combination(isa, m, out, &carried_factors, s), |i| {
            let all: u128 = factors.iter().enumerate().map(|(k, (x, y))| u128::from(if k == 0 { wide[i] } else { x[i] }) * u128::from(*y)).sum();
            let over = if factors.is_empty() { 0 } else { over[i] };
            (all + u128::from(over) * u128::from(s)) % q
        });

    }

    #[test]
    fn signed_integers_agree((m, [a, b, _], _) in operands()) {
        let q = i128::from(m.value());
        let signed: Vec<i64> = a.iter().zip(&b).map(|(&x, &y)| if y % 2 == 0 { x as i64 } else { -(x as i64) }).collect();
        let limit = m.value().min(1 << 31) as i64;
        let short: Vec<i32> = signed.iter().map(|x| (x % limit) as i32).collect();
        agree(&a, |isa, out| super::lift(isa, m, out, &signed), |i| i128::from(signed[i]).rem_euclid(q) as u128);
        agree(&a, |isa, out| super::lift_short(isa, m, out, &short), |i| i128::from(short[i]).rem_euclid(q) as u128);
    }

    #[test]
    fn narrow_limbs_agree((m, [a, b, _], _) in operands(), more in 0..4u32) {
        let width = m.bits() + more;
        let numbers: Vec<u64> = a.iter().zip(&b).map(|(x, y)| x | (y & ((1 << more) - 1)) << m.bits()).collect();
        for isa in Isa::with_models() {
            let mut packed = vec![u64::MAX; bits::packed_words(LEN, width)];
            super::pack_narrow(isa, &mut packed, &numbers, width);
            for (i, &number) in numbers.iter().enumerate() {
                assert_eq!(bits::entry(&packed, width, i), number, "{isa} at {i}");
            }
        }
    }

    #[test]
    fn accepted_numbers_agree(m in proptest::sample::select(moduli()), groups in 0..40usize, seed: u64) {
        for width in m.bits()..=m.bits() + 3 {
            let (q, largest) = (m.value(), (1 << width) - 1);
            let bound = (1 << width) / q * q;
            // Many at the edges.
            let edges = [0, q - 1, bound - 1, bound.min(largest), largest];
            let number = |i: u64| match (seed ^ i).wrapping_mul(0x9e37_79b9_7f4a_7c15) {
                random if random % 3 == 0 => edges[(random >> 8) as usize % 5],
                random => random >> (64 - width),
            };
            let numbers: Vec<u64> = (0..8 * groups as u64).map(number).collect();
            let mut packed = vec![0; bits::packed_words(numbers.len(), width)];
            bits::pack_words(&numbers, width, &mut packed);
            let expected: Vec<u64> = numbers.iter().filter(|&&x| x < bound).map(|x| x % q).collect();
            for isa in Isa::with_models() {
                let mut out = vec![u64::MAX; numbers.len()];
                let accepted = super::accept(isa, m, &mut out, &packed, width);
                assert_eq!(&out[..accepted], &expected, "{isa}");
            }
        }
    }

    #[test]
    fn gaussian_samples_agree(mut words in proptest::collection::vec(any::<u64>(), LEN)) {
        for (word, &entry) in words.iter_mut().step_by(7).zip(gaussian::TABLE.iter().cycle()) {
            *word = [(entry - 1) << 1, entry << 1, entry << 1 | 1, 0, u64::MAX][*word as usize % 5];
        }
        agree(&words, super::gaussian, |i| u128::from(gaussian::sample(words[i]) as u64));
    }

    #[test]
    fn packed_sums_agree((m, [a, b, c], _) in operands(), terms in 0..4usize) {
        let m = if m.value() > super::LARGEST_PACKED { Modulus::new((1 << 31) - 1).unwrap() } else { m };
        let residues = |limb: &[u64]| -> Vec<u64> { limb.iter().map(|x| x % m.value()).collect() };
        let [a, b, c] = [&a, &b, &c].map(|limb| residues(limb));
        let mut packed = [(); 3].map(|()| vec![0; LEN / 2]);
        for (out, limb) in packed.iter_mut().zip([&a, &b, &c]) {
            let mut specified = out.clone();
            scalar::pack(&mut specified, limb);
            for isa in Isa::with_models() {
                out.fill(0);
                super::pack(isa, out, limb);
                assert_eq!(out, &specified);
            }
            for (i, &x) in limb.iter().enumerate() {
                assert_eq!(specified[i / 8 * 4 + i % 4] >> (i % 8 / 4 * 32) & u64::from(u32::MAX), x);
            }
        }
        let [p, q, r] = &packed;
        let triples: Vec<(&[u64], [&[u64]; 2])> = [(&p[..], [&q[..], &r[..]]), (&r[..], [&p[..], &q[..]])].into_iter().cycle().take(terms).collect();
        let limbs = [(&a, [&b, &c]), (&c, [&a, &b])];
        for half in 0..2 {
            agree(&a, |isa, out| {
                let mut other = a.clone();
                let outs = if half == 0 { [&mut *out, &mut other[..]] } else { [&mut other[..], &mut *out] };
                super::packed_sums(isa, outs, &triples);
                super::reduce_words(isa, m, out);
            }, |i| {
                let products = limbs.iter().cycle().take(terms).map(|(x, y)| u128::from(x[i]) * u128::from(y[half][i]));
                (u128::from(a[i]) + products.sum::<u128>()) % u128::from(m.value())
            });
        }
    }

    #[test]
    fn conversions_agree((m, [a, b, c], _) in operands(), target in proptest::sample::select(moduli())) {
        let (from, to) = (m.value() as i128, i128::from(target.value()));
        agree(&b, |isa, out| super::reduce_centred(isa, m, target, out, &a), |i| {
            let x = i128::from(a[i]);
            let centred = if 2 * x > from { x - from } else { x };
            centred.rem_euclid(to) as u128
        });
        let weight = 1.0 / m.value() as f64;
        let others = [(&a[..], weight), (&c[..], weight)];
        agree(&b, |isa, out| super::carry_rounded_sum(isa, out, weight, &others), |i| {
            let sum = b[i] as f64 * weight + a[i] as f64 * weight + c[i] as f64 * weight;
            u128::from(b[i]) + ((sum + 0.5).floor() as u128) * (1 << 52)
        });
    }
}

/// Lengths below, at and beyond the blocks of the kernels, with the largest residues where sums are longest.
#[test]
fn every_length_agrees() {
    let q = moduli()[0];
    let from = moduli()[1];
    for len in [16, 32, 48, 512, 528, 1 << 12, 1 << 16] {
        let limb =
            |k: u64| -> Vec<u64> { (0..len as u64).map(|i| q.value() - 1 - (i * k) % 7).collect() };
        let (a, b, c) = (limb(0), limb(1), limb(2));
        let other: Vec<u64> = a.iter().map(|x| x % from.value()).collect();
        let pairs = [(&a[..], &b[..]); 13];
        let triples = [(&a[..], [&b[..], &c[..]]); 13];
        let [b_packed, c_packed] = [&b, &c].map(|limb| packed(limb, q));
        let narrow = [(&a[..], [&b_packed[..], &c_packed[..]]); 13];
        let terms = [(&a[..], q.value() - 1); 13];
        let weights = [(&a[..], 1e-15); 13];
        let word = |k: u64| -> Vec<u64> { (0..len as u64).map(|i| u64::MAX - i * k).collect() };
        let (full, half) = (word(1), word(3)[..len / 2].to_vec());
        let packed = [(&half[..], [&half[..], &full[..len / 2]]); 3];
        let repeated = [4, 8, 16].map(|n| [(&half[..len / n], [&half[..], &full[..len / 2]]); 3]);
        let sources: Vec<u32> =
            (0..len as u32 / 8).map(|i| i * 5 % (len as u32 / 8) * 8 + i % 8).collect();
        let lanes = std::array::from_fn(|row| {
            std::array::from_fn(|i| (3 * i as u64 + row as u64) % 4 + (i / 4 + row) as u64 % 2 * 4)
        });
        let short = moduli().into_iter().find(|q| q.value() <= super::LARGEST_PACKED).unwrap();
        let kernels: [Kernel<'_>; 24] = [
            &|isa, out| super::permute(isa, out, &full, &sources, &lanes),
            &|isa, out| super::pack(isa, &mut out[..len / 2], &full),
            &|isa, out| super::packed_sums(isa, [out, &mut full.clone()], &packed),
            &|isa, out| super::packed_sums(isa, [out, &mut full.clone()], &repeated[0]),
            &|isa, out| super::packed_sums(isa, [out, &mut full.clone()], &repeated[1]),
            &|isa, out| super::packed_sums(isa, [out, &mut full.clone()], &repeated[2]),
            &|isa, out| {
                out.copy_from_slice(&full);
                super::reduce_words(isa, short, out)
            },
            &|isa, out| super::add_assign(isa, q, out, &b),
            &|isa, out| super::sub_assign(isa, q, out, &b),
            &|isa, out| super::neg_assign(isa, q, out),
            &|isa, out| super::add_scalar_assign(isa, q, out, 3),
            &|isa, out| super::mul(isa, q, out, &a, &b),
            &|isa, out| super::mul_assign(isa, q, out, &b),
            &|isa, out| super::mul_add_assign(isa, q, out, &a, &b),
            &|isa, out| super::mul_scalar_assign(isa, q, out, q.value() - 1),
            &|isa, out| super::mul_scalar_add_assign(isa, q, out, &b, q.value() - 1),
            &|isa, out| super::sub_from_mul_scalar(isa, q, out, &b, q.value() - 2),
            &|isa, out| super::inner_product(isa, q, out, &pairs),
            &|isa, out| super::inner_products(isa, q, [out, &mut c.clone()], &triples, true),
            &|isa, out| super::inner_products(isa, q, [&mut c.clone(), out], &triples, false),
            &|isa, out| super::narrow_products(isa, q, [out, &mut c.clone()], &narrow, false),
            &|isa, out| super::linear_combination(isa, q, out, &terms, q.value() - 1),
            &|isa, out| super::reduce_centred(isa, from, q, out, &other),
            &|isa, out| {
                out.copy_from_slice(&b);
                super::carry_rounded_sum(isa, out, 0.01, &weights)
            },
        ];
        for (i, kernel) in kernels.into_iter().enumerate() {
            let mut specified = c.clone();
            kernel(Isa::SCALAR, &mut specified);
            for isa in Isa::with_models() {
                let mut out = c.clone();
                kernel(isa, &mut out);
                assert!(out == specified, "kernel {i} on {len} words on {isa}");
            }
        }
    }
}

/// A limb as `narrow_products` takes it.
fn packed(limb: &[u64], q: Modulus) -> Vec<u64> {
    let mut words = vec![0; bits::packed_words(limb.len(), q.bits())];
    bits::pack_words(limb, q.bits(), &mut words);
    words
}

type Kernel<'a> = &'a dyn Fn(Isa, &mut [u64]);
type Transform<'a> = &'a dyn Fn(&NttTable, &mut [u64]);

/// Transforms of what does not stand in place: on the scalar set what their names say, one after the other.
fn transforms_from_elsewhere_agree(tables: &[NttTable], sources: [&[u64]; 2]) {
    let [first, second] = sources;
    let q = tables[0].modulus();
    let from = ntt_primes_below(q.value(), tables[0].log_n()).next().unwrap_or(q.value());
    let centred: Vec<u64> = first.iter().map(|x| x % from).collect();
    let carrying: Vec<u64> = first.iter().zip(second).map(|(x, y)| x | (y % 16) << 52).collect();
    let all = [&carrying, second, first, second, first];
    let terms = all.map(|source| (source, first[7]));
    let origins = (2..=5)
        .map(|count| Origin::Combined(&terms[..count], second[5]))
        .chain([Origin::Centred(Modulus::new(from).unwrap(), &centred)]);
    for (i, origin) in origins.enumerate() {
        for minuend in [None, Some((second, first[3]))] {
            let mut specified = vec![0; first.len()];
            match origin {
                Origin::Centred(from, src) => scalar::reduce_centred(from, q, &mut specified, src),
                Origin::Combined(terms, carried) => {
                    scalar::linear_combination(q, &mut specified, terms, carried);
                }
            }
            match minuend {
                None => tables[0].forward(&mut specified),
                Some((b, s)) => tables[0].forward_sub_from_mul_scalar(&mut specified, b, s),
            }
            for (isa, table) in Isa::with_models().into_iter().zip(tables) {
                let mut out = vec![1; first.len()];
                let ending = minuend.map_or(Ending::Plain, |(b, s)| Ending::From(b, s));
                table.forward_from(isa, &mut out, origin, ending);
                assert!(out == specified, "origin {i} of 2^{} modulo {q:?}", table.log_n());
                if let Some((b, s)) = minuend {
                    let mut into = b.to_vec();
                    table.forward_from(isa, &mut out, origin, Ending::Into(&mut into, s));
                    assert!(into == specified, "origin {i} of 2^{} modulo {q:?}", table.log_n());
                }
            }
        }
    }
}

#[test]
fn transforms_agree_for_every_size_and_worst_inputs() {
    for log_n in 10..=17 {
        let bounds =
            if log_n <= 14 { vec![50, 49, 48, 47, 40, 30, 29, 24] } else { vec![50, 36, 30, 25] };
        for bits in bounds {
            let q = ntt_primes_below(1 << bits, log_n).next().unwrap();
            let tables: Vec<NttTable> = Isa::with_models()
                .into_iter()
                .map(|isa| NttTable::with_isa(q, log_n, isa).unwrap())
                .collect();
            let n = 1u64 << log_n;
            let mixed = |i: u64| (i ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9) % q;
            let inputs: [Vec<u64>; 5] = [
                (0..n).map(mixed).collect(),
                vec![q - 1; n as usize],
                vec![q / 2; n as usize],
                (0..n).map(|i| if i % 2 == 0 { q - 1 } else { 0 }).collect(),
                (0..n).map(|i| if mixed(i) % 2 == 0 { q / 2 } else { q / 2 + 1 }).collect(),
            ];
            for input in inputs {
                let other: Vec<u64> = (0..n).map(|i| mixed(i + 1)).collect();
                let s = mixed(n);
                let transforms: [Transform<'_>; 5] = [
                    &NttTable::forward,
                    &NttTable::inverse,
                    &|table, a| table.forward_sub_from_mul_scalar(a, &other, s),
                    &|table, a| table.inverse_scaled(a, s),
                    &|table, a| table.inverse_from(a, &other, s),
                ];
                for (i, transform) in transforms.into_iter().enumerate() {
                    let mut specified = input.clone();
                    transform(&tables[0], &mut specified);
                    for table in &tables[1..] {
                        let mut out = input.clone();
                        transform(table, &mut out);
                        assert!(out == specified, "transform {i} of 2^{log_n} modulo {q}");
                    }
                }
                if log_n <= 15 {
                    transforms_from_elsewhere_agree(&tables, [&input, &other]);
                }
            }
        }
    }
}
