//! Which time counts, and how often something is repeated.
//!
//! On one thread the processor time of the process counts, which neighbours on the machine disturb least; on several
//! threads the time on the wall, since that is what several threads are for.

use std::time::{Duration, Instant};

/// A batch of repetitions shorter than this is not timed by itself: reading the clock would show.
const LEAST_BATCH: Duration = Duration::from_micros(200);
/// How often something is timed at least, if that does not take several budgets.
const LEAST_TIMINGS: usize = 5;
/// How many budgets the least number of timings may take.
const PATIENCE: u32 = 4;
/// How often something is timed at most.
const MOST_TIMINGS: usize = 10_000;

/// A clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Processor time of all threads of this process; the time on the wall where the system does not tell.
    Process,
    /// Time on the wall.
    Wall,
}

impl Clock {
    /// The clock that counts for work on so many threads.
    pub const fn of_threads(threads: usize) -> Self {
        if threads > 1 { Self::Wall } else { Self::Process }
    }

    /// `process` or `wall`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Wall => "wall",
        }
    }

    /// How long `work` takes.
    pub fn time<T>(self, work: impl FnOnce() -> T) -> (T, Duration) {
        let started = Instant::now();
        let before = self.process();
        let result = work();
        let taken = match (before, self.process()) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            _ => started.elapsed(),
        };
        (result, taken)
    }

    #[cfg(unix)]
    fn process(self) -> Option<Duration> {
        if self == Self::Wall {
            return None;
        }
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(time).ok()
    }

    #[cfg(not(unix))]
    fn process(self) -> Option<Duration> {
        None
    }
}

/// How long one measurement may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Duration);

/// What repeating something told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The median of one repetition, in seconds.
    pub seconds: f64,
    /// How often it was timed.
    pub timings: usize,
}

impl Budget {
    /// The median time of `work` after a first run that does not count.
    ///
    /// # Errors
    /// The first error of `work`.
    pub fn median<E>(
        self,
        clock: Clock,
        work: &mut dyn FnMut() -> Result<(), E>,
    ) -> Result<Timing, E> {
        work()?;
        let once = Instant::now();
        work()?;
        let batch = LEAST_BATCH.as_nanos() / once.elapsed().as_nanos().max(1) + 1;
        let batch = u32::try_from(batch).unwrap_or(u32::MAX);
        let started = Instant::now();
        let mut times: Vec<Duration> = Vec::new();
        while times.is_empty() || self.goes_on(started.elapsed(), times.len()) {
            let (done, time) = clock.time(|| (0..batch).try_for_each(|_| work()));
            done?;
            times.push(time / batch);
        }
        times.sort_unstable();
        Ok(Timing { seconds: times[times.len() / 2].as_secs_f64(), timings: times.len() })
    }

    fn goes_on(self, spent: Duration, timings: usize) -> bool {
        let within = if timings < LEAST_TIMINGS { self.0 * PATIENCE } else { self.0 };
        spent < within && timings < MOST_TIMINGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_takes_time_on_the_wall_only() {
        let nap = Duration::from_millis(20);
        assert!(Clock::Wall.time(|| std::thread::sleep(nap)).1 >= nap);
        if cfg!(unix) {
            let (sum, busy) =
                Clock::Process.time(|| (0..200_000u64).fold(1, |a, b| a ^ (a << 3) ^ b));
            assert!(sum > 0 && busy > Duration::ZERO);
        }
    }

    #[test]
    fn a_budget_is_spent_and_hardly_exceeded() {
        let mut runs = 0;
        let mut work = || {
            runs += 1;
            std::thread::sleep(Duration::from_millis(2));
            Ok::<(), ()>(())
        };
        let timing = Budget(Duration::from_millis(1)).median(Clock::Wall, &mut work);
        let timing = timing.expect("nothing fails");
        assert!(timing.seconds >= 0.002 && timing.timings <= 2, "{timing:?}");
        assert!(runs <= 4, "{runs}");
    }
}
