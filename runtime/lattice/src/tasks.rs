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

/// A run of the tasks of a stage, which one thread has as its own.
///
/// Of every stage a thread has the same part, and takes from the others' when it is done with its own.
struct Queue {
    next: AtomicUsize,
    end: usize,
}

impl Queue {
    fn take(&self) -> Option<usize> {
        let task = self.next.fetch_add(1, Ordering::Relaxed);
        (task < self.end).then_some(task)
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
    /// Returns when some tasks are finished: of an earlier stage, or with lower numbers of the same.
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

/// Calls `task` with every stage, given by the number of its tasks, and the numbers of these, on all threads of the pool.
///
/// A task may wait for those of earlier stages and for those of its own with lower numbers ([`Finished::wait`]). The thread
/// that calls goes through all tasks in this order, and takes what is not taken: whatever it waits for is taken, and so is
/// all that those who took it wait for. For the same reason a task must not share out work itself, by rayon or by this
/// function: a thread that waits inside rayon takes up other work, which could wait for the task below it.
///
/// # Panics
/// If a task does.
pub(crate) fn in_stages(stages: &[usize], task: impl Fn(usize, usize, &Finished) + Sync) {
    let flags = |&count: &usize| (0..count).map(|_| AtomicBool::new(false)).collect();
    let tasks: Vec<Vec<AtomicBool>> = stages.iter().map(flags).collect();
    let finished = Finished { tasks, failed: AtomicBool::new(false) };
    let threads = rayon::current_num_threads().max(1);
    let queues = |&count: &usize| -> Vec<Queue> {
        let at = |thread: usize| thread * count / threads;
        (0..threads).map(|t| Queue { next: AtomicUsize::new(at(t)), end: at(t + 1) }).collect()
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
                in_stages(&vec![places; stages], |stage, i, finished| {
                    let Some(before) = stage.checked_sub(1) else { return };
                    let left = i.saturating_sub(1);
                    // Waited for, whoever has it.
                    finished.wait(stage, i / 7 * 7..i);
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
                let stages = [0, 35, 3];
                let calls = stages.map(|n| (0..n).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>());
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
                    in_stages(&[9, 9], |stage, i, finished| {
                        assert!((stage, i) != (0, 3), "the fourth task fails");
                        (0..stage).for_each(|earlier| finished.wait_all(earlier));
                    });
                }));
                assert!(failed.is_err());
            });
        }
    }
}
