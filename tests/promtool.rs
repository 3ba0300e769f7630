//! What Prometheus and Grafana get: the names and units of the metrics page, the alert rules, the dashboard. Prometheus's own
//! `promtool` is the judge; without it (Debian: package `prometheus`) its part of the tests is left out, with a message.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

#[path = "common/promtool.rs"]
mod prometheus;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use gstvigil::telemetry::device::{
    Cause, Cpu, Device, Drive, Folder, Gpu, Interface, Memory, Pressure, Pressures, Temperature, Throttling,
};
use prometheus::{complaints, promtool};
use serde_json::{Value, json};

/// What a gateway with two cameras, a watchdog each, one receiver and all figures says, but for the machine's own.
const PAGE: &str = include_str!("prometheus/page.txt");
const RULES: &str = include_str!("../packaging/prometheus/vigil.rules.yml");
const RULES_TESTS: &str = include_str!("../packaging/prometheus/vigil.rules.test.yml");
const DASHBOARD: &str = include_str!("../packaging/grafana/vigil.json");

/// A machine that tells everything.
fn device() -> Device {
    let pressure = || Some(Pressure { some: 0.1, full: 0.0, some_ns: 2_000_000_000, full_ns: 1_000_000_000 });
    Device {
        uptime_ns: Some(3_600_000_000_000),
        hottest_celsius: Some(71.5),
        temperatures: vec![Temperature { name: "cpu-thermal".into(), celsius: 71.5, limit_celsius: Some(110.0) }],
        throttling: Throttling { throttled: Some(true), causes: vec![Cause::Voltage], events: Some(3) },
        cpu: Cpu {
            processors: 4,
            usable: Some(2.5),
            busy: Some(0.5),
            busy_ns: Some(100_000_000_000),
            idle_ns: Some(300_000_000_000),
            process: Some(1.0),
            load: Some([1.5, 1.0, 0.5]),
            frequency_hz: Some(1_500_000_000),
            frequency_most_hz: Some(2_000_000_000),
            frequency_cap: Some(0.75),
        },
        memory: Memory {
            total_bytes: Some(8 << 30),
            available_bytes: Some(4 << 30),
            swap_total_bytes: Some(1 << 30),
            swap_free_bytes: Some(1 << 29),
            limit_bytes: Some(2 << 30),
            limit_used_bytes: Some(1 << 30),
        },
        pressure: Pressures { cpu: pressure(), memory: pressure(), io: pressure() },
        folders: vec![Folder {
            path: "/var/lib/vigil".into(),
            size_bytes: 64 << 30,
            free_bytes: 32 << 30,
            read_only: false,
        }],
        drives: vec![Drive { name: "mmcblk0".into(), read_bytes: 5, written_bytes: 6, busy_ns: 7_000_000_000 }],
        interfaces: vec![Interface { name: "eth0".into(), received_bytes: 8, sent_bytes: 9, errors: 1 }],
        gpus: vec![Gpu {
            id: "GPU-1".into(),
            name: "T4".into(),
            busy: Some(0.5),
            memory_total_bytes: Some(16 << 30),
            memory_used_bytes: Some(1 << 30),
            celsius: Some(60.0),
            limit_celsius: Some(93.0),
            power_watts: Some(70.5),
            throttled: Some(false),
            causes: Vec::new(),
        }],
    }
}

/// The whole page in Prometheus's text format.
fn page() -> String {
    let mut page = PAGE.to_owned();
    for figure in device().figures() {
        let name = figure.shown_name();
        let kind = if figure.counter { "counter" } else { "gauge" };
        writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", figure.help).unwrap();
        for (labels, value) in figure.samples {
            let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            writeln!(page, "{name}{labels} {value}").unwrap();
        }
    }
    page
}

fn packaging() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus")
}

/// Series of a page: name, labels as they are written, value.
fn series(page: &str) -> Vec<(&str, &str, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let series = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        (name, labels.trim_end_matches('}'), value.parse().unwrap())
    });
    series.collect()
}

/// Names of metrics in an expression: words outside of strings that start as one.
fn names(expression: &str) -> BTreeSet<String> {
    let outside = expression.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').map(str::to_owned);
    words.filter(|word| word.starts_with("vigil_") || word.starts_with("process_")).collect()
}

/// Alert rules by name.
fn alerts() -> BTreeMap<String, Value> {
    let rules: Value = serde_saphyr::from_str(RULES).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules.map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule.clone())).collect()
}

/// Queries of the dashboard: where, expression with its variables filled in, legend.
fn queries() -> Vec<(String, String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables = [("$__rate_interval", "5m"), ("$instance", ".*"), ("$camera", ".*")];
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().unwrap().to_owned();
            let filled = variables.iter().fold(text("expr"), |expr, (name, value)| expr.replace(name, value));
            assert!(!filled.contains('$'), "{filled}: a variable that there is not");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{filled}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), filled, text("legendFormat")));
        }
    }
    assert!(queries.len() > 40, "the dashboard's queries are found");
    queries
}

#[test]
fn names_units_and_help_are_as_prometheus_wants_them() {
    assert_eq!(complaints(&page()), "");
    if promtool(&["--version"], Path::new("."), "").is_some() {
        // The judge does judge.
        let bad = page().replace("vigil_camera_frames_total", "vigil_camera_frames");
        assert!(complaints(&bad).contains("vigil_camera_frames"), "{}", complaints(&bad));
    }
}

#[test]
fn each_alert_fires_on_its_series_and_stays_silent_on_good_ones() {
    for args in [["check", "rules", "vigil.rules.yml"], ["test", "rules", "vigil.rules.test.yml"]] {
        let Some((success, said)) = promtool(&args, &packaging(), "") else { break };
        assert!(success, "promtool {}:\n{said}", args.join(" "));
    }
    let tests: Value = serde_saphyr::from_str(RULES_TESTS).unwrap();
    let [good, bad] = tests["tests"].as_array().unwrap().as_slice() else { panic!("two tests") };
    let firing = bad["promql_expr_test"].as_array().unwrap().iter().flat_map(|test| {
        let samples = test["exp_samples"].as_array().unwrap().iter();
        samples.map(|sample| sample["labels"].as_str().unwrap().split('"').nth(1).unwrap().to_owned())
    });
    let firing: BTreeSet<String> = firing.collect();
    let alerts = alerts();
    assert_eq!(firing, alerts.keys().cloned().collect(), "alerts that fire in the test, and alerts");
    // Silent because all is well, not because there is nothing to look at: the good machine has all metrics that the rules ask for.
    let shown = |test: &Value| -> BTreeSet<String> {
        let series = test["input_series"].as_array().unwrap().iter();
        series.flat_map(|series| names(series["series"].as_str().unwrap())).collect()
    };
    let asked: BTreeSet<String> = alerts.values().flat_map(|rule| names(rule["expr"].as_str().unwrap())).collect();
    let there = shown(good);
    let missing: Vec<_> = asked.difference(&there).collect();
    assert!(missing.is_empty(), "not on the good machine: {missing:?}");
}

#[test]
fn alerts_say_how_bad_it_is_and_what_to_do() {
    for (name, rule) in alerts() {
        assert!(name.starts_with("Vigil"), "{name}: alerts of others may be beside it");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for key in ["summary", "description"] {
            let text = rule["annotations"][key].as_str().unwrap_or_else(|| panic!("{name} has no {key}"));
            assert!(text.len() > 20, "{name}: {text}");
        }
        // What is no count over a time by itself must last a while: one bad scrape wakes nobody.
        let over_time = ["changes(", "increase("].iter().any(|f| rule["expr"].as_str().unwrap().contains(f));
        assert!(over_time || rule["for"].is_string(), "{name} has no `for`");
    }
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_there_are() {
    let page = page();
    let series = series(&page);
    let known: BTreeSet<&str> = series.iter().map(|(name, ..)| *name).collect();
    let has = |name: &str, label: &str| {
        let labels = series.iter().filter(|(other, ..)| *other == name).map(|(_, labels, _)| labels.split("\","));
        labels.flatten().any(|other| other.split('=').next() == Some(label))
    };
    let rules =
        alerts().into_iter().map(|(name, rule)| (name, rule["expr"].as_str().unwrap().to_owned(), String::new()));
    for (place, expression, legend) in rules.chain(queries()) {
        let names = names(&expression);
        for name in &names {
            assert!(known.contains(name.as_str()), "{place} asks for {name}, which is not on the page");
        }
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            let there = label == "instance" || names.iter().any(|name| has(name, label));
            assert!(there, "{place}: no metric of {expression} has the label {label}");
        }
    }
}

/// Selectors of rules, `name{…}`: each must find something on the page, be it zero, so that a wrong label or word is noticed.
fn selectors(expression: &str) -> Vec<String> {
    let starts = expression.match_indices('{').map(|(at, _)| at);
    let selectors = starts.map(|at| {
        let (before, after) = expression.split_at(at);
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
        format!("{name}{}", &after[..=after.find('}').unwrap()])
    });
    selectors.collect()
}

/// What promtool is to take for the history of a page: counters rise by what they are in each minute.
fn history(page: &str) -> Vec<Value> {
    let counters: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let rises = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        name.ends_with("_total") || histogram.into_iter().any(|base| counters.contains(base))
    };
    let mut input: Vec<Value> = series(page)
        .into_iter()
        .map(|(name, labels, value)| {
            let comma = if labels.is_empty() { "" } else { "," };
            let step = if rises(name) { value } else { 0.0 };
            json!({
                "series": format!("{name}{{job=\"vigil\",instance=\"a\"{comma}{labels}}}"),
                "values": format!("{value}+{step}x90"),
            })
        })
        .collect();
    input.push(json!({ "series": "up{job=\"vigil\",instance=\"a\"}", "values": "1x90" }));
    input
}

/// Runs promtool's test of this, and says whether it succeeded and what was said; `None` without promtool.
fn try_out(test: Value, rules: Value) -> Option<(bool, String)> {
    let folder = tempfile::TempDir::new().unwrap();
    let file = |name: &str, value: Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    file("rules.json", rules);
    file("test.json", json!({ "rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": [test] }));
    promtool(&["test", "rules", "test.json"], folder.path(), "")
}

#[test]
fn panels_count_each_thing_once() {
    // A camera with two models, of which it tells what they say; it is odd, and drifts.
    let more = "vigil_stage_fresh_total{camera=\"gate\",stage=\"clothes\"} 45000\n";
    let mut page = page() + more;
    for is in
        ["vigil_drift_state{camera=\"gate\",state=\"drifting\"}", "vigil_peer_state{camera=\"gate\",state=\"odd\"}"]
    {
        assert!(page.contains(&format!("{is} 0\n")), "{is}");
        page = page.replace(&format!("{is} 0\n"), &format!("{is} 1\n"));
    }
    assert!(page.contains("stage=\"drift\""), "its figures are on the page");
    let sample = |labels: &str, value: f64| json!({ "labels": labels, "value": value });
    let of_stage = |camera: &str, stage: &str, value| {
        sample(&format!("{{camera=\"{camera}\", instance=\"a\", stage=\"{stage}\"}}"), value)
    };
    let expected = |panel: &str| match panel {
        // A minute's worth of each, a second.
        "Frames that the model looked at" => {
            json!([
                of_stage("gate", "clothes", 750.0),
                of_stage("gate", "infer", 750.0),
                of_stage("yard", "infer", 750.0)
            ])
        }
        "Cameras that drift or are odd" => json!([sample("{}", 1.0)]),
        _ => Value::Null,
    };
    let asked: Vec<Value> = queries()
        .into_iter()
        .filter(|(panel, ..)| !expected(panel).is_null())
        .map(|(panel, expr, _)| json!({ "expr": expr, "eval_time": "60m", "exp_samples": expected(&panel) }))
        .collect();
    assert_eq!(asked.len(), 2);
    let test = json!({ "interval": "1m", "input_series": history(&page), "promql_expr_test": asked });
    let Some((success, said)) = try_out(test, json!({ "groups": [] })) else { return };
    assert!(success, "{said}");
}

#[test]
fn every_panel_and_every_selector_finds_something() {
    let page = page();
    let input = history(&page);
    let of_rules = alerts().into_values().flat_map(|rule| selectors(rule["expr"].as_str().unwrap()));
    let of_panels = queries().into_iter().map(|(_, expression, _)| expression);
    // On a good machine no alert fires: that panel is empty.
    let mut expressions: Vec<String> = of_panels.filter(|expr| !expr.starts_with("ALERTS")).chain(of_rules).collect();
    assert!(expressions.iter().any(|expression| expression == "vigil_drift_state{state=\"drifting\"}"));
    // One that finds nothing, to see that the test would say so.
    expressions.push("vigil_camera_up{camera=\"nowhere\"}".into());
    let rule = |(number, expr): (usize, &String)| json!({ "alert": format!("E{number}"), "expr": format!("count({expr}) > 0") });
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    let expected = |number: usize| {
        let found = if number + 1 == expressions.len() { json!([]) } else { json!([{ "exp_labels": {} }]) };
        json!({ "eval_time": "60m", "alertname": format!("E{number}"), "exp_alerts": found })
    };
    let expected: Vec<Value> = (0..expressions.len()).map(expected).collect();
    let test = json!({ "interval": "1m", "input_series": input, "alert_rule_test": expected });
    let Some((success, said)) = try_out(test, json!({ "groups": [{ "name": "all", "rules": rules }] })) else { return };
    let numbered: Vec<String> = expressions.iter().enumerate().map(|(number, e)| format!("E{number}: {e}")).collect();
    assert!(success, "{said}\n{}", numbered.join("\n"));
}

#[test]
fn the_dashboard_lets_one_choose_and_has_no_hole() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap());
    assert_eq!(variables.collect::<Vec<_>>(), ["datasource", "instance", "camera"]);
    let panels = dashboard["panels"].as_array().unwrap();
    let rows = panels.iter().filter(|panel| panel["type"] == "row").map(|row| row["title"].as_str().unwrap());
    assert_eq!(rows.collect::<Vec<_>>(), ["Fleet", "Cameras", "Models", "Exports", "Device"]);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are distinct");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for place in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{} lies over another panel", panel["title"]);
        }
    }
}

#[test]
fn the_example_configuration_is_valid() {
    let Some((success, said)) = promtool(&["check", "config", "prometheus.yml"], &packaging(), "") else { return };
    assert!(success, "{said}");
}
