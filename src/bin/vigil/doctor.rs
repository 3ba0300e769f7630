//! `vigil doctor`: what is here, and what to do about what is not.

use std::borrow::Cow;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use gstvigil::bundle::{Bundle, sign};
use gstvigil::engine::onnx::{PROVIDERS, start_provider};
use gstvigil::engine::runtime;
use gstvigil::paths;
use gstvigil::store::{Entry, Store};
use serde_json::{Value, json};

/// Arguments of `vigil doctor`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a thing stands.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Good,
    /// Not there, and not needed.
    Note,
    Bad,
}

struct Finding {
    what: Cow<'static, str>,
    state: State,
    text: String,
    advice: Option<&'static str>,
}

impl Finding {
    fn good(what: impl Into<Cow<'static, str>>, text: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Good, text: text.into(), advice: None }
    }

    fn note(what: impl Into<Cow<'static, str>>, text: impl Into<String>, advice: &'static str) -> Self {
        Self { what: what.into(), state: State::Note, text: text.into(), advice: Some(advice) }
    }

    fn bad(what: &'static str, text: impl Into<String>, advice: &'static str) -> Self {
        Self { what: what.into(), state: State::Bad, text: text.into(), advice: Some(advice) }
    }
}

/// Prints what was found; fails if something needed is missing.
pub fn run(arguments: &Arguments, library: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let mut findings = vec![gstreamer()];
    if findings.iter().all(|f| f.state == State::Good) {
        findings.push(plugin());
        findings.extend(helpers());
    }
    findings.extend(onnx_runtime(library));
    findings.push(worker());
    findings.push(gpu());
    findings.extend(keys());
    findings.extend(bundles());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&as_json(&findings))?);
    } else {
        print_text(&findings);
    }
    let bad = findings.iter().any(|f| f.state == State::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_json(findings: &[Finding]) -> Value {
    let state = |s| match s {
        State::Good => "good",
        State::Note => "note",
        State::Bad => "bad",
    };
    findings
        .iter()
        .map(|f| json!({ "what": f.what, "state": state(f.state), "text": f.text, "advice": f.advice }))
        .collect()
}

fn print_text(findings: &[Finding]) {
    for f in findings {
        let mark = match f.state {
            State::Good => "ok ",
            State::Note => "-  ",
            State::Bad => "BAD",
        };
        println!("{mark} {:<18} {}", f.what, f.text);
        if let Some(advice) = f.advice {
            println!("    {:<18} -> {advice}", "");
        }
    }
}

fn gstreamer() -> Finding {
    match gst::init() {
        Ok(()) => {
            let (major, minor, micro, _) = gst::version();
            Finding::good("GStreamer", format!("{major}.{minor}.{micro}"))
        }
        Err(error) => Finding::bad(
            "GStreamer",
            format!("cannot start: {error}"),
            "install GStreamer 1.20 or later: scripts/setup",
        ),
    }
}

fn plugin() -> Finding {
    let advice = "point GST_PLUGIN_PATH at the folder with libgstvigil.so, or install it with meson install; \
                  gst-inspect-1.0 -b lists plugins that GStreamer refused";
    match gst::Registry::get().find_plugin("vigil") {
        Some(plugin) => {
            let file = plugin.filename().unwrap_or_default();
            let text = format!("{} at {}", plugin.version(), file.display());
            if plugin.version() == gstvigil::VERSION {
                Finding::good("plugin vigil", text)
            } else {
                let text = format!("{text}; this command is {}", gstvigil::VERSION);
                Finding::note("plugin vigil", text, "the command and the plugin come from different builds")
            }
        }
        None => Finding::bad("plugin vigil", "GStreamer does not find it", advice),
    }
}

/// Elements that the examples use.
fn helpers() -> Option<Finding> {
    let wanted = ["decodebin", "videoconvert", "avdec_h264", "x264enc", "mp4mux", "rtspsrc"];
    let missing: Vec<_> = wanted.into_iter().filter(|name| gst::ElementFactory::find(name).is_none()).collect();
    (!missing.is_empty()).then(|| {
        let text = format!("missing: {}", missing.join(", "));
        Finding::note("other elements", text, "the examples use them: scripts/setup installs them")
    })
}

fn onnx_runtime(explicit: Option<&Path>) -> Vec<Finding> {
    let runtime = match runtime::get(explicit) {
        Ok(runtime) => runtime,
        Err(error) => return vec![Finding::bad("ONNX Runtime", error.to_string(), "run scripts/setup")],
    };
    let mut found = vec![Finding::good("ONNX Runtime", format!("{} at {}", runtime.version, runtime.path.display()))];
    match runtime::available_providers() {
        Ok(names) => {
            let names: Vec<_> = names.iter().map(|n| n.trim_end_matches("ExecutionProvider").to_lowercase()).collect();
            found.push(Finding::good("providers", names.join(", ")));
            let built_in = |provider: &&&str| names.iter().any(|name| name == **provider);
            found.extend(PROVIDERS.iter().filter(|p| **p != "cpu").filter(built_in).map(|p| provider(p, explicit)));
        }
        Err(error) => {
            let advice = "this ONNX Runtime is damaged: run scripts/setup";
            found.push(Finding::bad("providers", error.to_string(), advice));
        }
    }
    found
}

/// A provider that the runtime was built with may lack its own libraries here.
fn provider(name: &str, library: Option<&Path>) -> Finding {
    let what = format!("provider {name}");
    match start_provider(name, library) {
        Ok(()) => Finding::good(what, "starts"),
        Err(error) => {
            Finding::note(what, error.to_string(), "not needed, unless a bundle or the property provider asks for it")
        }
    }
}

/// The command that `isolation=process` starts: the plugin looks around its own file.
fn worker() -> Finding {
    let plugin = gst::init().ok().and_then(|()| gst::Registry::get().find_plugin("vigil")).and_then(|p| p.filename());
    let file = plugin.and_then(|file| file.canonicalize().ok()).or_else(runtime::own_file);
    let tried = paths::worker_candidates(file.as_deref());
    // This command is not what another application would find.
    let tried: Vec<_> = tried.into_iter().filter(|path| !path.starts_with("/proc")).collect();
    match tried.iter().find(|path| paths::is_program(path)) {
        Some(found) => Finding::good("engine process", format!("isolation=process starts {}", found.display())),
        None => {
            let tried: Vec<_> = tried.iter().map(|path| path.display().to_string()).collect();
            let advice = "isolation=process needs the command vigil: put it beside the plugin or on the PATH, or name it \
                          in VIGIL_WORKER";
            Finding::note("engine process", format!("no command in {}", tried.join(", ")), advice)
        }
    }
}

fn gpu() -> Finding {
    match std::fs::read_to_string("/proc/driver/nvidia/version") {
        Ok(text) => Finding::good("GPU", text.lines().next().unwrap_or("NVIDIA").trim().to_owned()),
        Err(_) => Finding::note("GPU", "no NVIDIA driver is loaded", "not needed: models run on the CPU"),
    }
}

/// Whose bundles are taken here.
fn keys() -> Option<Finding> {
    match sign::configured_keys(None) {
        Ok(keys) if keys.is_empty() => None,
        Ok(keys) => {
            let names = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Some(Finding::good("signatures", format!("only bundles signed by {names} are taken")))
        }
        Err(error) => Some(Finding::bad("signatures", error.to_string(), "mend the key, or no bundle is taken")),
    }
}

/// What the store holds: the release that each name means.
fn installed() -> Vec<Finding> {
    let Some(store) = Store::default_place() else { return Vec::new() };
    let advice = "vigil bundle list shows what is there; install the release again";
    let entries = match store.list() {
        Ok(entries) => entries,
        Err(error) => return vec![Finding::bad("store", error.to_string(), "see who may read the store")],
    };
    let state = |entry: Entry| match store.resolve(&entry.name, None) {
        Ok(Some(found)) if found.bundle.warnings.is_empty() => {
            Finding::good("bundle", format!("{} {} at {}", entry.name, found.release, found.path.display()))
        }
        Ok(Some(found)) => Finding::note("bundle", found.bundle.warnings.join("; "), advice),
        Ok(None) => Finding::note("bundle", format!("{} was just removed", entry.name), advice),
        Err(error) => Finding::bad("bundle", error.to_string(), advice),
    };
    entries.into_iter().map(state).collect()
}

fn bundles() -> Vec<Finding> {
    let mut found = installed();
    for folder in paths::bundle_dirs() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut files: Vec<_> = entries.flatten().map(|e| e.path()).collect();
        files.sort();
        for path in
            files.iter().filter(|p| p.join("bundle.toml").is_file() || p.extension().is_some_and(|e| e == "vigil"))
        {
            found.push(match Bundle::open(path) {
                Ok(b) => Finding::good("bundle", format!("{} {} at {}", b.name, b.release, path.display())),
                Err(error) => Finding::bad("bundle", error.to_string(), "mend it, or remove it"),
            });
        }
    }
    if found.is_empty() {
        let places = paths::store_dir().into_iter().chain(paths::bundle_dirs());
        let folders: Vec<_> = places.map(|p| p.display().to_string()).collect();
        let text = format!("none in {}", folders.join(", "));
        found.push(Finding::note(
            "bundles",
            text,
            "scripts/setup installs the bundle people; vigil bundle new makes one",
        ));
    }
    found
}
