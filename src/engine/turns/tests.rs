use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;
const US: fn(u64) -> Duration = Duration::from_micros;
const SECOND: Duration = Duration::from_secs(1);

/// A camera in a simulation.
#[derive(Clone)]
struct Camera {
    period: Duration,
    phase: Duration,
    /// Frames come up to this much late.
    jitter: Duration,
    weight: u32,
    cost: u32,
    /// When it is there.
    from: Duration,
    to: Duration,
    /// Frames that may be under way.
    most: usize,
}

impl Camera {
    fn of(fps: u64) -> Self {
        let (period, from, to) = (SECOND / fps as u32, Duration::ZERO, Duration::MAX);
        Self { period, phase: Duration::ZERO, jitter: Duration::ZERO, weight: 1, cost: 1, from, to, most: 3 }
    }
}

/// An engine in a simulation.
#[derive(Clone)]
struct Bench {
    lanes: usize,
    run: Duration,
    /// Runs take up to this much longer.
    spread: Duration,
    /// Pre-processing, between being let in and waiting for a lane.
    pre: Duration,
    /// Lanes do not end their runs between these times.
    hung: Option<(Duration, Duration)>,
    length: Duration,
}

impl Bench {
    fn new(lanes: usize, run: Duration) -> Self {
        Self { lanes, run, spread: Duration::ZERO, pre: US(500), hung: None, length: 20 * SECOND }
    }

    /// Runs per second that it can do.
    fn capacity(&self) -> f64 {
        self.lanes as f64 / (self.run + self.spread / 2).as_secs_f64()
    }
}

/// What has happened in a simulation.
#[derive(Default)]
struct Seen {
    /// When each camera's frames were let in.
    let_in: Vec<Vec<Duration>>,
    refused: Vec<Vec<Duration>>,
    /// How long each frame has waited for a lane since it came.
    waits: Vec<Duration>,
    /// When a lane had nothing to do, from and to.
    idle: Vec<(Duration, Duration)>,
    depth: usize,
    most_depth: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done(usize),
    Ready(usize),
    Come(usize, u64),
}

/// Pseudo-random numbers, the same ones in each run.
struct Random(u64);

impl Random {
    fn up_to(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        most.mul_f64((self.0 >> 33) as f64 / f64::from(1_u32 << 31))
    }
}

fn simulate(bench: &Bench, cameras: &[Camera]) -> Seen {
    let start = Instant::now();
    let mut turns = Turns::new(bench.lanes);
    let mut random = Random(7);
    let mut seen = Seen { let_in: vec![Vec::new(); cameras.len()], ..Seen::default() };
    seen.refused = seen.let_in.clone();
    let mut events = BinaryHeap::new();
    for (i, camera) in cameras.iter().enumerate() {
        events.push(Reverse((camera.from + camera.phase, Event::Come(i, 0))));
    }
    let mut frames: Vec<(usize, Number, Duration)> = Vec::new();
    let mut queue: VecDeque<usize> = VecDeque::new();
    let mut under_way = vec![0; cameras.len()];
    // What each lane does: a camera's frame, or nothing since some time.
    let mut lanes: Vec<Result<usize, Duration>> = vec![Err(Duration::ZERO); bench.lanes];
    while let Some(Reverse((now, event))) = events.pop() {
        if now > bench.length {
            break;
        }
        match event {
            Event::Come(i, n) => {
                let camera = &cameras[i];
                if now >= camera.to {
                    continue;
                }
                let next = camera.from + camera.phase + camera.period * (n + 1) as u32 + random.up_to(camera.jitter);
                events.push(Reverse((next.max(now), Event::Come(i, n + 1))));
                if under_way[i] >= camera.most {
                    continue;
                }
                let ask = Ask { user: i, weight: camera.weight, cost: camera.cost };
                match turns.ask(ask, start + now) {
                    Some(number) => {
                        seen.let_in[i].push(now);
                        under_way[i] += 1;
                        frames.push((i, number, now));
                        events.push(Reverse((now + bench.pre, Event::Ready(frames.len() - 1))));
                    }
                    None => seen.refused[i].push(now),
                }
            }
            Event::Ready(frame) => queue.push_back(frame),
            Event::Done(lane) => {
                let Ok(frame) = lanes[lane] else { unreachable!("it was busy") };
                under_way[frames[frame].0] -= 1;
                turns.ran(frames[frame].0, bench.run, start + now);
                lanes[lane] = Err(now);
                if queue.is_empty() {
                    turns.idle();
                }
            }
        }
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Err(since) = *lane else { continue };
            let Some(frame) = queue.pop_front() else { continue };
            if since < now {
                seen.idle.push((since, now));
            }
            let (camera, turn, came) = frames[frame];
            turns.taken(turn);
            seen.waits.push(now - came);
            let run = (bench.run + random.up_to(bench.spread)) * cameras[camera].cost;
            let end = match bench.hung {
                Some((from, to)) if now < to && now + run > from => to + run,
                _ => now + run,
            };
            *lane = Ok(frame);
            events.push(Reverse((end, Event::Done(number))));
        }
        seen.most_depth = seen.most_depth.max(turns.depth);
    }
    seen.depth = turns.depth;
    seen
}

impl Seen {
    /// Frames of camera `i` in a span.
    fn count(&self, i: usize, from: Duration, to: Duration) -> usize {
        self.let_in[i].iter().filter(|at| (from..to).contains(*at)).count()
    }

    fn all(&self, from: Duration, to: Duration) -> usize {
        (0..self.let_in.len()).map(|i| self.count(i, from, to)).sum()
    }

    fn longest_wait(&self) -> Duration {
        self.waits.iter().max().copied().unwrap_or_default()
    }

    /// The most by which a camera differs from the mean of all in any second between the two times.
    fn spread(&self, from: Duration, to: Duration) -> f64 {
        let mut most = 0.0_f64;
        let mut at = from;
        while at + SECOND <= to {
            let mean = self.all(at, at + SECOND) as f64 / self.let_in.len() as f64;
            for i in 0..self.let_in.len() {
                most = most.max((self.count(i, at, at + SECOND) as f64 - mean).abs());
            }
            at += MS(50);
        }
        most
    }

    /// Longest span in which a lane had nothing to do although a frame was refused in it, after `from`.
    fn longest_waste(&self, from: Duration) -> Duration {
        let refused = |a: Duration, b: Duration| self.refused.iter().flatten().any(|at| (a..b).contains(at));
        self.idle.iter().filter(|(a, b)| *a >= from && refused(*a, *b)).map(|(a, b)| *b - *a).max().unwrap_or_default()
    }
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// How the frames of sixteen cameras may lie.
fn sixteen(how: &str) -> Vec<Camera> {
    (0..16)
        .map(|i| {
            let camera = Camera::of(25);
            match how {
                "spread" => Camera { phase: US(2500) * i, ..camera },
                "step" => Camera { phase: US(50) * i, ..camera },
                "same" => camera,
                "two heaps" => Camera { phase: MS(20) * (i % 2) + US(10) * i, ..camera },
                "one apart" => Camera { phase: if i == 0 { MS(20) } else { US(100) * i }, ..camera },
                "jitter" => Camera { phase: US(2500) * i, jitter: MS(15), ..camera },
                "drift" => Camera { period: MS(40) + US(3) * i, ..camera },
                _ => unreachable!(),
            }
        })
        .collect()
}

const HOW: [&str; 7] = ["spread", "step", "same", "two heaps", "one apart", "jitter", "drift"];

#[test]
fn explore() {
    for (lanes, run) in [(1, 20), (2, 20), (1, 4), (2, 35), (2, 7), (1, 60), (4, 30), (1, 3)] {
        for how in HOW {
            for spread in [0, 1] {
                let bench = Bench { spread: MS(run) / 2 * spread, ..Bench::new(lanes, MS(run)) };
                let seen = simulate(&bench, &sixteen(how));
                let (from, to) = (2 * SECOND, 20 * SECOND);
                println!(
                    "{lanes} lanes {run} ms {how:>10} {spread}: {:.0}/s of {:.0}, differs {:.2}, waits {:?}, waste {:?}, depth {} ({})",
                    rate(seen.all(from, to), to - from),
                    bench.capacity().min(400.0),
                    seen.spread(from, to),
                    seen.longest_wait(),
                    seen.longest_waste(from),
                    seen.depth, seen.most_depth
                );
            }
        }
    }
}

#[test]
fn explore2() {
    let of = |fps: u64, phase: u64| Camera { phase: US(phase), jitter: MS(3), ..Camera::of(fps) };
    let show = |name: &str, bench: &Bench, cameras: &[Camera]| {
        let seen = simulate(bench, cameras);
        let (from, to) = (2 * SECOND, 20 * SECOND);
        let rates: Vec<_> = (0..cameras.len()).map(|i| format!("{:.1}", rate(seen.count(i, from, to), to - from))).collect();
        println!("{name}: {} of {:.0}: {rates:?} waits {:?} waste {:?} depth {}", rate(seen.all(from, to), to - from), bench.capacity(), seen.longest_wait(), seen.longest_waste(from), seen.depth);
    };
    for (lanes, run) in [(1, 20), (2, 20), (1, 60), (2, 9), (1, 125)] {
        let bench = Bench { spread: MS(run / 4), ..Bench::new(lanes, MS(run)) };
        show(&format!("{lanes} {run} 5 25 120"), &bench, &[of(5, 0), of(25, 3000), of(120, 7000)]);
        show(&format!("{lanes} {run} 2,5 15x25"), &bench, &[vec![of(2, 100), of(5, 1000)], (0..14).map(|i| of(25, 2500 * i)).collect()].concat());
        show(&format!("{lanes} {run} 5x8 25x8"), &bench, &[(0..8).map(|i| of(5, 2500 * i)).collect::<Vec<_>>(), (0..8).map(|i| of(25, 2500 * i)).collect()].concat());
        let w = |w: u32| Camera { weight: w, ..of(25, 1000 * u64::from(w)) };
        show(&format!("{lanes} {run} w 1 2 4"), &bench, &[w(1), w(2), w(4)]);
        show(&format!("{lanes} {run} w 1 100"), &bench, &[w(1), w(100)]);
        show(&format!("{lanes} {run} w 1 1 2 2 4 4 100"), &bench, &[w(1), w(1), w(2), w(2), w(4), w(4), w(100)]);
        let c = |c: u32| Camera { cost: c, ..of(25, 1000 * u64::from(c)) };
        show(&format!("{lanes} {run} cost 1 2 5"), &bench, &[c(1), c(2), c(5)]);
        show(&format!("{lanes} {run} one 25"), &bench, &[of(25, 0)]);
        show(&format!("{lanes} {run} 25 5"), &bench, &[of(25, 0), of(5, 0)]);
    }
}
