//! Processors: how many, how busy, how fast.

use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Roots;
use super::files::{Rereader, entries, number};

/// The kernel counts processor time in this unit for programs, nanoseconds, on all machines that Vigil runs on.
const TICK_NS: u64 = 10_000_000;
/// A machine with a frequency per processor is told by this many of them.
const MOST_POLICIES: usize = 8;

/// The machine's processors.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// Processors that are switched on; 0 if the machine does not tell.
    pub processors: u32,
    /// How many of them this process may use, by its affinity and by the limit of its control group (service, container).
    pub usable: Option<f64>,
    /// Share of all processors' time that was used by anybody since the last reading, 0..1; `None` at the first one.
    pub busy: Option<f64>,
    /// The same as a count: time that processors worked since the machine's start, nanoseconds, all together.
    pub busy_ns: Option<u64>,
    /// Time that processors had nothing to do since the machine's start, nanoseconds, all together.
    pub idle_ns: Option<u64>,
    /// How many processors this process kept busy since the last reading; `None` at the first one.
    pub process: Option<f64>,
    /// Tasks that run or wait, mean over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Frequency now, Hz: the mean of the processors.
    pub frequency_hz: Option<u64>,
    /// The highest frequency that a processor is made for, Hz.
    pub frequency_most_hz: Option<u64>,
    /// How much of its highest frequency the kernel allows the processor that it holds back most, 0..1.
    pub frequency_cap: Option<f64>,
}

/// Processor time, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    busy: u64,
    idle: u64,
    process: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Source {
    stat: Rereader,
    own: Rereader,
    load: Rereader,
    status: Rereader,
    /// Limit of processor time in each control group that this process is in; with its period, where that is a file of its own.
    groups: Vec<(Rereader, Option<Rereader>)>,
    policies: Vec<Policy>,
    last: Option<Times>,
}

/// Processors that share a clock.
#[derive(Debug)]
struct Policy {
    now: Rereader,
    allowed: Rereader,
    most_khz: u64,
}

impl Source {
    pub(super) fn new(roots: &Roots) -> Self {
        let limit = |folder: PathBuf| match folder.join("cpu.max").exists() {
            true => (Rereader::new(folder.join("cpu.max")), None),
            false => {
                let period = Rereader::new(folder.join("cpu.cfs_period_us"));
                (Rereader::new(folder.join("cpu.cfs_quota_us")), Some(period))
            }
        };
        let mut source = Self {
            stat: Rereader::new(roots.proc.join("stat")),
            own: Rereader::new(roots.proc.join("self/stat")),
            load: Rereader::new(roots.proc.join("loadavg")),
            status: Rereader::new(roots.proc.join("self/status")),
            groups: groups(roots, "cpu").into_iter().map(limit).collect(),
            policies: Vec::new(),
            last: None,
        };
        source.search(roots);
        source
    }

    pub(super) fn search(&mut self, roots: &Roots) {
        let policies = entries(&roots.sys.join("devices/system/cpu/cpufreq"), "policy");
        let policy = |folder: PathBuf| {
            let most_khz = number::<u64>(&folder.join("cpuinfo_max_freq")).filter(|most| *most > 0)?;
            let file = |name: &str| Rereader::new(folder.join(name));
            Some(Policy { now: file("scaling_cur_freq"), allowed: file("scaling_max_freq"), most_khz })
        };
        self.policies = policies.into_iter().filter_map(policy).take(MOST_POLICIES).collect();
    }

    pub(super) fn read(&mut self) -> Cpu {
        let mut cpu = Cpu { load: self.load.text().and_then(load), ..Cpu::default() };
        if let Some((processors, busy, idle)) = self.stat.text().and_then(machine) {
            // The kernel's time of waiting for drives may step back, and a counter that falls is taken for one that begins anew.
            let (busy, idle) = self.last.map_or((busy, idle), |last| (busy.max(last.busy), idle.max(last.idle)));
            let now = Times { busy, idle, process: self.own.text().and_then(own) };
            cpu.processors = processors;
            cpu.busy_ns = busy.checked_mul(TICK_NS);
            cpu.idle_ns = idle.checked_mul(TICK_NS);
            if let Some(last) = self.last.replace(now) {
                (cpu.busy, cpu.process) = shares(&last, &now, processors);
            }
        }
        cpu.usable = self.usable(cpu.processors);
        self.frequencies(&mut cpu);
        cpu
    }

    fn usable(&mut self, processors: u32) -> Option<f64> {
        let allowed = self.status.text().and_then(allowed).or((processors > 0).then_some(processors))?;
        let limits = self.groups.iter_mut().filter_map(|(limit, period)| {
            let text = limit.text()?;
            let mut words = text.split_ascii_whitespace();
            // "max" and -1 are no numbers above zero: no limit.
            let quota = words.next()?.parse::<u64>().ok()? as f64;
            let period = match period {
                Some(period) => period.number::<u64>()?,
                None => words.next()?.parse().ok()?,
            };
            (quota > 0.0 && period > 0).then(|| quota / period as f64)
        });
        Some(limits.fold(f64::from(allowed), f64::min))
    }

    fn frequencies(&mut self, cpu: &mut Cpu) {
        cpu.frequency_most_hz = self.policies.iter().map(|policy| policy.most_khz.saturating_mul(1000)).max();
        let now: Vec<u64> = self.policies.iter_mut().filter_map(|policy| policy.now.number()).collect();
        let sum = now.iter().fold(0u64, |sum, khz| sum.saturating_add(*khz));
        cpu.frequency_hz = sum.checked_div(now.len() as u64).map(|khz| khz.saturating_mul(1000));
        let caps = self.policies.iter_mut().filter_map(|policy| {
            let allowed = policy.allowed.number::<u64>()? as f64;
            Some((allowed / policy.most_khz as f64).min(1.0))
        });
        cpu.frequency_cap = caps.min_by(f64::total_cmp);
    }
}

/// Processors, and their busy and idle ticks, from `/proc/stat`.
fn machine(text: &str) -> Option<(u32, u64, u64)> {
    let processors = text.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    });
    let processors = u32::try_from(processors.count()).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let mut ticks = line.split_ascii_whitespace().map_while(|word| word.parse::<u64>().ok());
    // user nice system idle iowait irq softirq steal; what guests had is in user and nice already.
    let (mut busy, mut idle) = (0u64, 0u64);
    for (index, ticks) in ticks.by_ref().take(8).enumerate() {
        let sum = if index == 3 || index == 4 { &mut idle } else { &mut busy };
        *sum = sum.checked_add(ticks)?;
    }
    (busy > 0 || idle > 0).then_some((processors, busy, idle))
}

/// Ticks of this process, in user and in system mode. The name of the program stands before, in brackets, and may hold anything.
fn own(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(|word| word.parse::<u64>().ok());
    ticks.next()??.checked_add(ticks.next()??)
}

/// The machine's busy share, and the processors' worth of time that this process had, between two readings.
fn shares(last: &Times, now: &Times, processors: u32) -> (Option<f64>, Option<f64>) {
    let (busy, idle) = (now.busy.saturating_sub(last.busy), now.idle.saturating_sub(last.idle));
    let all = busy as f64 + idle as f64;
    if all <= 0.0 {
        return (None, None);
    }
    let own = last.process.zip(now.process).map(|(last, now)| now.saturating_sub(last) as f64);
    let most = f64::from(processors.max(1));
    (Some(busy as f64 / all), own.map(|own| (own / all * most).min(most)))
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse::<f64>().ok().filter(|load| load.is_finite()));
    Some([words.next()??, words.next()??, words.next()??])
}

/// How many processors are in `Cpus_allowed_list: 0-3,8`.
fn allowed(text: &str) -> Option<u32> {
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim().split(',').try_fold(0u32, |count, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Folders of the control groups that this process is in, from its own up to the root: a limit of any of them holds.
pub(super) fn groups(roots: &Roots, controller: &str) -> Vec<PathBuf> {
    let root = roots.sys.join("fs/cgroup");
    let text = Rereader::new(roots.proc.join("self/cgroup")).text().unwrap_or_default().to_owned();
    // `ID:CONTROLLERS:PATH`; without controllers it is the one tree of the second version.
    let of = |wanted: &dyn Fn(&str) -> bool| {
        text.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            wanted(controllers).then(|| path.to_owned())
        })
    };
    let first = of(&|controllers| controllers.split(',').any(|name| name == controller));
    let (root, path) = match first {
        Some(path) => (root.join(controller), path),
        None => (root, of(&str::is_empty).unwrap_or_default()),
    };
    let path = Path::new(path.trim_start_matches('/'));
    // `..` is a group outside of what this process sees.
    let seen = path.components().all(|part| matches!(part, Component::Normal(_)));
    let below = path.ancestors().filter(|path| seen && !path.as_os_str().is_empty());
    below.map(|path| root.join(path)).chain([root.clone()]).filter(|folder| folder.is_dir()).take(16).collect()
}
