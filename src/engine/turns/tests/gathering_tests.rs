//! Turns on an engine that looks at several pictures in one run.

use super::*;

/// An engine whose runs take `fixed` and `each` for each picture, at most `most` of them.
struct Gathering {
    fixed: Duration,
    each: Duration,
    most: usize,
}

/// What has happened.
struct Saw {
    let_in: Vec<Vec<Duration>>,
    refused: Vec<Duration>,
    /// How long each frame has waited for its run.
    waits: Vec<Duration>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done,
    Ready(usize),
    Come(usize, u32),
}

impl Gathering {
    fn run(&self, pictures: usize) -> Duration {
        self.fixed + self.each * pictures as u32
    }

    /// Pictures a second in full runs.
    fn capacity(&self) -> f64 {
        self.most as f64 / self.run(self.most).as_secs_f64()
    }

    /// Twelve seconds of `cameras`, as lanes and `Gather` have them.
    fn simulate(&self, cameras: &[Camera]) -> Saw {
        let (start, lanes) = (Instant::now(), 2 * self.most);
        let (mut turns, mut random) = (Turns::new(lanes, 1), Random(7));
        let mut saw = Saw { let_in: vec![Vec::new(); cameras.len()], refused: Vec::new(), waits: Vec::new() };
        let mut events: BinaryHeap<_> =
            cameras.iter().enumerate().map(|(i, camera)| Reverse((camera.phase, Event::Come(i, 0)))).collect();
        let (mut frames, mut queue) = (Vec::new(), VecDeque::new());
        // Frames on lanes, with when a lane took them: those in the run, and those that gather.
        let (mut running, mut waiting) = (Vec::<(usize, Duration)>::new(), Vec::<(usize, Duration)>::new());
        let mut under_way = vec![0; cameras.len()];
        while let Some(Reverse((now, event))) = events.pop() {
            if now > 12 * SECOND {
                break;
            }
            match event {
                Event::Come(i, n) => {
                    let camera = &cameras[i];
                    let next = camera.phase + camera.period * (n + 1) + random.up_to(camera.jitter);
                    events.push(Reverse((next.max(now), Event::Come(i, n + 1))));
                    let ask = Ask { user: i, weight: camera.weight, cost: 1 };
                    if under_way[i] >= camera.most {
                        continue;
                    }
                    let Some(number) = turns.ask(ask, start + now) else {
                        saw.refused.push(now);
                        continue;
                    };
                    saw.let_in[i].push(now);
                    under_way[i] += 1;
                    frames.push((i, number, now));
                    events.push(Reverse((now + US(500), Event::Ready(frames.len() - 1))));
                }
                Event::Ready(frame) => queue.push_back(frame),
                Event::Done => {
                    let done = std::mem::take(&mut running);
                    for (frame, taken) in &done {
                        let (camera, ..) = frames[*frame];
                        under_way[camera] -= 1;
                        turns.ran(camera, now - *taken, start + now);
                    }
                    // Each of these lanes looks for work.
                    for _ in queue.len()..done.len() {
                        if waiting.len() < self.most {
                            turns.idle();
                        }
                    }
                }
            }
            loop {
                if running.is_empty() && !waiting.is_empty() {
                    let count = waiting.len().min(self.most);
                    running.extend(waiting.drain(..count));
                    saw.waits.extend(running.iter().map(|(frame, _)| now - frames[*frame].2));
                    events.push(Reverse((now + self.run(count), Event::Done)));
                }
                let frame = (waiting.len() + running.len() < lanes).then(|| queue.pop_front()).flatten();
                let Some(frame) = frame else { break };
                turns.taken(frames[frame].1);
                waiting.push((frame, now));
            }
        }
        saw
    }
}

/// Engines that sixteen cameras with 25 frames a second are too much for.
fn engines() -> [Gathering; 3] {
    [(10, 2, 8), (40, 2, 16), (8, 6, 4)].map(|(fixed, each, most)| Gathering { fixed: MS(fixed), each: MS(each), most })
}

#[test]
fn runs_are_full_and_shares_equal_while_frames_are_refused() {
    for engine in engines() {
        for how in HOW {
            let saw = engine.simulate(&sixteen(how));
            let counts: Vec<usize> =
                saw.let_in.iter().map(|times| times.iter().filter(|at| **at >= 2 * SECOND).count()).collect();
            let (done, can) = (rate(counts.iter().sum(), 10 * SECOND), engine.capacity());
            let what = format!("{} pictures, {how}: {done:.0} of {can:.0} a second, {counts:?}", engine.most);
            assert!(done >= 0.9 * can, "{what}");
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 6, "{what}");
        }
    }
}

#[test]
fn frames_wait_for_a_run_or_two() {
    for engine in engines() {
        for how in HOW {
            let mut waits = engine.simulate(&sixteen(how)).waits;
            waits.sort_unstable();
            let (usual, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
            let run = engine.run(engine.most);
            let what = format!("{} pictures, {how}: {usual:?}, at most {longest:?}", engine.most);
            assert!(usual <= run * 2, "{what}");
            // As where each frame has its run: until the next frame of its camera and half of that for needier ones, then a lane.
            assert!(longest <= MS(60).max(run) + run * 2, "{what}");
        }
    }
}

#[test]
fn nobody_is_refused_while_there_is_enough_for_all_in_shared_runs() {
    // 400 frames a second: 250 in runs of their own, 533 in runs of 8.
    let engine = Gathering { fixed: MS(3), each: MS(1), most: 8 };
    for how in HOW {
        let saw = engine.simulate(&sixteen(how));
        let refused = saw.refused.iter().filter(|at| **at > 2 * SECOND).count();
        assert!(refused * 50 <= 4000, "{how}: {refused} of 4000");
    }
}
