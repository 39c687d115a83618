//! The executor: errors name their place, registers are freed, runs can be watched and stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heplan_ir::ckks::{CtType, Op, Plain};
use heplan_ir::entity::{ConstId, RegId};
use heplan_ir::plan::Plan;
use heplan_ir::scale::Scale;
use heplan_ir::transform::LinearTransform;
use heplan_runtime::backend::{Backend, PlainRef};
use heplan_runtime::clear::{Clear, Slots};
use heplan_runtime::error::{RunError, RunErrorKind};
use heplan_runtime::executor::{Executor, Observer, Step};
use heplan_runtime::profile::Profile;
use heplan_runtime::sim::{Sim, SimError};
use heplan_runtime::simulate::{Noise, simulate};
use heplan_runtime::suite::{self, Case};
use heplan_runtime::typing::TypeError;

fn case(name: &str) -> Case {
    suite::cases().into_iter().find(|c| c.name.starts_with(name)).expect("a case of that name")
}

fn inputs(case: &Case) -> Vec<Vec<Slots>> {
    let backend = Clear::new(&case.plan.parameters);
    let one = |(x, i): (&Vec<f64>, &(_, CtType))| {
        vec![backend.encrypt(x.clone(), i.1.clone()).expect("slots of a case fit")]
    };
    case.inputs.iter().zip(&case.plan.inputs).map(one).collect()
}

fn run(case: &Case) -> Result<Vec<Vec<Slots>>, RunError> {
    Executor::new(&case.plan).run(&Clear::new(&case.plan.parameters), inputs(case), &mut ())
}

#[track_caller]
fn fails(case: &Case, instruction: Option<usize>, text: &str) {
    let error = run(case).expect_err("the plan is broken");
    assert_eq!(error.instruction(), instruction, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let case = case("sums,");
    let backend = Clear::new(&case.plan.parameters);
    let attempt = |inputs| Executor::new(&case.plan).run(&backend, inputs, &mut ()).unwrap_err();
    let good = inputs(&case);
    let error = attempt(good[..1].to_vec());
    assert_eq!(error.to_string(), "1 inputs for a plan of 2");
    let error = attempt(vec![good[0].clone(), Vec::new()]);
    assert_eq!(error.to_string(), "input \"x1\" has 0 ciphertexts, the plan takes 1");
    let mut wrong = good.clone();
    wrong[1][0].ty.level = 1;
    let error = attempt(wrong);
    let text = "input \"x1\" is level 1, scale 2^35, degree 1, the plan takes level 3, \
                scale 2^35, degree 1";
    assert_eq!(error.to_string(), text);
    assert!(matches!(error.kind(), RunErrorKind::Inputs(_)));
}

#[test]
fn a_plan_that_contradicts_itself_is_an_error() {
    let good = case("products with plaintexts");
    let mut bad = good.clone();
    bad.plan.insts[2].op = Op::Rescale { x: RegId::new(77) };
    fails(&bad, Some(2), "register r77 is read but holds nothing");
    let mut bad = good.clone();
    bad.plan.insts[0].frees = bad.plan.insts[0].results.clone();
    bad.plan.insts[0].results = vec![RegId::new(1 << 20)];
    fails(&bad, Some(0), "out of range");
    let mut bad = good.clone();
    bad.plan.insts[1].op = Op::AddPlain { x: RegId::new(0), plain: Plain::Vector(ConstId::new(9)) };
    fails(&bad, Some(1), "is not a vector");
    let mut bad = good.clone();
    bad.plan.insts[1].op = bad.plan.insts[0].op.clone();
    fails(&bad, Some(1), "part 0 of input 0 is missing or loaded twice");
    let mut bad = good.clone();
    bad.plan.outputs[0].2.clear();
    fails(&bad, None, "has 0 registers for 1 ciphertexts");
    let mut bad = good;
    bad.plan.registers = usize::MAX;
    assert!(run(&bad).is_ok(), "registers are not allocated on the plan's word");
}

#[test]
fn a_type_other_than_declared_is_an_error_that_names_the_onnx_node() {
    let mut bad = case("products with plaintexts");
    bad.plan.origins.push("/conv1/Conv".into());
    bad.plan.insts[2].origin = 1;
    bad.plan.insts[2].ty.scale = Scale::pow2(35).mul(&Scale::prime(3));
    let error = run(&bad).unwrap_err();
    assert_eq!(error.origin(), "/conv1/Conv");
    let text = "instruction 2 (rescale of /conv1/Conv): the plan declares level 2, scale \
                2^36.5850, degree 1, the result is level 2, scale 2^35, degree 1";
    assert_eq!(error.to_string(), text);
    let mut bad = case("products with plaintexts");
    bad.plan.outputs[0].1.level = 0;
    assert!(matches!(run(&bad).unwrap_err().kind(), RunErrorKind::Type { .. }));
}

#[test]
fn a_run_can_be_watched_and_stopped() {
    struct Watch<'a>(&'a AtomicBool, usize);
    impl<B: Backend> Observer<B> for Watch<'_> {
        fn before(&mut self, step: Step<'_>) {
            assert_eq!(step.index, self.1);
        }
        fn after(&mut self, step: Step<'_>, results: &[B::Ct], _: Duration) {
            assert_eq!(results.len(), step.inst.results.len());
            self.1 += 1;
            self.0.store(self.1 == 3, Ordering::Relaxed);
        }
    }
    let case = case("network");
    let backend = Clear::new(&case.plan.parameters);
    let (flag, mut profile) = (AtomicBool::new(false), Profile::default());
    let executor = Executor::new(&case.plan).cancel_on(&flag);
    let mut watch = (Watch(&flag, 0), std::mem::take(&mut profile));
    let error = executor.run(&backend, inputs(&case), &mut watch).unwrap_err();
    assert!(matches!(error.kind(), RunErrorKind::Cancelled));
    assert_eq!((error.instruction(), watch.1.total.count), (Some(3), 3));
    assert_eq!(watch.1.by_instruction["linear"].count, 1);
}

/// The clear backend, counting the ciphertexts that are alive.
struct Counting(Clear, Arc<()>);

#[derive(Clone)]
struct Counted(Slots, #[allow(dead_code, reason = "held for its count")] Arc<()>);

impl Counting {
    fn count(&self, x: Slots) -> Counted {
        Counted(x, self.1.clone())
    }
}

impl Backend for Counting {
    type Ct = Counted;
    type Error = TypeError;
    fn ct_type(&self, x: &Counted) -> CtType {
        self.0.ct_type(&x.0)
    }
    fn add(&self, a: &Counted, b: &Counted) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.add(&a.0, &b.0)?))
    }
    fn sub(&self, a: &Counted, b: &Counted) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.sub(&a.0, &b.0)?))
    }
    fn add_plain(&self, x: &Counted, plain: PlainRef<'_>) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.add_plain(&x.0, plain)?))
    }
    fn mul_plain(&self, x: &Counted, p: PlainRef<'_>, s: &Scale) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.mul_plain(&x.0, p, s)?))
    }
    fn mul(&self, a: &Counted, b: &Counted) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.mul(&a.0, &b.0)?))
    }
    fn relinearise(&self, x: &Counted) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.relinearise(&x.0)?))
    }
    fn rescale(&self, x: &Counted) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.rescale(&x.0)?))
    }
    fn mod_down(&self, x: &Counted) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.mod_down(&x.0)?))
    }
    fn bootstrap(&self, x: &Counted, scale: &Scale) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.bootstrap(&x.0, scale)?))
    }
    fn drop_level(&self, x: &Counted, level: usize) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.drop_level(&x.0, level)?))
    }
    fn rotate(&self, x: &Counted, by: u32) -> Result<Counted, TypeError> {
        Ok(self.count(self.0.rotate(&x.0, by)?))
    }
    fn linear(
        &self,
        xs: &[&Counted],
        transform: &Arc<LinearTransform>,
        id: ConstId,
        scales: &[Scale],
    ) -> Result<Vec<Counted>, TypeError> {
        let xs: Vec<&Slots> = xs.iter().map(|x| &x.0).collect();
        let results = self.0.linear(&xs, transform, id, scales)?;
        Ok(results.into_iter().map(|y| self.count(y)).collect())
    }
}

#[test]
fn ciphertexts_are_dropped_as_soon_as_the_plan_frees_them() {
    struct Live(Arc<()>, Vec<usize>);
    impl Observer<Counting> for Live {
        fn before(&mut self, _: Step<'_>) {
            // The backend and this observer hold one count each.
            self.1.push(Arc::strong_count(&self.0) - 2);
        }
    }
    let case = case("network");
    let backend = Counting(Clear::new(&case.plan.parameters), Arc::new(()));
    let mut live = Live(backend.1.clone(), Vec::new());
    let inputs = inputs(&case).into_iter();
    let inputs = inputs.map(|i| i.into_iter().map(|x| backend.count(x)).collect()).collect();
    Executor::new(&case.plan).run(&backend, inputs, &mut live).unwrap();
    assert_eq!(live.1.len(), case.plan.insts.len());
    assert!(live.1.iter().all(|&n| n == 1), "a chain needs one ciphertext at a time: {:?}", live.1);
}

fn sample(case: &Case) -> Vec<Vec<f64>> {
    case.inputs.clone()
}

#[test]
fn simulation_reports_overflow_by_instruction_and_bits() {
    let mut case = case("squares");
    case.inputs[0].iter_mut().for_each(|x| *x = x.signum() * 30_000.0);
    assert!(simulate(&case.plan, &[sample(&case)], Noise::None).is_ok());
    let error = simulate(&case.plan, &[sample(&case)], Noise::Seeded(0)).err().unwrap();
    assert!(error.is_overflow(), "{error}");
    // 30000^4 is 2^59.5; with the scale 2^70 of a product it exceeds the 119 bits of level 2.
    let RunErrorKind::Backend(source) = error.kind() else { panic!("{error}") };
    let Some(SimError::Overflow { value, level, .. }) = source.downcast_ref() else { panic!() };
    assert!((value - 30_000_f64.log2() * 4.0).abs() < 0.01, "{error}");
    assert_eq!(*level, 2);
    case.inputs[0][5] = f64::NAN;
    let error = simulate(&case.plan, &[sample(&case)], Noise::Seeded(0)).unwrap_err();
    assert_eq!(error.to_string(), "a slot holds NaN");
}

#[test]
fn simulation_bounds_complete_sums_and_not_partial_ones() {
    // 49 bits at level 0, with the scale 2^35.
    let parameters = suite::refusals_plan().parameters;
    let sim = Sim::new(&parameters, &[], 0);
    let ty = CtType::new(0, Scale::pow2(35));
    let x = sim.encrypt(vec![3000.0; parameters.width()], ty, 0).unwrap();
    let twice = sim.add(&x, &x).unwrap();
    assert!(matches!(sim.decrypt(&twice), Err(SimError::Overflow { level: 0, .. })));
    let once = sim.decrypt(&sim.sub(&twice, &x).unwrap()).unwrap();
    assert!(once.iter().all(|v| (v - 3000.0).abs() < 1e-3));
}

#[test]
fn simulation_checks_the_tensors_it_is_given() {
    let case = case("squares");
    let error = simulate(&case.plan, &[vec![]], Noise::None).unwrap_err();
    assert_eq!(error.to_string(), "0 tensors for 1 inputs");
    let error = simulate(&case.plan, &[vec![vec![0.0; 3]]], Noise::None).unwrap_err();
    assert_eq!(error.to_string(), "input \"x0\" has 3 elements, the plan takes 4096");
}

#[test]
fn simulation_does_not_depend_on_the_number_of_threads() {
    let case = case("network");
    let samples = vec![sample(&case); 3];
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| simulate(&case.plan, &samples, Noise::Seeded(3)).unwrap())
    };
    let (one, three) = (with(1), with(3));
    assert_eq!(one, three);
    assert_ne!(one[0], one[1], "every encryption has its own noise");
}

#[test]
fn predicted_noise_is_in_units_of_the_output() {
    let mut case = case("network");
    let plain = simulate(&case.plan, &[sample(&case)], Noise::Seeded(3)).unwrap();
    case.plan.outputs[0].0.factor = 8.0;
    let scaled = simulate(&case.plan, &[sample(&case)], Noise::Seeded(3)).unwrap();
    assert_eq!(scaled[0].noise_log2[0], plain[0].noise_log2[0] + 3.0);
    let eight: Vec<f64> = plain[0].outputs[0].iter().map(|y| y * 8.0).collect();
    assert_eq!(scaled[0].outputs[0], eight);
}

#[test]
fn keys_that_the_plan_lacks_are_named() {
    let mut case = case("rotations");
    case.plan.keys.remove(0);
    let sim = Sim::new(&case.plan.parameters, &case.plan.keys, 0);
    let x = sim.encrypt(case.inputs[0].clone(), case.plan.inputs[0].1.clone(), 0).unwrap();
    let error = Executor::new(&case.plan).run(&sim, vec![vec![x]], &mut ()).unwrap_err();
    let text = "instruction 2 (rotate): no rotation by 1 key is in the plan";
    assert_eq!(error.to_string(), text);
    let plan: &Plan = &case.plan;
    assert!(!plan.keys.is_empty());
}
