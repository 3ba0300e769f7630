//! Figures for Prometheus: read from the site when they are asked for, so that nothing is counted twice.

mod cameras;
mod exports;
mod models;
mod stages;
mod write;

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;

use gstvigil::drift::PeerReport;
use gstvigil::export::destination;
use gstvigil::export::route::Account;
use gstvigil::site::status::{CameraStatus, TileStatus};
use gstvigil::telemetry::device::Device;
use gstvigil::telemetry::{processor_time, utc_now_ns};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::Serialize;

use self::write::{family, figure, flag, gauge, single};
use super::shared::Shared;

/// Figures of the process.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Process {
    /// Memory that is in use, bytes.
    pub resident_memory_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open files and connections.
    pub open_files: u64,
    /// Processor time since the start, nanoseconds.
    pub processor_time_ns: u64,
}

impl Process {
    /// As it is now; zeros where the system does not tell.
    pub fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            resident_memory_bytes: field("VmRSS:").unwrap_or_default().saturating_mul(1024),
            threads: field("Threads:").unwrap_or_default(),
            open_files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            processor_time_ns: u64::try_from(processor_time().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4: what most programs read.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that a header `Accept` prefers. Without a preference it is Prometheus's own.
    pub fn wanted(accept: &str) -> Self {
        let weight = |media: &str| {
            let ranges = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let named = parts.next()?.eq_ignore_ascii_case(media);
                let q = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
                named.then_some(q)
            });
            ranges.fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its name in HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All figures.
///
/// # Errors
/// If the text cannot be written.
pub fn page(shared: &Arc<Shared>, format: Format) -> Result<String, Error> {
    let report = shared.report().clone();
    let figures = Figures {
        cameras: shared.site.cameras(),
        tiles: shared.site.tiles(),
        peers: shared.site.peers(),
        exports: destination::all(),
        device: shared.site.machine().map(|reading| reading.device),
        process: Process::now(),
        abandoned: gstvigil::engine::lanes::abandoned_runs(),
        now_ns: utc_now_ns(),
        started: shared.started_ns as f64 / 1e9,
        ready: shared.is_ready(),
        reloads: report.reloads,
        taken: report.reading.is_none_or(|reading| reading.taken),
        lacks: report.lacks.len(),
    };
    figures.write(format)
}

#[derive(Debug)]
struct Figures {
    cameras: Vec<CameraStatus>,
    tiles: Vec<TileStatus>,
    peers: BTreeMap<String, PeerReport>,
    exports: Vec<Account>,
    device: Option<Arc<Device>>,
    process: Process,
    abandoned: usize,
    now_ns: u64,
    started: f64,
    ready: bool,
    reloads: [u64; 2],
    taken: bool,
    lacks: usize,
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        self.encode_gateway(encoder)?;
        self.encode_cameras(encoder)?;
        self.encode_outputs(encoder)?;
        self.encode_stages(encoder)?;
        self.encode_analysis(encoder)?;
        self.encode_models(encoder)?;
        self.encode_drift(encoder)?;
        self.encode_exports(encoder)?;
        let figures = self.device.as_ref().map(|device| device.figures()).unwrap_or_default();
        figures.into_iter().try_for_each(|found| figure(encoder, found))
    }
}

impl Figures {
    fn write(self, format: Format) -> Result<String, Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        match format {
            Format::Prometheus => prometheus_text::encode(&mut page, &registry)?,
            Format::OpenMetrics => text::encode(&mut page, &registry)?,
        }
        Ok(page)
    }

    fn encode_gateway(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let build = [(vec![("version", gstvigil::VERSION.to_owned())], gauge(1.0))];
        family(encoder, "vigil_build_info", "Vigil's version", build)?;
        single(encoder, "vigil_ready", "Whether all cameras were started (0 or 1)", flag(self.ready))?;
        single(encoder, "vigil_cameras", "Cameras of the site", gauge(self.cameras.len() as f64))?;
        let readings = [("taken", self.reloads[0]), ("refused", self.reloads[1])]
            .map(|(result, count)| (vec![("result", result.to_owned())], ConstCounter::new(count)));
        family(encoder, "vigil_description_readings", "How often the description was read", readings)?;
        let help = "Whether what the description says is what runs (0 or 1)";
        single(encoder, "vigil_description_taken", help, flag(self.taken))?;
        let help = "Runs of engines in this process that were abandoned and have not come back";
        single(encoder, "vigil_abandoned_runs", help, gauge(self.abandoned as f64))?;
        let help = "Things that the machine lacks for what runs";
        single(encoder, "vigil_machine_lacks", help, gauge(self.lacks as f64))?;
        single(encoder, "process_start_time_seconds", "Start of the process, Unix time", gauge(self.started))?;
        let memory = gauge(self.process.resident_memory_bytes as f64);
        single(encoder, "process_resident_memory_bytes", "Memory in use", memory)?;
        single(encoder, "process_threads", "Threads", gauge(self.process.threads as f64))?;
        single(encoder, "process_open_fds", "Open files and connections", gauge(self.process.open_files as f64))?;
        let time = ConstCounter::new(self.process.processor_time_ns as f64 / 1e9);
        single(encoder, "process_cpu_seconds", "Processor time", time)
    }
}

#[cfg(test)]
#[path = "metrics/tests.rs"]
mod tests;
