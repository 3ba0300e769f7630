//! Prints what the machine says of itself as JSON: `cargo run --example device [FOLDER]…`. To `stderr` it adds what a reading costs.

use std::time::{Duration, Instant};

use gstvigil::telemetry::device::{Reader, Roots};
use gstvigil::telemetry::processor_time;

/// Readings whose cost is told.
const READINGS: u32 = 200;

fn main() -> Result<(), serde_json::Error> {
    let folders = std::env::args_os().skip(1).map(Into::into).collect();
    let (found, before) = (Instant::now(), processor_time());
    let mut reader = Reader::new(Roots::default(), folders);
    eprintln!("finding: {:.1?} ({:.1?} of processor time)", found.elapsed(), processor_time() - before);
    reader.read();
    // Shares are told over some time.
    std::thread::sleep(Duration::from_secs(1));
    println!("{}", serde_json::to_string_pretty(&reader.read())?);
    let (start, before) = (Instant::now(), processor_time());
    (0..READINGS).for_each(|_| drop(reader.read()));
    let (took, spent) = (start.elapsed() / READINGS, (processor_time() - before) / READINGS);
    eprintln!("a reading: {took:.1?} ({spent:.1?} of processor time)");
    Ok(())
}
