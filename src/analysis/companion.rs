//! A second model that looks at a sample of the frames, and how much processor time it may take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Model;
use crate::swap::trial::Trial;

/// Longest pause between two samples, however much a run has cost.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Which of the two models a companion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one that was active before, beside the new one on probation: it is the trial's peer.
    Old,
    /// A candidate beside the active model: it is the trial's subject.
    New,
}

/// A second model that looks at a sample of the frames. What it says reaches its trial and nobody else.
#[derive(Debug, Clone)]
pub struct Companion {
    /// The model.
    pub model: Arc<Model>,
    /// Which of the two it is.
    pub role: Role,
    /// Who is told what it does, and how far it agrees with the active model.
    pub trial: Arc<Trial>,
    /// Most processors that it may keep busy, on an average of a few seconds; 0: it does not run.
    pub cpu: f32,
    /// Frames that pass before its first sample.
    pub after: u32,
}

/// Keeps a share of the processors, on the average from each sample to the next: what one has cost is paid for with time
/// before the next one begins, and time in which none ran is not saved up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Processors.
    cpu: f64,
    ready: Option<Instant>,
}

impl Budget {
    pub(super) fn new(cpu: f32) -> Self {
        Self { cpu: f64::from(cpu), ready: None }
    }

    /// Whether a sample may be taken.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.cpu > 0.0 && self.ready.is_none_or(|ready| ready <= now)
    }

    /// Pays for a sample that was taken at `begun`: `cost` is processor time.
    pub(super) fn pay(&mut self, begun: Instant, cost: Duration) {
        let pause = Duration::try_from_secs_f64(cost.as_secs_f64() / self.cpu).unwrap_or(LONGEST_PAUSE);
        let from = self.ready.map_or(begun, |ready| ready.max(begun));
        self.ready = Some(from + pause.min(LONGEST_PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Processor time over a span of a camera with 25 frames a second, for samples that take `wall` on `threads`, and the most
    /// over any five seconds of it.
    fn spent(cpu: f32, wall: Duration, threads: u32, span: Duration) -> (Duration, Duration) {
        let start = Instant::now();
        let mut budget = Budget::new(cpu);
        let (mut now, mut busy_until, mut samples) = (start, start, Vec::new());
        while now < start + span {
            if now >= busy_until && budget.allows(now) {
                busy_until = now + wall;
                budget.pay(now, wall * threads);
                samples.push(now);
            }
            now += MS(40);
        }
        let cost = |from: Instant, to: Instant| {
            samples.iter().filter(|at| (from..to).contains(*at)).count() as u32 * wall * threads
        };
        let window = MS(5000);
        let most = samples.iter().map(|at| cost(*at, *at + window)).max().unwrap_or_default();
        (cost(start, start + span), most)
    }

    #[test]
    fn the_average_keeps_to_the_share_over_any_few_seconds() {
        for (cpu, wall, threads) in [(0.1, 35, 1), (0.25, 100, 2), (0.5, 10, 1), (1.5, 400, 4), (0.01, 200, 1)] {
            let (all, most) = spent(cpu, MS(wall), threads, MS(120_000));
            let one = MS(wall) * threads;
            assert!(all <= MS(120_000).mul_f32(cpu) + one, "{cpu} {wall}: {all:?}");
            assert!(most <= MS(5000).mul_f32(cpu) + one, "{cpu} {wall}: {most:?} in five seconds");
            assert!(
                all + one >= MS(120_000).mul_f32(cpu).mul_f32(0.5).min(MS(120_000 / 40 * wall)),
                "{cpu} {wall}: {all:?}"
            );
        }
    }

    #[test]
    fn idle_time_is_not_saved_up_and_nothing_is_nothing() {
        let start = Instant::now();
        let mut budget = Budget::new(0.5);
        assert!(budget.allows(start));
        budget.pay(start, MS(100));
        assert!(!budget.allows(start + MS(199)) && budget.allows(start + MS(200)));
        let later = start + MS(60_000);
        budget.pay(later, MS(100));
        assert!(!budget.allows(later + MS(199)), "a minute without samples buys none");
        for none in [0.0, -1.0, f32::NAN] {
            assert!(!Budget::new(none).allows(start));
        }
        let mut tiny = Budget::new(1e-30);
        tiny.pay(start, MS(1));
        assert!(!tiny.allows(start + MS(1)));
        let mut all = Budget::new(f32::INFINITY);
        all.pay(start, MS(1000));
        assert!(all.allows(start));
    }
}
