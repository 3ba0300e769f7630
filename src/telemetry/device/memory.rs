//! Memory, and what waits for it.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Roots;
use super::cpu::groups;
use super::files::Rereader;

/// Memory of the machine, bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Memory {
    /// All of it.
    pub total_bytes: Option<u64>,
    /// What programs can still have without swapping.
    pub available_bytes: Option<u64>,
    /// All swap.
    pub swap_total_bytes: Option<u64>,
    /// Swap that is free.
    pub swap_free_bytes: Option<u64>,
    /// What a control group (service, container) lets this process and its fellows have; `None` without a limit.
    pub limit_bytes: Option<u64>,
    /// What they have of it, the kernel's cache of their files included.
    pub limit_used_bytes: Option<u64>,
}

/// How much work waited, as the kernel's pressure stall information says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Pressures {
    /// For a processor.
    pub cpu: Option<Pressure>,
    /// For memory.
    pub memory: Option<Pressure>,
    /// For drives.
    pub io: Option<Pressure>,
}

/// Waiting for one thing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Pressure {
    /// Share of the last 10 s in which at least one task waited, 0..1.
    pub some: f64,
    /// Share of the last 10 s in which nobody could work, 0..1.
    pub full: f64,
    /// Time in which at least one task waited, since the machine's start, nanoseconds.
    pub some_ns: u64,
    /// Time in which nobody could work, since the machine's start, nanoseconds.
    pub full_ns: u64,
}

#[derive(Debug)]
pub(super) struct Source {
    meminfo: Rereader,
    cpu: Rereader,
    memory: Rereader,
    io: Rereader,
    /// Limit and use of each control group that this process is in.
    groups: Vec<(Rereader, Rereader)>,
}

impl Source {
    pub(super) fn new(roots: &Roots) -> Self {
        let pressure = |what: &str| Rereader::new(roots.proc.join("pressure").join(what));
        let files = |folder: PathBuf| {
            let names = match folder.join("memory.max").exists() {
                true => ("memory.max", "memory.current"),
                false => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            };
            (Rereader::new(folder.join(names.0)), Rereader::new(folder.join(names.1)))
        };
        Self {
            meminfo: Rereader::new(roots.proc.join("meminfo")),
            cpu: pressure("cpu"),
            memory: pressure("memory"),
            io: pressure("io"),
            groups: groups(roots, "memory").into_iter().map(files).collect(),
        }
    }

    pub(super) fn read(&mut self) -> (Memory, Pressures) {
        let mut memory = self.meminfo.text().map(meminfo).unwrap_or_default();
        // No limit is the word "max", or in the first version of control groups a huge number.
        let total = memory.total_bytes.unwrap_or(u64::MAX);
        let limits = self.groups.iter_mut().filter_map(|(limit, used)| Some((limit.number::<u64>()?, used)));
        if let Some((limit, used)) = limits.filter(|(limit, _)| *limit < total).min_by_key(|(limit, _)| *limit) {
            memory.limit_bytes = Some(limit);
            memory.limit_used_bytes = used.number();
        }
        let pressures = Pressures {
            cpu: self.cpu.text().and_then(pressure),
            memory: self.memory.text().and_then(pressure),
            io: self.io.text().and_then(pressure),
        };
        (memory, pressures)
    }
}

fn meminfo(text: &str) -> Memory {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Memory {
        total_bytes: field("MemTotal"),
        available_bytes: field("MemAvailable"),
        swap_total_bytes: field("SwapTotal"),
        swap_free_bytes: field("SwapFree"),
        ..Memory::default()
    }
}

/// `some avg10=1.20 avg60=1.06 avg300=3.85 total=5862119554`, the total in microseconds; for processors an old kernel has no `full`.
fn pressure(text: &str) -> Option<Pressure> {
    let line = |start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start))?;
        let field = |name: &str| line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name));
        let share = field("avg10=")?.parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share))? / 100.0;
        Some((share, field("total=")?.parse::<u64>().ok()?.checked_mul(1000)?))
    };
    let (some, some_ns) = line("some ")?;
    let (full, full_ns) = line("full ").unwrap_or_default();
    Some(Pressure { some, full, some_ns, full_ns })
}
