//! Messages as a plan, with every number checked that the verifier relies on.

use super::{PlanError, message as m};
use crate::bootstrap::Bootstrap;
use crate::ckks::{CtType, Op, Plain};
use crate::constants::{ConstPool, ContentHash};
use crate::entity::{ConstId, RegId};
use crate::features::Features;
use crate::layout::{Axis, Layout};
use crate::parameters::{Parameters, ParametersLiteral};
use crate::plan::{Inst, KeyKind, KeySpec, Plan};
use crate::scale::Scale;
use crate::slots::{Compact, Port};
use crate::tail::Answer;

pub(super) fn hashes(message: &m::Plan) -> Result<Vec<ContentHash>, PlanError> {
    let (hashes, rest) = message.hashes.as_chunks::<32>();
    if !rest.is_empty() {
        let found = message.hashes.len() as u64;
        return Err(PlanError::Number { what: "the length of the constants' hashes", found });
    }
    Ok(hashes.iter().map(|h| ContentHash(*h)).collect())
}

pub(super) fn parameters(message: &m::Plan) -> Result<Parameters, PlanError> {
    let found = message.parameters.as_ref().ok_or(PlanError::Missing("the parameter set"))?;
    let literal = ParametersLiteral {
        log_n: found.log_n,
        q: found.q.clone(),
        p: found.p.clone(),
        digit_size: found.digit_size as usize,
    };
    let set = Parameters::new(literal)?.with_batch(found.batch.map_or(1, |b| b as usize))?;
    Ok(match &found.bootstrap {
        Some(found) => set.with_bootstrap(bootstrap(found))?,
        None => set,
    })
}

fn bootstrap(found: &m::Bootstrap) -> Bootstrap {
    Bootstrap {
        output_level: found.output_level as usize,
        slots_to_coefficients: found.slots_to_coefficients as usize,
        degree: found.degree as usize,
        double_angles: found.double_angles as usize,
        range: found.range as usize,
        coefficients_to_slots: found.coefficients_to_slots as usize,
        baby_steps: found.baby_steps as usize,
    }
}

fn key(k: &m::Key) -> Result<KeySpec, PlanError> {
    let kind = match (k.rotate, k.other) {
        (None, None) => KeyKind::Relinearise,
        (Some(by), None) => KeyKind::Rotate(by),
        (None, Some(1)) => KeyKind::Conjugate,
        (None, Some(2)) => KeyKind::ToSparse,
        (None, Some(3)) => KeyKind::FromSparse,
        (_, Some(found)) => {
            return Err(PlanError::Number { what: "the kind of a key", found: found.into() });
        }
    };
    Ok(KeySpec { kind, level: k.level as usize })
}

/// The tables that instructions and ports index.
struct Tables {
    scales: Vec<Scale>,
    types: Vec<CtType>,
}

pub(super) fn plan(
    message: m::Plan,
    parameters: Parameters,
    consts: ConstPool,
) -> Result<Plan, PlanError> {
    let scales = message.scales.iter().map(|s| scale(s, &parameters)).collect::<Result<_, _>>()?;
    let mut tables = Tables { scales, types: Vec::new() };
    for t in &message.types {
        let degree = u8::try_from(t.degree)
            .map_err(|_| PlanError::Number { what: "a degree", found: t.degree.into() })?;
        let scale = tables.scale(t.scale)?;
        tables.types.push(CtType { level: t.level as usize, scale, degree, extended: t.extended });
    }
    let keys = message.keys.iter().map(key).collect::<Result<_, _>>()?;
    let inputs = message.inputs.into_iter().map(|p| {
        let (port, ty, _) = tables.port(p)?;
        Ok((port, ty))
    });
    let inputs = inputs.collect::<Result<_, PlanError>>()?;
    let outputs = message.outputs.into_iter().map(|p| tables.port(p)).collect::<Result<_, _>>()?;
    let insts = message.insts.into_iter().map(|i| tables.inst(i)).collect::<Result<_, _>>()?;
    let answer = |text: &String| Answer::from_text(text).map_err(PlanError::Answer);
    let answers = message.answers.iter().map(answer).collect::<Result<_, _>>()?;
    let features = |text: &String| Features::from_text(text).map_err(PlanError::Features);
    let features = message.features.iter().map(features).collect::<Result<_, _>>()?;
    Ok(Plan {
        name: message.name,
        parameters,
        keys,
        insts,
        registers: message.registers as usize,
        inputs,
        outputs,
        consts,
        origins: message.origins,
        precision_bits: message.precision_bits,
        answers,
        features,
    })
}

/// A scale whose primes are of the chain and whose powers are small enough that sums of a few of
/// them do not overflow.
fn scale(found: &m::Scale, parameters: &Parameters) -> Result<Scale, PlanError> {
    let powers: Vec<(u64, i32)> =
        found.primes.iter().copied().zip(found.powers.iter().copied()).collect();
    if found.primes.len() != found.powers.len() {
        let found = found.powers.len() as u64;
        return Err(PlanError::Number { what: "the number of a scale's powers", found });
    }
    crate::scale::checked(found.exponent, &powers, parameters)
        .ok_or(PlanError::Number { what: "a scale's number of primes", found: powers.len() as u64 })
}

impl Tables {
    fn scale(&self, index: u32) -> Result<Scale, PlanError> {
        let found = || PlanError::Number { what: "the index of a scale", found: index.into() };
        self.scales.get(index as usize).cloned().ok_or_else(found)
    }

    fn ty(&self, index: u32) -> Result<CtType, PlanError> {
        let found = || PlanError::Number { what: "the index of a type", found: index.into() };
        self.types.get(index as usize).cloned().ok_or_else(found)
    }

    fn port(&self, p: m::Port) -> Result<(Port, CtType, Vec<RegId>), PlanError> {
        let number = |what| move |found| size(found).ok_or(PlanError::Number { what, found });
        if p.sizes.len() != p.strides.len() {
            let found = p.strides.len() as u64;
            return Err(PlanError::Number { what: "the number of strides", found });
        }
        let axis = |(size, stride): (u64, u64)| {
            Ok(Axis { size: number("a size")(size)?, stride: number("a stride")(stride)? })
        };
        let axes =
            p.sizes.into_iter().zip(p.strides).map(axis).collect::<Result<_, PlanError>>()?;
        let layout = Layout {
            axes,
            offset: number("an offset")(p.offset)?,
            period: number("a period")(p.period)?,
            width: number("a width")(p.width)?,
        };
        let shape = p.shape.into_iter().map(number("a dimension")).collect::<Result<_, _>>()?;
        let range = (p.low, p.high);
        let compact = Compact { rotations: p.halvings, conjugate: p.conjugate };
        let port = Port { name: p.name, shape, layout, factor: p.factor, range, compact };
        Ok((port, self.ty(p.ty)?, regs(p.registers)))
    }

    fn inst(&self, inst: m::Inst) -> Result<Inst, PlanError> {
        Ok(Inst {
            op: self.op(inst.op.ok_or(PlanError::Missing("an operation"))?)?,
            results: regs(inst.results),
            ty: self.ty(inst.ty)?,
            frees: regs(inst.frees),
            origin: inst.origin,
        })
    }

    fn op(&self, op: m::Op) -> Result<Op<RegId>, PlanError> {
        Ok(match op {
            m::Op::Input(i) => Op::Input { input: i.input, part: i.part },
            m::Op::Linear(l) => Op::Linear {
                xs: regs(l.xs),
                transform: ConstId::new(l.transform as usize),
                scales: l.scales.into_iter().map(|s| self.scale(s)).collect::<Result<_, _>>()?,
            },
            m::Op::Rotate(u) => Op::Rotate { x: reg(u.x), by: u.number },
            m::Op::RotateAdd(r) => Op::RotateAdd { x: reg(r.x), by: r.by, y: reg(r.y) },
            m::Op::Add(b) => Op::Add { a: reg(b.a), b: reg(b.b) },
            m::Op::Sub(b) => Op::Sub { a: reg(b.a), b: reg(b.b) },
            m::Op::AddPlain(p) => Op::AddPlain { x: reg(p.x), plain: plaintext(&p)? },
            m::Op::MulPlain(p) => Op::MulPlain {
                x: reg(p.x),
                plain: plaintext(&p)?,
                scale: self.scale(p.scale.ok_or(PlanError::Missing("the scale of a factor"))?)?,
            },
            m::Op::Mul(b) => Op::Mul { a: reg(b.a), b: reg(b.b) },
            m::Op::Relinearise(x) => Op::Relinearise { x: reg(x) },
            m::Op::Rescale(x) => Op::Rescale { x: reg(x) },
            m::Op::ModDown(x) => Op::ModDown { x: reg(x) },
            m::Op::DropLevel(u) => Op::DropLevel { x: reg(u.x), level: u.number as usize },
            m::Op::Bootstrap(u) => Op::Bootstrap { x: reg(u.x), scale: self.scale(u.number)? },
        })
    }
}

fn plaintext(p: &m::Plain) -> Result<Plain, PlanError> {
    let vector = p.vector.map(|i| Plain::Vector(ConstId::new(i as usize)));
    p.scalar.map(Plain::Scalar).or(vector).ok_or(PlanError::Missing("a plaintext"))
}

fn reg(r: u32) -> RegId {
    RegId::new(r as usize)
}

fn regs(list: Vec<u32>) -> Vec<RegId> {
    list.into_iter().map(reg).collect()
}

fn size(n: u64) -> Option<usize> {
    usize::try_from(n).ok()
}
