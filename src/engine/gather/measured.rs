//! How many pictures in one run pay.

use std::fmt;
use std::time::Duration;

/// What a larger run must gain: pictures a second, against a run of half as many. Less is within what measurements differ by,
/// and is not worth that pictures wait for each other.
const GAIN: f64 = 1.1;

/// What a measurement of runs of some size says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// What a run of half as many pictures took, and what one of all of them.
    Took(Duration, Duration),
    /// There is no such run, and why.
    No(String),
}

/// What runs of one and of more pictures took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measured {
    /// Pictures of a run, and what it took; the last one may be one that does not pay.
    times: Vec<(usize, Duration)>,
    /// Most pictures that pay; 0 where nothing was measured.
    most: usize,
    /// Why no more were tried.
    end: String,
}

/// Tries runs of 2, 4, 8, … pictures, at most `limit`, as long as each size pays. `step` measures one size.
///
/// # Errors
/// What `step` says.
pub fn measure<E>(limit: usize, mut step: impl FnMut(usize) -> Result<Step, E>) -> Result<Measured, E> {
    let mut measured = Measured { times: Vec::new(), most: 1, end: format!("{limit} are the most") };
    let mut size = 2;
    while size <= limit {
        let (half, whole) = match step(size)? {
            Step::Took(half, whole) => (half, whole),
            Step::No(why) => {
                measured.end = why;
                break;
            }
        };
        if measured.times.is_empty() {
            measured.times.push((1, half));
        }
        measured.times.push((size, whole));
        if half.as_secs_f64() * 2.0 < whole.as_secs_f64() * GAIN {
            measured.end = format!("{size} do not pay");
            break;
        }
        measured.most = size;
        size *= 2;
    }
    Ok(measured)
}

impl Measured {
    /// Most pictures that go into one run, at least 1.
    pub fn most(&self) -> usize {
        self.most.max(1)
    }
}

/// Such as `1: 5.10 ms, 2: 5.60 ms, 4: 10.90 ms; 4 do not pay`.
impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (size, time)) in self.times.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{size}: {:.2} ms", time.as_secs_f64() * 1e3)?;
        }
        if !self.times.is_empty() {
            f.write_str("; ")?;
        }
        f.write_str(&self.end)
    }
}
