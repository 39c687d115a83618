//! A plan as messages.

use std::collections::BTreeMap;

use super::message as m;
use crate::bootstrap::Bootstrap;
use crate::ckks::{CtType, Op, Plain};
use crate::entity::RegId;
use crate::features::Features;
use crate::plan::{Inst, KeyKind, Plan};
use crate::scale::Scale;
use crate::slots::Port;
use crate::tail::Answer;

/// The tables of distinct scales and types, in the order of their first use.
#[derive(Default)]
struct Tables {
    scales: Vec<m::Scale>,
    scale_index: BTreeMap<Scale, u32>,
    types: Vec<m::Type>,
    type_index: BTreeMap<(u32, u32, u32, bool), u32>,
}

impl Tables {
    fn scale(&mut self, scale: &Scale) -> u32 {
        if let Some(&i) = self.scale_index.get(scale) {
            return i;
        }
        let (exponent, powers) = scale.parts();
        let i = small(self.scales.len());
        self.scales.push(m::Scale {
            exponent,
            primes: powers.iter().map(|p| p.0).collect(),
            powers: powers.iter().map(|p| p.1).collect(),
        });
        self.scale_index.insert(scale.clone(), i);
        i
    }

    fn ty(&mut self, ty: &CtType) -> u32 {
        let key = (small(ty.level), self.scale(&ty.scale), u32::from(ty.degree), ty.extended);
        if let Some(&i) = self.type_index.get(&key) {
            return i;
        }
        let i = small(self.types.len());
        self.types.push(m::Type { level: key.0, scale: key.1, degree: key.2, extended: key.3 });
        self.type_index.insert(key, i);
        i
    }

    fn port(&mut self, port: &Port, ty: &CtType, registers: &[RegId]) -> m::Port {
        let layout = &port.layout;
        m::Port {
            name: port.name.clone(),
            shape: port.shape.iter().map(|&d| d as u64).collect(),
            sizes: layout.axes.iter().map(|a| a.size as u64).collect(),
            strides: layout.axes.iter().map(|a| a.stride as u64).collect(),
            offset: layout.offset as u64,
            period: layout.period as u64,
            width: layout.width as u64,
            factor: port.factor,
            low: port.range.0,
            high: port.range.1,
            ty: self.ty(ty),
            registers: regs(registers),
            halvings: port.compact.rotations,
            conjugate: port.compact.conjugate,
        }
    }

    fn inst(&mut self, inst: &Inst) -> m::Inst {
        m::Inst {
            op: Some(self.op(&inst.op)),
            results: regs(&inst.results),
            ty: self.ty(&inst.ty),
            frees: regs(&inst.frees),
            origin: inst.origin,
        }
    }

    fn op(&mut self, op: &Op<RegId>) -> m::Op {
        let binary = |a: &RegId, b: &RegId| m::Binary { a: reg(*a), b: reg(*b) };
        match op {
            Op::Input { input, part } => m::Op::Input(m::Input { input: *input, part: *part }),
            Op::Linear { xs, transform, scales } => m::Op::Linear(m::Linear {
                xs: regs(xs),
                transform: small(transform.index()),
                scales: scales.iter().map(|s| self.scale(s)).collect(),
            }),
            Op::Rotate { x, by } => m::Op::Rotate(m::Unary { x: reg(*x), number: *by }),
            Op::RotateAdd { x, by, y } => {
                m::Op::RotateAdd(m::RotateAdd { x: reg(*x), by: *by, y: reg(*y) })
            }
            Op::Add { a, b } => m::Op::Add(binary(a, b)),
            Op::Sub { a, b } => m::Op::Sub(binary(a, b)),
            Op::AddPlain { x, plain } => m::Op::AddPlain(plaintext(*x, *plain, None)),
            Op::MulPlain { x, plain, scale } => {
                m::Op::MulPlain(plaintext(*x, *plain, Some(self.scale(scale))))
            }
            Op::Mul { a, b } => m::Op::Mul(binary(a, b)),
            Op::Relinearise { x } => m::Op::Relinearise(reg(*x)),
            Op::Rescale { x } => m::Op::Rescale(reg(*x)),
            Op::ModDown { x } => m::Op::ModDown(reg(*x)),
            Op::DropLevel { x, level } => {
                m::Op::DropLevel(m::Unary { x: reg(*x), number: small(*level) })
            }
            Op::Bootstrap { x, scale } => {
                m::Op::Bootstrap(m::Unary { x: reg(*x), number: self.scale(scale) })
            }
        }
    }
}

pub(super) fn plan(plan: &Plan) -> m::Plan {
    let mut tables = Tables::default();
    let inputs = plan.inputs.iter().map(|(p, t)| tables.port(p, t, &[])).collect();
    let outputs = plan.outputs.iter().map(|(p, t, r)| tables.port(p, t, r)).collect();
    let insts = plan.insts.iter().map(|i| tables.inst(i)).collect();
    let literal = plan.parameters.literal();
    let keys = plan.keys.iter().map(|k| m::Key {
        rotate: match k.kind {
            KeyKind::Rotate(by) => Some(by),
            _ => None,
        },
        level: small(k.level),
        other: match k.kind {
            KeyKind::Relinearise | KeyKind::Rotate(_) => None,
            KeyKind::Conjugate => Some(1),
            KeyKind::ToSparse => Some(2),
            KeyKind::FromSparse => Some(3),
        },
    });
    m::Plan {
        name: plan.name.clone(),
        parameters: Some(m::Parameters {
            log_n: literal.log_n,
            q: literal.q.clone(),
            p: literal.p.clone(),
            digit_size: small(literal.digit_size),
            batch: (plan.parameters.batch() != 1).then(|| small(plan.parameters.batch())),
            bootstrap: plan.parameters.bootstrap().map(bootstrap),
        }),
        keys: keys.collect(),
        scales: tables.scales,
        types: tables.types,
        inputs,
        outputs,
        insts,
        registers: small(plan.registers),
        origins: plan.origins.clone(),
        precision_bits: plan.precision_bits,
        answers: plan.answers.iter().map(Answer::to_text).collect(),
        features: plan.features.iter().map(Features::to_text).collect(),
        hashes: plan.consts.iter().flat_map(|(id, _)| plan.consts.hash(id).0).collect(),
    }
}

fn bootstrap(b: &Bootstrap) -> m::Bootstrap {
    m::Bootstrap {
        output_level: small(b.output_level),
        slots_to_coefficients: small(b.slots_to_coefficients),
        degree: small(b.degree),
        double_angles: small(b.double_angles),
        range: small(b.range),
        coefficients_to_slots: small(b.coefficients_to_slots),
        baby_steps: small(b.baby_steps),
    }
}

fn plaintext(x: RegId, plain: Plain, scale: Option<u32>) -> m::Plain {
    let (scalar, vector) = match plain {
        Plain::Scalar(v) => (Some(v), None),
        Plain::Vector(id) => (None, Some(small(id.index()))),
    };
    m::Plain { x: reg(x), scalar, vector, scale }
}

fn reg(r: RegId) -> u32 {
    small(r.index())
}

fn regs(list: &[RegId]) -> Vec<u32> {
    list.iter().map(|&r| reg(r)).collect()
}

/// Indices, levels and counts are below 2^32 in anything that fits in memory; a number beyond that
/// saturates and is refused by the reader.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
