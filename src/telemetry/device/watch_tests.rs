#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::sync::mpsc::RecvTimeoutError;

use super::*;

const GUARD: Duration = Duration::from_secs(30);

fn device(uptime_ns: u64) -> Device {
    Device { uptime_ns: Some(uptime_ns), ..Device::default() }
}

/// The first reading of a watch.
fn first(watch: &Watch) -> Reading {
    let end = Instant::now() + GUARD;
    loop {
        if let Some(reading) = watch.last(Instant::now()) {
            return reading;
        }
        assert!(Instant::now() < end, "the machine is read");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn an_old_reading_says_nothing_and_a_young_one_tells_its_age() {
    let watch = Watch::with(|| device(7), || ()).unwrap();
    let reading = first(&watch);
    assert_eq!(reading.device.uptime_ns, Some(7));
    let (now, later) = (Instant::now(), Duration::from_secs(20));
    let [young, old] = [now, now + later].map(|at| watch.last(at).unwrap().age);
    assert_eq!(old - young, later);
    assert_eq!(watch.last(now + STALE + Duration::from_secs(1)), None, "a machine that hangs is not what it was");
}

#[test]
fn a_reading_that_hangs_holds_up_nobody() {
    let (let_go, hangs) = channel::<()>();
    let (begun, reads) = channel();
    let watch = Watch::with(
        move || {
            begun.send(()).unwrap();
            let _ = hangs.recv();
            device(1)
        },
        || (),
    );
    let watch = watch.unwrap();
    reads.recv_timeout(GUARD).unwrap();
    assert_eq!(watch.last(Instant::now()), None, "nobody who asks waits for it");
    drop(watch);
    // Only now does the reading come back, and with it the end of the thread, which has the other end of this channel.
    drop(let_go);
    assert_eq!(reads.recv_timeout(GUARD), Err(RecvTimeoutError::Disconnected), "it has ended, and reads no more");
}

#[test]
fn a_reading_that_panics_is_told_and_is_not_the_last_word() {
    let (tell, told) = channel();
    let watch = Watch::with(|| panic!("a sensor of the test"), move || tell.send(()).unwrap()).unwrap();
    told.recv_timeout(GUARD).unwrap();
    assert_eq!(watch.last(Instant::now()), None);
    drop(watch);
    assert_eq!(told.recv_timeout(GUARD), Err(RecvTimeoutError::Disconnected), "the thread was still there to be ended");
}

#[test]
fn folders_are_those_that_are_of_interest() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().to_path_buf();
    let watch = Watch::start(move || [path.clone()].into(), || ()).unwrap();
    let reading = first(&watch);
    assert_eq!(reading.device.folders.first().map(|found| found.path.as_str()), folder.path().to_str());
}
