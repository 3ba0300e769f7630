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
        Self { lanes, run, spread: Duration::ZERO, pre: US(500), hung: None, length: 12 * SECOND }
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
    let mut turns = Turns::new(bench.lanes, bench.lanes);
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
    let mut lanes: Vec<Result<(usize, Duration), Duration>> = vec![Err(Duration::ZERO); bench.lanes];
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
                let Ok((frame, run)) = lanes[lane] else { unreachable!("it was busy") };
                let camera = frames[frame].0;
                under_way[camera] -= 1;
                (0..cameras[camera].cost).for_each(|_| turns.ran(camera, run, start + now));
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
            let run = bench.run + random.up_to(bench.spread);
            let end = now + run * cameras[camera].cost;
            let end = match bench.hung {
                Some((from, to)) if now < to && end > from => to + run,
                _ => end,
            };
            *lane = Ok((frame, run));
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
        let before = |times: &[Duration], at: Duration| times.partition_point(|time| *time < at);
        let mut most = 0.0_f64;
        let mut at = from;
        while at + SECOND <= to {
            let counts = self.let_in.iter().map(|times| (before(times, at + SECOND) - before(times, at)) as f64);
            let mean = counts.clone().sum::<f64>() / self.let_in.len() as f64;
            most = counts.map(|count| (count - mean).abs()).fold(most, f64::max);
            at += MS(50);
        }
        most
    }

    /// Longest span in which a lane had nothing to do although a frame was refused in it, after `from`.
    fn longest_waste(&self, from: Duration) -> Duration {
        let mut all: Vec<_> = self.refused.iter().flatten().copied().collect();
        all.sort_unstable();
        let refused = |a: Duration, b: Duration| all.get(all.partition_point(|at| *at < a)).is_some_and(|at| *at < b);
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

/// A camera whose frames lie anywhere.
fn loose(fps: u64, phase: Duration) -> Camera {
    Camera { phase, jitter: MS(3), ..Camera::of(fps) }
}

/// What each camera gets in a second, after the first two.
fn rates(bench: &Bench, cameras: &[Camera]) -> Vec<f64> {
    let seen = simulate(bench, cameras);
    let from = 2 * SECOND;
    (0..cameras.len()).map(|i| rate(seen.count(i, from, bench.length), bench.length - from)).collect()
}

fn assert_near(is: &[f64], wanted: &[f64], within: f64) {
    let near = is.iter().zip(wanted).all(|(is, wanted)| (is - wanted).abs() <= within);
    assert!(is.len() == wanted.len() && near, "{is:.1?} instead of {wanted:.1?}");
}

/// Engines that sixteen cameras with 25 frames a second are too much for: lanes, milliseconds of a run.
const ENGINES: [(usize, u64); 8] = [(1, 3), (1, 4), (2, 7), (1, 20), (2, 20), (2, 35), (4, 30), (1, 60)];

#[test]
fn equal_cameras_get_equal_shares_however_their_frames_lie() {
    for (lanes, run) in ENGINES {
        for (how, spread) in HOW.into_iter().flat_map(|how| [(how, 0), (how, run / 2)]) {
            let bench = Bench { spread: MS(spread), ..Bench::new(lanes, MS(run)) };
            let seen = simulate(&bench, &sixteen(how));
            let from = 2 * SECOND;
            let differs = seen.spread(from, bench.length);
            // Two frames, and what the mean is not a whole number.
            assert!(differs < 3.0, "{lanes} lanes, {run} ms, {how}, {spread}: {differs} from the mean in a second");
            let counts = (0..16).map(|i| seen.count(i, from, bench.length));
            let (least, most) = (counts.clone().min().unwrap(), counts.max().unwrap());
            assert!(most - least <= 5, "{lanes} lanes, {run} ms, {how}, {spread}: {least}..{most} in all");
        }
    }
}

#[test]
fn lanes_have_work_while_frames_are_refused() {
    for (lanes, run) in ENGINES {
        for (how, spread) in HOW.into_iter().flat_map(|how| [(how, 0), (how, run / 2)]) {
            let bench = Bench { spread: MS(spread), ..Bench::new(lanes, MS(run)) };
            let seen = simulate(&bench, &sixteen(how));
            let from = 2 * SECOND;
            let done = rate(seen.all(from, bench.length), bench.length - from);
            let can = bench.capacity();
            assert!(done >= 0.95 * can, "{lanes} lanes, {run} ms, {how}, {spread}: {done} of {can} runs a second");
            // Cameras in step send nothing for one period.
            let waste = seen.longest_waste(from);
            assert!(waste <= MS(40), "{lanes} lanes, {run} ms, {how}, {spread}: nothing to do for {waste:?}");
        }
    }
}

#[test]
fn frames_that_are_let_in_wait_briefly() {
    for (lanes, run) in ENGINES {
        for (how, spread) in HOW.into_iter().flat_map(|how| [(how, 0), (how, run / 2)]) {
            let bench = Bench { spread: MS(spread), ..Bench::new(lanes, MS(run)) };
            let seen = simulate(&bench, &sixteen(how));
            // Until the next frame of the same camera and half of that for needier ones, with what rounding to whole runs adds.
            let longest = MS(run + spread);
            let most =
                MS(60).mul_f64(f64::from((run + spread) as u32) / (run as f64 + spread as f64 / 2.0)).max(longest)
                    + longest * 2
                    + bench.pre;
            assert!(seen.longest_wait() <= most, "{lanes} {run} {how} {spread}: {:?} of {most:?}", seen.longest_wait());
        }
    }
    // Where the frames lie apart, the depth stays what it must be.
    for (lanes, run) in [(1, 20), (2, 20), (4, 30)] {
        let depth = simulate(&Bench::new(lanes, MS(run)), &sixteen("spread")).depth;
        assert!(depth <= lanes + 1, "{lanes} lanes, {run} ms: {depth}");
    }
}

#[test]
fn slow_cameras_get_all_that_they_ask_for_and_the_others_share_the_rest() {
    let mixed = [loose(5, US(0)), loose(25, US(3000)), loose(120, US(7000))];
    // 50 a second: 5, and 22.5 for each of the others; 100: 5, 25, and the rest.
    assert_near(&rates(&Bench::new(1, MS(20)), &mixed), &[5.0, 22.5, 22.5], 2.5);
    assert_near(&rates(&Bench::new(2, MS(20)), &mixed), &[5.0, 25.0, 70.0], 2.5);
    assert_near(&rates(&Bench::new(2, MS(10)), &mixed), &[5.0, 25.0, 120.0], 1.0);
    // Even where it is nearly its share.
    assert_near(&rates(&Bench::new(1, MS(60)), &[loose(25, US(0)), loose(5, US(10))]), &[11.7, 5.0], 0.5);
    // Among many, and where the slow ones come in step.
    let crowd = |slow: &[u64], fast: u64| -> Vec<Camera> {
        let slow = slow.iter().zip(0..).map(|(fps, i)| loose(*fps, US(2500) * i));
        slow.chain((0..fast).map(|i| loose(25, US(2500) * i as u32))).collect()
    };
    let shares = |slow: &[f64], fast: usize, rest: f64| [slow.to_vec(), vec![rest; fast]].concat();
    let bench = Bench { spread: MS(5), ..Bench::new(2, MS(20)) };
    let rest = (bench.capacity() - 7.0) / 14.0;
    assert_near(&rates(&bench, &crowd(&[2, 5], 14)), &shares(&[2.0, 5.0], 14, rest), 0.3);
    let rest = (bench.capacity() - 40.0) / 8.0;
    assert_near(&rates(&bench, &crowd(&[5; 8], 8)), &shares(&[5.0; 8], 8, rest), 0.6);
}

#[test]
fn shares_are_as_the_weights_say() {
    let camera = |weight: u32, i: u32| Camera { weight, ..loose(25, US(1700) * i) };
    let of = |weights: &[u32]| weights.iter().zip(0..).map(|(w, i)| camera(*w, i)).collect::<Vec<_>>();
    assert_near(&rates(&Bench::new(1, MS(50)), &of(&[1, 2, 4])), &[20.0 / 7.0, 40.0 / 7.0, 80.0 / 7.0], 0.7);
    assert_near(&rates(&Bench::new(1, MS(100)), &of(&[1, 100])), &[0.1, 9.9], 0.3);
    // What the heavy one does not want is the light one's.
    assert_near(&rates(&Bench::new(1, MS(25)), &of(&[1, 100])), &[15.0, 25.0], 1.5);
    // A frame that takes five runs counts as five.
    let costly = |cost: u32, i: u32| Camera { cost, ..loose(25, US(1700) * i) };
    assert_near(&rates(&Bench::new(2, MS(20)), &[costly(1, 0), costly(5, 1)]), &[25.0, 15.0], 4.0);
    let few = rates(&Bench::new(1, MS(20)), &[costly(1, 0), costly(5, 1), costly(1, 2)]);
    assert!(few[1] * 5.0 <= few[0] + 5.0 && few[1] >= 2.0, "{few:.1?}");
}

#[test]
fn a_camera_that_stops_or_stalls_holds_nobody_back() {
    let mut cameras = sixteen("spread");
    cameras[3].to = 8 * SECOND;
    cameras.push(Camera { to: 8 * SECOND, ..loose(2, MS(1)) });
    let bench = Bench::new(2, MS(20));
    let seen = simulate(&bench, &cameras);
    assert!(seen.longest_waste(2 * SECOND) <= MS(40), "{:?}", seen.longest_waste(2 * SECOND));
    for second in 3..12 {
        let done = seen.all(SECOND * second, SECOND * (second + 1));
        assert!((97..=103).contains(&done), "{done} in second {second}");
    }
}

#[test]
fn a_camera_that_comes_late_or_back_gets_its_share_and_no_more() {
    let mut cameras = sixteen("spread");
    cameras[5].from = 5 * SECOND;
    let bench = Bench::new(2, MS(20));
    let seen = simulate(&bench, &cameras);
    for second in 5..12 {
        let got = seen.count(5, SECOND * second, SECOND * (second + 1));
        assert!((4..=8).contains(&got), "{got} in second {second}");
    }
    assert!(seen.spread(5 * SECOND, bench.length) < 3.0);
}

#[test]
fn while_lanes_hang_few_frames_wait_and_afterwards_all_is_as_before() {
    let bench = Bench { hung: Some((3 * SECOND, 6 * SECOND)), ..Bench::new(2, MS(20)) };
    let seen = simulate(&bench, &sixteen("spread"));
    let meanwhile = seen.all(3 * SECOND + MS(100), 6 * SECOND);
    assert!(meanwhile <= 4, "{meanwhile} frames were let in to wait");
    assert!(seen.spread(8 * SECOND, bench.length) < 3.0);
    assert!(rate(seen.all(8 * SECOND, bench.length), bench.length - 8 * SECOND) >= 95.0);
}

#[test]
fn nobody_is_refused_while_there_is_enough_for_all() {
    for how in HOW {
        let bench = Bench::new(2, MS(2));
        let seen = simulate(&bench, &sixteen(how));
        // While the depth is found.
        let refused = seen.refused.iter().flatten().filter(|at| **at > 2 * SECOND).count();
        let asked = refused + seen.all(2 * SECOND, bench.length);
        assert!(refused * 100 <= asked, "{how}: {refused} of {asked}");
    }
}

#[test]
fn what_is_given_up_makes_room_and_users_are_forgotten() {
    let now = Instant::now();
    let mut turns = Turns::new(1, 1);
    let ask = |user| Ask { user, weight: 1, cost: 1 };
    let first = turns.ask(ask(1), now).unwrap();
    assert!(turns.ask(ask(2), now).is_none(), "the room is taken");
    turns.given_up(first);
    turns.given_up(first);
    let second = turns.ask(ask(2), now).unwrap();
    turns.taken(second);
    turns.ran(2, MS(5), now);
    assert_eq!(turns.share(2, now), Share { part: 1.0, users: 1, depth: 1 });
    assert_eq!(turns.share(1, now).part, 0.0);
    assert_eq!(turns.users.len(), 2);
    assert!(turns.ask(ask(3), now + 2 * MEMORY).is_some());
    assert_eq!(turns.users.len(), 1);
}

mod gathering_tests;
