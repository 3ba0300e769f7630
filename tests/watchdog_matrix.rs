//! Every fault of a chain at every moment of a stream: what goes in comes out, once and in order, and analysis comes back.
//!
//! Time is a test clock's, so nothing depends on how fast the machine is. `UPDATE_DOCS=1 cargo nextest run --test watchdog_matrix`
//! writes the table of docs/RELIABILITY.md; without it each test asserts that its row there is what it has seen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;
#[path = "common/faulty.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod faulty;
#[path = "common/watchdog_rig.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod watchdog_rig;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use faulty::{Control, Fault};
use gst::prelude::*;
use watchdog_rig::Rig;

/// A row of the matrix.
struct Case {
    /// The name of its test.
    test: &'static str,
    /// What goes wrong, in the table.
    text: &'static str,
    fault: Fault,
    /// How often it happens; `None` for as long as the row lasts.
    times: Option<u32>,
    /// How it comes about.
    comes: Comes,
}

/// How a fault comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comes {
    /// With a frame.
    Frame,
    /// With a new chain: after the one before it has refused a frame, or at the start.
    Chain,
    /// With new caps, also those that a new chain is told.
    Caps,
    /// With an event.
    Event,
    /// With a flush.
    Flush,
    /// When the chain is taken down: after it has refused a frame, or at the end.
    Stop,
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// With the first frame.
    Start,
    /// In the middle of the stream.
    Steady,
    /// New caps come while it lasts.
    Caps,
    /// A flush comes while it lasts.
    Flush,
    /// A seek comes from downstream while it lasts.
    Seek,
    /// The stream ends while it lasts.
    Eos,
    /// The element goes to NULL while it lasts.
    Shutdown,
}

use Moment::{Caps, Eos, Flush, Seek, Shutdown, Start, Steady};
const MOMENTS: [Moment; 7] = [Start, Steady, Caps, Flush, Seek, Eos, Shutdown];

const ONCE: Option<u32> = Some(1);
const ALWAYS: Option<u32> = None;

macro_rules! cases {
    ($($test:ident: $text:literal, $fault:expr, $times:ident, $comes:ident;)*) => {
        const CASES: &[Case] = &[$(Case {
            test: stringify!($test),
            text: $text,
            fault: $fault,
            times: $times,
            comes: Comes::$comes,
        }),*];
        $(#[test]
        fn $test() {
            row(stringify!($test));
        })*
    };
}

cases! {
    sleeps: "a frame takes 5 s", Fault::Sleep(gst::ClockTime::from_seconds(5)), ONCE, Frame;
    sleeps_always: "every frame takes 5 s", Fault::Sleep(gst::ClockTime::from_seconds(5)), ALWAYS, Frame;
    hangs: "a frame never comes back", Fault::Hang, ONCE, Frame;
    panics: "an element panics", Fault::Panic, ONCE, Frame;
    deadlocks: "two threads wait for each other's locks", Fault::Deadlock, ONCE, Frame;
    deadlocks_locked: "the same, and one has the element's object lock", Fault::LockedObject, ONCE, Frame;
    posts_error: "an ERROR message, and the frame passes", Fault::ErrorMessage, ONCE, Frame;
    returns_flushing: "a frame is answered FLUSHING", Fault::Flow(gst::FlowError::Flushing), ONCE, Frame;
    returns_eos: "a frame is answered EOS", Fault::Flow(gst::FlowError::Eos), ONCE, Frame;
    returns_not_linked: "a frame is answered NOT_LINKED", Fault::Flow(gst::FlowError::NotLinked), ONCE, Frame;
    returns_not_negotiated: "a frame is answered NOT_NEGOTIATED", Fault::Flow(gst::FlowError::NotNegotiated), ONCE, Frame;
    returns_error: "a frame is answered ERROR", Fault::Flow(gst::FlowError::Error), ONCE, Frame;
    returns_not_supported: "a frame is answered NOT_SUPPORTED", Fault::Flow(gst::FlowError::NotSupported), ONCE, Frame;
    returns_custom: "a frame is answered CUSTOM_ERROR", Fault::Flow(gst::FlowError::CustomError), ONCE, Frame;
    refuses_all: "every frame is answered ERROR", Fault::Flow(gst::FlowError::Error), ALWAYS, Frame;
    swallows: "a frame is swallowed", Fault::Swallow, ONCE, Frame;
    swallows_all: "every frame is swallowed", Fault::Swallow, ALWAYS, Frame;
    duplicates: "a frame comes out twice", Fault::Duplicate, ONCE, Frame;
    duplicates_all: "every frame comes out twice", Fault::Duplicate, ALWAYS, Frame;
    swaps: "two frames change places", Fault::Swap, ONCE, Frame;
    shifts_time: "a frame's PTS is a second late", Fault::ShiftTime, ONCE, Frame;
    shifts_all_times: "every frame's PTS is a second late", Fault::ShiftTime, ALWAYS, Frame;
    clears_times: "no frame has a PTS", Fault::ClearTime, ALWAYS, Frame;
    constant_times: "every frame has the same PTS", Fault::ConstantTime, ALWAYS, Frame;
    rebuilds: "every frame is a new buffer without metas", Fault::Rebuild, ALWAYS, Frame;
    rebuilds_twice: "a frame comes out twice, as new buffers without metas", Fault::RebuildTwice, ONCE, Frame;
    sends_eos: "the chain ends the stream by itself", Fault::Eos, ONCE, Frame;
    changes_caps: "the chain changes the caps by itself", Fault::ChangeCaps, ONCE, Frame;
    swallows_event: "an event is swallowed", Fault::SwallowEvent, ONCE, Event;
    swallows_events: "every event is swallowed", Fault::SwallowEvent, ALWAYS, Event;
    refuses_caps: "caps are refused", Fault::RefuseCaps, ALWAYS, Caps;
    refuses_ready: "a new chain does not go to READY", Fault::RefuseReady, ONCE, Chain;
    refuses_paused: "a new chain does not go to PAUSED", Fault::RefusePaused, ONCE, Chain;
    hangs_starting: "a new chain hangs on its way to PAUSED", Fault::HangStarting, ONCE, Chain;
    hangs_stopping: "a chain hangs on its way to READY", Fault::HangStopping, ONCE, Stop;
    hangs_in_flush: "FLUSH_START hangs", Fault::HangFlush, ONCE, Flush;
}

/// A fault at a moment: what became of it, for the table.
struct Cell {
    control: Arc<Control>,
    rig: Rig,
    case: &'static Case,
    moment: Moment,
    /// Changes of mode before the fault.
    calm: usize,
}

impl Cell {
    fn new(case: &'static Case, moment: Moment) -> Self {
        let control = Control::new();
        let rig = Rig::new(&control.line());
        if case.fault == Fault::HangStarting {
            // The first chain is waited for by the machine's clock.
            rig.bin.set_property("start-timeout", 300_000_000u64);
        }
        Self { control, rig, case, moment, calm: 0 }
    }

    /// Whether a refused frame brings the fault about, since it comes with a new chain or with the end of one.
    fn refuses_first(&self) -> bool {
        match self.case.comes {
            Comes::Frame | Comes::Event => false,
            Comes::Chain => self.moment != Start,
            Comes::Caps => !matches!(self.moment, Start | Caps),
            Comes::Flush => !matches!(self.moment, Flush | Seek),
            Comes::Stop => self.moment != Shutdown,
        }
    }

    /// Makes the fault happen from this frame on; how many faults are to be waited for before the moment.
    fn arm(&self, from: u64) -> u64 {
        if self.refuses_first() {
            self.control.inject(Fault::Flow(gst::FlowError::Error), from, ONCE);
        }
        self.control.inject(self.case.fault, from, self.case.times);
        match self.case.comes {
            Comes::Frame | Comes::Event => 1,
            // The refused frame; there is no flush.
            Comes::Flush if self.refuses_first() => 1,
            // The refused frame, and what it brings about.
            _ if self.refuses_first() => 2,
            Comes::Chain | Comes::Caps if self.moment == Start => 1,
            // It comes with the moment itself.
            _ => 0,
        }
    }

    /// Up to the fault: it has happened when this returns, and what it did is not over.
    fn strike(&mut self) {
        let rig = &self.rig;
        if self.moment == Start {
            let hits = self.arm(0);
            rig.play();
            rig.frames(5);
            self.control.wait_for_hits(hits);
            self.see_the_end();
            return;
        }
        rig.play();
        rig.recover();
        rig.healthy(5);
        self.calm = rig.changes().len();
        let hits = self.arm(rig.next() + 2);
        rig.frames(5);
        if hits >= 1 {
            self.control.wait_for_hits(1);
        }
        self.see_the_end();
        rig.advance("the fault", || self.control.hits() >= hits);
    }

    /// What fails at once is told before anything else happens.
    fn see_the_end(&self) {
        if self.fails_at_once() {
            self.rig.wait("the end of analysis", || self.end_of_analysis().is_some());
        }
    }

    /// Whether the chain is given up as soon as it goes wrong, or is refused a frame before that.
    fn fails_at_once(&self) -> bool {
        let fault = self.case.fault;
        let fails =
            matches!(fault, Fault::Flow(_) | Fault::Panic | Fault::ErrorMessage | Fault::Eos | Fault::ChangeCaps);
        fails || self.refuses_first()
    }

    /// Whether frames have to wait for their deadlines.
    fn takes_time(&self) -> bool {
        match self.case.fault {
            Fault::Sleep(_) | Fault::Hang | Fault::Deadlock | Fault::LockedObject => true,
            Fault::Swallow => self.case.times == ALWAYS,
            Fault::HangFlush => matches!(self.moment, Flush | Seek),
            _ => false,
        }
    }

    fn moment(&self) {
        let rig = &self.rig;
        match self.moment {
            Start | Steady => rig.frames(5),
            Caps => {
                rig.caps(8);
                rig.frames(5);
            }
            Flush => {
                rig.flush();
                rig.frames(5);
            }
            Seek => {
                rig.seek();
                rig.frames(5);
            }
            Eos => rig.event(gst::event::Eos::new()),
            Shutdown => return rig.stop(),
        }
        if self.takes_time() {
            rig.advance("all that went in", || rig.all_out());
        } else {
            rig.wait("all that went in", || rig.all_out());
        }
    }

    /// From there on nothing is wrong any more, though what hangs goes on hanging.
    fn come_back(&self) {
        let rig = &self.rig;
        self.control.clear();
        match self.moment {
            Eos => rig.flush(),
            Shutdown => rig.play(),
            _ => {}
        }
        rig.recover();
        rig.healthy(5);
        rig.check();
        let stats = rig.stats();
        assert!(rig.stat("abandoned") <= 4, "{stats}");
    }

    /// Why analysis ended, if it did: what the table says.
    fn end_of_analysis(&self) -> Option<String> {
        let changes = self.rig.changes();
        changes[self.calm..].iter().find(|c| c.to == "bypassing").map(|c| c.cause.clone())
    }

    /// The element goes to NULL while what hangs hangs; then that ends as well, and nothing is left.
    fn end(self) {
        self.rig.stop();
        self.rig.check();
        self.control.release();
        let control = self.control;
        drop(self.rig);
        // Threads of what was let go of are on their way out.
        watchdog_rig::until("nothing of the chains is left", || control.instances() == 0);
    }
}

/// Runs the cells of a row, and compares the row with the table.
fn row(test: &str) {
    let case = CASES.iter().find(|case| case.test == test).unwrap();
    let mut cells = Vec::new();
    for moment in MOMENTS {
        eprintln!("{test}: {moment:?}");
        let mut cell = Cell::new(case, moment);
        cell.strike();
        cell.moment();
        cell.come_back();
        cells.push(cell.end_of_analysis().unwrap_or_else(|| "–".to_owned()));
        cell.end();
    }
    let line = format!("| {} | {} |", case.text, cells.join(" | "));
    println!("{line}");
    compare(case.text, &line);
}

const BEGIN: &str = "<!-- faults: begin (written by tests/watchdog_matrix.rs) -->\n";
const END: &str = "<!-- faults: end -->\n";

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/RELIABILITY.md")
}

/// The page before the rows, the rows, and the page after them.
fn parts(page: &str) -> (String, Vec<String>, String) {
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (table, after) = rest.split_once(END).expect("the place ends");
    (before.to_owned() + BEGIN, table.lines().skip(2).map(str::to_owned).collect(), END.to_owned() + after)
}

fn is_row(line: &str, text: &str) -> bool {
    line.starts_with(&format!("| {text} |"))
}

/// Asserts that the table has this line, or puts it there. Tests of other rows may do so at the same time.
fn compare(text: &str, line: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let lock = std::fs::File::create(std::env::temp_dir().join("vigil-watchdog-matrix.lock")).unwrap();
        lock.lock().unwrap();
        let (before, old, after) = parts(&std::fs::read_to_string(page()).unwrap());
        let head = format!("| fault | {} |\n|{}\n", MOMENTS.map(name).join(" | "), "---|".repeat(MOMENTS.len() + 1));
        let rows = CASES.iter().filter_map(|case| {
            if case.text == text {
                return Some(format!("{line}\n"));
            }
            old.iter().find(|old| is_row(old, case.text)).map(|old| format!("{old}\n"))
        });
        std::fs::write(page(), before + &head + &rows.collect::<String>() + &after).unwrap();
    }
    let (_, rows, _) = parts(&std::fs::read_to_string(page()).unwrap());
    let there = rows.iter().find(|row| is_row(row, text)).map_or("nothing", String::as_str);
    assert_eq!(there, line, "run UPDATE_DOCS=1 cargo nextest run --test watchdog_matrix");
}

fn name(moment: Moment) -> &'static str {
    match moment {
        Start => "start",
        Steady => "steady",
        Caps => "caps change",
        Flush => "flush",
        Seek => "seek",
        Eos => "EOS",
        Shutdown => "shutdown",
    }
}

#[test]
fn the_table_has_a_row_for_every_fault_and_no_other() {
    let (_, rows, _) = parts(&std::fs::read_to_string(page()).unwrap());
    let all = rows.len() == CASES.len() && rows.iter().zip(CASES).all(|(row, case)| is_row(row, case.text));
    assert!(all, "run UPDATE_DOCS=1 cargo nextest run --test watchdog_matrix");
}
