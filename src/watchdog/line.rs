//! The frames and events that have come in and are not out yet.
//!
//! A frame keeps its place from the moment it comes in. It leaves as what the chain made of it, or untouched, once
//! everything before it is out; so whatever the chain does with the order, the number or the times of what it gives back,
//! each frame leaves once and in order.
//!
//! `B` is a frame's payload and `E` an event's; nothing here knows what they are. Times are nanoseconds of one clock.

use std::collections::VecDeque;

/// Frames that may overtake one before it is given up: one, so that a chain which swaps two neighbours loses nothing.
const OVERTAKEN: u32 = 2;
/// Frames whose times are kept after the chain has given them back, to know a second answer for one of them.
const REMEMBERED: usize = 8;

/// Why a frame leaves untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The chain did not give it back in time.
    Late,
    /// The chain gave later frames back instead.
    Swallowed,
    /// It was not given to the chain, or the chain failed with it inside.
    Bypassed,
}

/// A frame that leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Leaving<B, E> {
    /// The number that [`Line::enter`] gave it.
    pub number: u64,
    /// What leaves.
    pub payload: B,
    /// Why it is the untouched one; `None` if the chain made it.
    pub untouched: Option<Why>,
    /// Events of the chain's own that belong before it.
    pub before: Vec<E>,
}

/// What leaves next.
#[derive(Debug, PartialEq, Eq)]
pub enum Out<B, E> {
    /// A frame.
    Frame(Leaving<B, E>),
    /// An event that came in.
    Event(E),
}

/// What became of something that the chain gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It belongs to a frame in line.
    InTime {
        /// Nanoseconds since the frame came in.
        took_ns: u64,
    },
    /// It belongs to a frame that has gone untouched, given to prove the chain.
    Proof {
        /// Nanoseconds since the frame came in.
        took_ns: u64,
    },
    /// Its frame is gone, or it is a second one for the same frame: it is dropped.
    Extra,
}

enum State<B, E> {
    /// In the chain, or about to go there; leaves untouched at this time.
    Pending {
        due: u64,
        overtaken: u32,
    },
    Done {
        payload: B,
        before: Vec<E>,
    },
    Untouched(Why),
}

struct Frame<B, E> {
    number: u64,
    pts: Option<u64>,
    entered: u64,
    state: State<B, E>,
    /// What leaves if the chain fails; gone once the chain has delivered.
    original: Option<B>,
}

enum Item<B, E> {
    Frame(Frame<B, E>),
    Event(E),
}

/// A frame that is out already, given to the chain for proof.
struct Proof {
    number: u64,
    pts: Option<u64>,
    entered: u64,
    due: u64,
}

/// What has passed its time, by [`Line::expire`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Frames in line that leave untouched now.
    pub late: Vec<u64>,
    /// Proofs that did not come back in time.
    pub proofs: Vec<u64>,
}

/// See the module's description.
pub struct Line<B, E> {
    items: VecDeque<Item<B, E>>,
    proofs: Vec<Proof>,
    /// The chain's own events, for the next frame that it gives out.
    own: Vec<E>,
    next: u64,
    /// Times of the last frames that the chain has given back.
    delivered: VecDeque<Option<u64>>,
}

impl<B, E> Default for Line<B, E> {
    fn default() -> Self {
        Self { items: VecDeque::new(), proofs: Vec::new(), own: Vec::new(), next: 0, delivered: VecDeque::new() }
    }
}

impl<B, E> Line<B, E> {
    /// Puts a frame in line that goes to the chain and leaves at `due` at the latest; returns its number.
    pub fn enter(&mut self, original: B, pts: Option<u64>, now: u64, due: u64) -> u64 {
        self.push(original, pts, now, State::Pending { due, overtaken: 0 })
    }

    /// Puts a frame in line that leaves untouched; returns its number.
    pub fn bypass(&mut self, original: B, pts: Option<u64>, now: u64, why: Why) -> u64 {
        self.push(original, pts, now, State::Untouched(why))
    }

    /// Notes that the frame `number`, which leaves untouched, is given to the chain for proof.
    pub fn prove(&mut self, number: u64, pts: Option<u64>, now: u64, due: u64) {
        self.proofs.push(Proof { number, pts, entered: now, due });
    }

    fn push(&mut self, original: B, pts: Option<u64>, entered: u64, state: State<B, E>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.items.push_back(Item::Frame(Frame { number, pts, entered, state, original: Some(original) }));
        number
    }

    /// Puts an event in line.
    pub fn event(&mut self, event: E) {
        self.items.push_back(Item::Event(event));
    }

    /// Takes an event of the chain's own; it leaves before the next frame that the chain gives out.
    pub fn own_event(&mut self, event: E) {
        self.own.push(event);
    }

    fn frames(&self) -> impl Iterator<Item = &Frame<B, E>> {
        self.items.iter().filter_map(|i| if let Item::Frame(f) = i { Some(f) } else { None })
    }

    fn frames_mut(&mut self) -> impl Iterator<Item = &mut Frame<B, E>> {
        self.items.iter_mut().filter_map(|i| if let Item::Frame(f) = i { Some(f) } else { None })
    }

    /// Takes what the chain gives out. `mark` is the number that the payload carries, where it still does; else the frame
    /// is found by `pts`, and where that says nothing either, it is the first that the chain has not given back.
    /// `finish` turns the kept original into what leaves; it is called only for a frame that is in line.
    pub fn arrive(&mut self, mark: Option<u64>, pts: Option<u64>, now: u64, finish: impl FnOnce(&B) -> B) -> Arrival {
        let Some(number) = self.whose(mark, pts) else { return Arrival::Extra };
        if let Some(i) = self.proofs.iter().position(|p| p.number == number) {
            let proof = self.proofs.remove(i);
            self.note_delivered(proof.pts);
            // What it has passed over, it has swallowed.
            self.proofs.retain(|p| p.number > number);
            return Arrival::Proof { took_ns: now.saturating_sub(proof.entered) };
        }
        let before = std::mem::take(&mut self.own);
        let Some(frame) = self.frames_mut().find(|f| f.number == number) else { return Arrival::Extra };
        let Some(original) = frame.original.take() else { return Arrival::Extra };
        frame.state = State::Done { payload: finish(&original), before };
        let took_ns = now.saturating_sub(frame.entered);
        let time = frame.pts;
        self.note_delivered(time);
        for frame in self.frames_mut().take_while(|f| f.number < number) {
            if let State::Pending { overtaken, .. } = &mut frame.state {
                *overtaken += 1;
                if *overtaken >= OVERTAKEN {
                    frame.state = State::Untouched(Why::Swallowed);
                }
            }
        }
        Arrival::InTime { took_ns }
    }

    fn note_delivered(&mut self, pts: Option<u64>) {
        if self.delivered.len() == REMEMBERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back(pts);
    }

    fn whose(&self, mark: Option<u64>, pts: Option<u64>) -> Option<u64> {
        let pending = || self.frames().filter(|f| matches!(f.state, State::Pending { .. }));
        let mut waiting = self.proofs.iter().map(|p| (p.number, p.pts)).chain(pending().map(|f| (f.number, f.pts)));
        match mark {
            Some(mark) => waiting.find(|(number, _)| *number == mark),
            None => {
                let all: Vec<_> = waiting.collect();
                let by_time = all.iter().find(|(_, p)| p.is_some() && *p == pts);
                // Another one for a frame that is back is nothing for the frame after it, which has its own picture.
                let again = pts.is_some() && self.delivered.contains(&pts);
                by_time.or(all.first().filter(|_| !again)).copied()
            }
        }
        .map(|(number, _)| number)
    }

    /// Lets go of what has passed its time. A frame that another has overtaken is not late, but swallowed.
    pub fn expire(&mut self, now: u64) -> Expired {
        let mut expired = Expired::default();
        for frame in self.frames_mut() {
            match frame.state {
                // Later frames were in time, so this one was left out.
                State::Pending { due, overtaken: 1.. } if due <= now => frame.state = State::Untouched(Why::Swallowed),
                State::Pending { due, .. } if due <= now => {
                    frame.state = State::Untouched(Why::Late);
                    expired.late.push(frame.number);
                }
                _ => {}
            }
        }
        self.proofs.retain(|p| {
            if p.due <= now {
                expired.proofs.push(p.number);
            }
            p.due > now
        });
        expired
    }

    /// Lets all frames that the chain still has leave untouched: it failed.
    pub fn release(&mut self) {
        for frame in self.frames_mut() {
            if matches!(frame.state, State::Pending { .. }) {
                frame.state = State::Untouched(Why::Bypassed);
            }
        }
        self.proofs.clear();
        self.own.clear();
        self.delivered.clear();
    }

    /// The time at which the next frame or proof passes its time.
    pub fn next_due(&self) -> Option<u64> {
        let pending =
            self.frames().filter_map(|f| if let State::Pending { due, .. } = f.state { Some(due) } else { None });
        pending.chain(self.proofs.iter().map(|p| p.due)).min()
    }

    /// Whether the frame is in the chain, or about to go there.
    pub fn is_pending(&self, number: u64) -> bool {
        self.proofs.iter().any(|p| p.number == number)
            || self.frames().any(|f| f.number == number && matches!(f.state, State::Pending { .. }))
    }

    /// Frames that could leave, were it not for those before them or for who takes them.
    pub fn ready(&self) -> usize {
        self.frames().filter(|f| !matches!(f.state, State::Pending { .. })).count()
    }

    /// When the first frame in line came in.
    pub fn first_entered(&self) -> Option<u64> {
        self.frames().next().map(|frame| frame.entered)
    }

    /// Nothing is in line.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Everything in line.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// What leaves next, if it can.
    pub fn pop(&mut self) -> Option<Out<B, E>> {
        if let Some(Item::Frame(Frame { state: State::Pending { .. }, .. })) = self.items.front() {
            return None;
        }
        match self.items.pop_front()? {
            Item::Event(event) => Some(Out::Event(event)),
            Item::Frame(Frame { number, state, original, .. }) => match (state, original) {
                (State::Done { payload, before }, _) => {
                    Some(Out::Frame(Leaving { number, payload, untouched: None, before }))
                }
                (State::Untouched(why), Some(payload)) => {
                    Some(Out::Frame(Leaving { number, payload, untouched: Some(why), before: Vec::new() }))
                }
                // A pending one stays in front, and only a delivered one has no original.
                _ => None,
            },
        }
    }

    /// Moves all times, since another clock counts from now on.
    pub fn rebase(&mut self, old: u64, new: u64) {
        let moved = |t: u64| new.saturating_add(t.saturating_sub(old)).saturating_sub(old.saturating_sub(t));
        for frame in self.frames_mut() {
            frame.entered = moved(frame.entered);
            if let State::Pending { due, .. } = &mut frame.state {
                *due = moved(*due);
            }
        }
        for proof in &mut self.proofs {
            (proof.entered, proof.due) = (moved(proof.entered), moved(proof.due));
        }
    }

    /// Empties the line; returns its events and its frames, which must be dropped without a lock: that may call far away.
    #[must_use]
    pub fn flush(&mut self) -> (Vec<E>, Vec<B>) {
        self.proofs.clear();
        self.own.clear();
        let (mut events, mut frames) = (Vec::new(), Vec::new());
        for item in self.items.drain(..) {
            match item {
                Item::Event(event) => events.push(event),
                Item::Frame(Frame { state, original, .. }) => {
                    frames.extend(original);
                    if let State::Done { payload, .. } = state {
                        frames.push(payload);
                    }
                }
            }
        }
        (events, frames)
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
