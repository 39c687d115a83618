//! Stages of tasks without barriers: a thread that finds no more of a stage begins the next.
//!
//! Behind barriers a thread waits for the other's last limb, at every stage, long enough to fall asleep, and a key switch
//! has five stages of few limbs. Here a task names those that it reads from, and what can be done in the meantime is done.
//! What the tasks of several stages do at one prime is one thread's where possible: its caches have it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Looks at an unfinished task before the processor is offered to others.
const SPINS: u32 = 1 << 10;

/// Why no lock that only tasks take is ever poisoned.
pub(crate) const NO_PANIC: &str = "a task that panics ends them all";

/// `rounds` tasks at each of `places`; number `i` is at place `i % places`.
///
/// Places are limbs, say, or halves: every thread has a run of them as its own, in every stage the same part, and takes
/// from the others' when it is done with its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage {
    pub(crate) places: usize,
    pub(crate) rounds: usize,
}

impl Stage {
    /// One task at every place.
    pub(crate) const fn of(places: usize) -> Self {
        Self { places, rounds: 1 }
    }
}

/// The tasks of a stage at a run of places, round after round.
struct Queue {
    taken: AtomicUsize,
    run: Range<usize>,
    stage: Stage,
}

impl Queue {
    fn take(&self) -> Option<usize> {
        let k = self.taken.fetch_add(1, Ordering::Relaxed);
        let here = self.run.len();
        (k < here * self.stage.rounds)
            .then(|| k / here * self.stage.places + self.run.start + k % here)
    }
}

/// Which tasks are finished.
pub(crate) struct Finished {
    /// Per stage and task.
    tasks: Vec<Vec<AtomicBool>>,
    /// A task has panicked: whatever waits for it never sees it finished.
    failed: AtomicBool,
}

impl Finished {
    /// Returns when some tasks of an earlier stage are finished.
    ///
    /// # Panics
    /// If a task has panicked.
    pub(crate) fn wait(&self, stage: usize, tasks: Range<usize>) {
        for task in &self.tasks[stage][tasks] {
            let mut looks = 0u32;
            while !task.load(Ordering::Acquire) {
                assert!(
                    !self.failed.load(Ordering::Relaxed),
                    "a task that others wait for panicked"
                );
                looks = looks.saturating_add(1);
                if looks < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
            }
        }
    }

    /// Returns when a whole earlier stage is finished.
    ///
    /// # Panics
    /// If a task has panicked.
    pub(crate) fn wait_all(&self, stage: usize) {
        self.wait(stage, 0..self.tasks[stage].len());
    }
}

/// Marks the failure of a task, unless it is forgotten.
struct Failure<'a>(&'a AtomicBool);

impl Drop for Failure<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Calls `task` with every stage and the numbers of its tasks, on all threads of the pool.
///
/// A task may wait for tasks of earlier stages ([`Finished::wait`]): all of those were taken before any of its own stage,
/// by threads that are at them. For the same reason it must not share out work itself, by rayon or by this function: a
/// thread that waits inside rayon takes up other work, which could wait for the task below it.
///
/// # Panics
/// If a task does.
pub(crate) fn in_stages(stages: &[Stage], task: impl Fn(usize, usize, &Finished) + Sync) {
    let flags = |s: &Stage| (0..s.places * s.rounds).map(|_| AtomicBool::new(false)).collect();
    let tasks: Vec<Vec<AtomicBool>> = stages.iter().map(flags).collect();
    let finished = Finished { tasks, failed: AtomicBool::new(false) };
    let threads = rayon::current_num_threads().max(1);
    let queues = |&stage: &Stage| -> Vec<Queue> {
        let at = |thread: usize| thread * stage.places / threads;
        let queue = |t| Queue { taken: AtomicUsize::new(0), run: at(t)..at(t + 1), stage };
        (0..threads).map(queue).collect()
    };
    let queues: Vec<Vec<Queue>> = stages.iter().map(queues).collect();
    let run = |thread: usize| {
        for (stage, queues) in queues.iter().enumerate() {
            let (others, own) = queues.split_at(thread);
            for queue in own.iter().chain(others) {
                while let Some(i) = queue.take() {
                    let failure = Failure(&finished.failed);
                    task(stage, i, &finished);
                    std::mem::forget(failure);
                    finished.tasks[stage][i].store(true, Ordering::Release);
                }
            }
        }
    };
    if threads == 1 {
        return run(0);
    }
    rayon::scope(|scope| {
        let run = &run;
        (1..threads).for_each(|thread| scope.spawn(move |_| run(thread)));
        run(0);
    });
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex;

    use super::*;

    fn with_threads(threads: usize, run: impl FnOnce() + Send) {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
    }

    #[test]
    fn tasks_see_what_those_they_wait_for_wrote() {
        for threads in [1, 2, 5] {
            with_threads(threads, || {
                // Each stage sums neighbours of the one before.
                let (stages, places) = (20, 37);
                let values: Vec<Mutex<u64>> = (0..stages * places).map(|_| Mutex::new(1)).collect();
                let value = |stage: usize, i: usize| *values[stage * places + i].lock().unwrap();
                in_stages(&vec![Stage::of(places); stages], |stage, i, finished| {
                    let Some(before) = stage.checked_sub(1) else { return };
                    let left = i.saturating_sub(1);
                    finished.wait(before, left..i + 1);
                    let sum = value(before, left) + value(before, i);
                    *values[stage * places + i].lock().unwrap() = sum;
                });
                for i in 0..places {
                    assert_eq!(value(stages - 1, i), 1 << (stages - 1));
                }
            });
        }
    }

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 8] {
            with_threads(threads, || {
                in_stages(&[], |_, _, _| panic!("there is no task"));
                let stages = [Stage::of(0), Stage { places: 5, rounds: 7 }, Stage::of(3)];
                let calls: Vec<Vec<AtomicUsize>> = stages
                    .iter()
                    .map(|s| (0..s.places * s.rounds).map(|_| AtomicUsize::new(0)).collect())
                    .collect();
                in_stages(&stages, |stage, i, finished| {
                    (0..stage).for_each(|earlier| finished.wait_all(earlier));
                    calls[stage][i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().flatten().all(|c| c.load(Ordering::Relaxed) == 1));
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_those_that_wait() {
        for threads in [1, 2, 4] {
            with_threads(threads, || {
                let failed = catch_unwind(AssertUnwindSafe(|| {
                    in_stages(&[Stage::of(9), Stage::of(9)], |stage, i, finished| {
                        assert!((stage, i) != (0, 3), "the fourth task fails");
                        (0..stage).for_each(|earlier| finished.wait_all(earlier));
                    });
                }));
                assert!(failed.is_err());
            });
        }
    }
}
