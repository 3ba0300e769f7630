//! What is measured of a site.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use gstvigil::site::live::Site;
use gstvigil::site::live::feed::{Consumer, Frame, Subscription};

const PERIOD: f64 = 0.040;

/// When frames came, and the times that outputs have for them, nanoseconds.
#[derive(Default)]
struct Times(Mutex<Vec<(Instant, u64)>>);

impl Consumer for Times {
    fn frame(&self, frame: &Frame) {
        if frame.live {
            self.0.lock().unwrap().push((Instant::now(), frame.at.nseconds()));
        }
    }

    fn ended(&self) {}
}

/// When frames of cameras come.
pub struct Watch {
    begun: Instant,
    cameras: Vec<(Arc<Times>, Subscription)>,
}

impl Watch {
    pub fn of(site: &Site) -> Self {
        Self::behind(site, 0)
    }

    /// All but the first one.
    pub fn but_first(site: &Site) -> Self {
        Self::behind(site, 1)
    }

    fn behind(site: &Site, first: usize) -> Self {
        let ids: Vec<String> = site.cameras().into_iter().skip(first).map(|camera| camera.id).collect();
        let watch = |id: &String| {
            let times = Arc::new(Times::default());
            let subscription = site.feed(id).unwrap().subscribe(Arc::clone(&times) as Arc<dyn Consumer>);
            (times, subscription)
        };
        Self { begun: Instant::now(), cameras: ids.iter().map(watch).collect() }
    }

    /// Frames a second, by camera.
    pub fn rates(&self) -> Vec<f64> {
        let span = self.begun.elapsed().as_secs_f64();
        self.cameras.iter().map(|(times, _)| times.0.lock().unwrap().len() as f64 / span).collect()
    }

    /// Gaps between frames of a camera, in periods, median, 99 % and longest: by the times that outputs have for them, and as
    /// they came.
    pub fn gaps(&self) -> String {
        let (mut shown, mut came) = (Vec::new(), Vec::new());
        for (times, _) in &self.cameras {
            let times = times.0.lock().unwrap();
            shown.extend(times.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].1) as f64 * 1e-9 / PERIOD));
            came.extend(times.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs_f64() / PERIOD));
        }
        format!("{} as they are shown; {} as they come", parts(shown), parts(came))
    }
}

/// Median, 99 % and most of some figures.
fn parts(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let part = |part: f64| values.get(((values.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(f64::NAN);
    format!("{:.2}, {:.2}, {:.2}", part(0.5), part(0.99), part(1.0))
}

/// Least, middle and most of some figures.
pub fn spread(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let [first, .., last] = values.as_slice() else { return format!("{values:.2?}") };
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    format!("{mean:.2} ({first:.2} to {last:.2})")
}

/// Seconds of processor time of this process.
pub fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Memory of this process, MiB.
pub fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Threads of this process.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}
