//! What `vigil bench` found, as JSON and as text.

use std::path::Path;

use gstvigil::model::Model;
use serde_json::{Map, Value, json};

use super::{Arguments, Turn, median};

/// The turns of each, and what the first stream of the last one said of itself.
pub struct Measured {
    pub bare: Vec<Turn>,
    pub piped: Vec<Turn>,
    pub stats: Option<gst::Structure>,
}

/// The figures: medians over the turns.
pub fn to_json(arguments: &Arguments, threads: u32, model: &Model, caps: &gst::Caps, measured: &Measured) -> Value {
    let Measured { bare, piped, stats } = measured;
    let of = |turns: &[Turn], pick: fn(&Turn) -> f64| median(turns.iter().map(pick).collect());
    let stage = |name: &str| {
        let field = |kind: &str| {
            stats.as_ref().and_then(|s| s.get::<u64>(format!("{name}-{kind}")).ok()).map(|ns| ns as f64 / 1e6)
        };
        json!({ "median_ms": field("median"), "p99_ms": field("p99") })
    };
    let ratios: Vec<f64> = bare.iter().zip(piped).map(|(b, p)| p.fps / b.fps).collect();
    let placement = model.lanes().engine().placement();
    json!({
        "model": model.id().name,
        "provider": model.provider(),
        "nodes": placement.map(|p| json!({ "all": p.on_provider + p.nodes_on_cpu(), "on_cpu": p.on_cpu })),
        "input": arguments.input.as_deref().map_or("test picture".into(), |p: &Path| p.display().to_string()),
        "caps": caps.to_string(),
        "threads": threads,
        "lanes": model.lanes().engine().at_once(),
        "streams": arguments.streams,
        "frames": arguments.frames,
        "rounds": arguments.rounds,
        "bare": { "fps": of(bare, |t| t.fps), "cpu_ms_per_frame": of(bare, |t| t.cpu_ms) },
        "pipeline": {
            "fps": of(piped, |t| t.fps),
            "slowest_stream_fps": of(piped, |t| t.fps * t.least),
            "cpu_ms_per_frame": of(piped, |t| t.cpu_ms),
        },
        "ratio": median(ratios),
        "stages": {
            "pre": stage("pre"), "queue": stage("queue"), "run": stage("run"), "post": stage("post"),
            "total": stage("total"),
        },
        "engine": stats.as_ref().map(|stats| engine(stats)),
    })
}

/// What the element says of its engine: the fields of `stats` that begin so.
fn engine(stats: &gst::StructureRef) -> Value {
    let value = |field: &gst::glib::SendValue| {
        let whole = field.get::<u64>().map(Value::from);
        whole.or_else(|_| field.get::<f64>().map(Value::from)).or_else(|_| field.get::<String>().map(Value::from)).ok()
    };
    let fields = stats.iter().filter_map(|(name, field)| {
        let name = name.strip_prefix("engine-")?;
        Some((name.to_owned(), value(field)?))
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

/// Prints the figures.
pub fn print(report: &Value) {
    let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let plain = |value: &Value| value.to_string().trim_matches('"').to_owned();
    let text = |path: &str| report.pointer(path).map(plain).unwrap_or_default();
    let (model, provider) = (text("/model"), text("/provider"));
    println!("model     {model} on {provider}, {} threads, {} lanes", text("/threads"), text("/lanes"));
    if let Some(Value::Object(on_cpu)) = report.pointer("/nodes/on_cpu") {
        let names = on_cpu.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "none".into() } else { names };
        println!("nodes     {}, of these on the CPU: {names}", text("/nodes/all"));
    }
    println!("input     {}: {}", text("/input"), text("/caps"));
    println!("          {} rounds of {} frames each, medians", text("/rounds"), text("/frames"));
    for (label, key) in [("bare loop", "bare"), ("pipeline", "pipeline")] {
        let (fps, cpu) = (number(&format!("/{key}/fps")), number(&format!("/{key}/cpu_ms_per_frame")));
        println!("{label:<9} {fps:8.2} fps  {cpu:8.2} ms of processor time a frame");
    }
    if number("/streams") > 1.0 {
        println!(
            "streams   {} together, the slowest {:.2} fps",
            text("/streams"),
            number("/pipeline/slowest_stream_fps")
        );
    }
    println!("ratio     {:8.3}", number("/ratio"));
    for stage in ["pre", "queue", "run", "post", "total"] {
        let (median, p99) = (number(&format!("/stages/{stage}/median_ms")), number(&format!("/stages/{stage}/p99_ms")));
        println!("{stage:<9} {median:8.3} ms median, {p99:.3} ms p99");
    }
    if let Some(Value::Object(engine)) = report.get("engine") {
        let fields = engine.iter().map(|(name, value)| format!("{name} {}", plain(value)));
        println!("engine    {}", fields.collect::<Vec<_>>().join(", "));
    }
}
