//! The pages of the elements are made from the plugin, and every launch line of the documentation works.
//!
//! `UPDATE_DOCS=1 cargo nextest run --test docs` writes the pages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use common::factories;
use glib::translate::{FromGlib, FromGlibContainer, IntoGlib};
use gst::prelude::*;

/// Frames of the set-up's clip that a launch line is played for.
const CLIP_FRAMES: u64 = 60;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the element's module says about itself after its first line, with headings one level lower.
fn description(factory: &str) -> String {
    let folder = factory.strip_prefix("vigil").unwrap();
    let source = std::fs::read_to_string(root().join("src/elements").join(folder).join("mod.rs")).unwrap();
    let lines =
        source.lines().map_while(|line| line.strip_prefix("//!")).map(|line| line.strip_prefix(' ').unwrap_or(line));
    let mut text = String::new();
    for line in lines.skip(2) {
        if line == "```text" {
            text.push_str("```sh");
        } else if line.starts_with("# ") {
            write!(text, "#{line}").unwrap();
        } else {
            text.push_str(&with_links(line));
        }
        text.push('\n');
    }
    text
}

/// Names of other pages become links to them.
fn with_links(line: &str) -> String {
    if line.starts_with("```") {
        return line.to_owned();
    }
    line.split('`')
        .enumerate()
        .map(|(i, part)| match part.strip_prefix("docs/").filter(|_| i % 2 == 1) {
            Some(page) => format!("[{page}](../{page})"),
            None if i % 2 == 1 => format!("`{part}`"),
            None => part.to_owned(),
        })
        .collect()
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn kind(spec: &glib::ParamSpec) -> String {
    let kind = spec.value_type();
    let name = match kind {
        glib::Type::BOOL => "boolean",
        glib::Type::STRING => "string",
        glib::Type::I32 | glib::Type::I64 => "integer",
        glib::Type::U32 | glib::Type::U64 => "unsigned integer",
        glib::Type::F32 | glib::Type::F64 => "number",
        _ if spec.is::<glib::ParamSpecEnum>() => "enumeration",
        _ if spec.is::<glib::ParamSpecFlags>() => "flags",
        _ if kind == gst::Structure::static_type() => "structure",
        _ => kind.name(),
    };
    name.to_owned()
}

/// The values that a property may have.
fn range(spec: &glib::ParamSpec) -> String {
    macro_rules! numbers {
        ($($kind:ty: $number:ty),*) => {
            $(if let Some(s) = spec.downcast_ref::<$kind>() {
                let (low, high) = (s.minimum(), s.maximum());
                return if high == <$number>::MAX { format!("from {low}") } else { format!("{low} … {high}") };
            })*
        };
    }
    numbers!(
        glib::ParamSpecUInt: u32,
        glib::ParamSpecInt: i32,
        glib::ParamSpecUInt64: u64,
        glib::ParamSpecInt64: i64,
        glib::ParamSpecFloat: f32,
        glib::ParamSpecDouble: f64
    );
    choices(spec).iter().map(|(nick, _)| format!("`{nick}`")).collect::<Vec<_>>().join(", ")
}

/// The values of an enumeration or of flags: what a user writes, and what it means.
fn choices(spec: &glib::ParamSpec) -> Vec<(String, String)> {
    let owned = |nick: &str, name: &str| (nick.to_owned(), name.to_owned());
    if let Some(s) = spec.downcast_ref::<glib::ParamSpecEnum>() {
        return s.enum_class().values().iter().map(|v| owned(v.nick(), v.name())).collect();
    }
    let flags = spec.downcast_ref::<glib::ParamSpecFlags>();
    flags.map_or(Vec::new(), |s| s.flags_class().values().iter().map(|v| owned(v.nick(), v.name())).collect())
}

fn default(spec: &glib::ParamSpec) -> String {
    let value = spec.default_value();
    if !spec.flags().contains(glib::ParamFlags::WRITABLE) {
        return String::new();
    }
    if let Ok(number) = value.get::<f32>() {
        return format!("{number}");
    }
    match value.get::<Option<String>>() {
        Ok(None) => "unset".to_owned(),
        Ok(Some(text)) => format!("`{text}`"),
        Err(_) if spec.is::<glib::ParamSpecEnum>() => format!("`{}`", value.serialize().unwrap()),
        // Serialised they are names, which are sentences here.
        Err(_) if spec.is::<glib::ParamSpecFlags>() => {
            let (_, set) = glib::FlagsValue::from_value(value).unwrap();
            set.iter().map(|flag| format!("`{}`", flag.nick())).collect::<Vec<_>>().join("+")
        }
        Err(_) => value.serialize().unwrap().to_string(),
    }
}

fn changes(spec: &glib::ParamSpec) -> &'static str {
    let flags = spec.flags();
    if !flags.contains(glib::ParamFlags::WRITABLE) {
        "read only"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING) {
        "PLAYING"
    } else if flags.contains(gst::PARAM_FLAG_MUTABLE_PAUSED) {
        "PAUSED"
    } else {
        "READY"
    }
}

fn properties(element: &gst::Element) -> String {
    let mut text = String::from("| name | type | values | default | up to | meaning |\n|---|---|---|---|---|---|\n");
    let own = element.list_properties();
    for spec in own.iter().filter(|p| p.owner_type() == element.type_()) {
        let mut blurb = cell(spec.blurb().unwrap());
        for (nick, name) in choices(spec) {
            write!(blurb, "<br>`{nick}`: {}", cell(&name)).unwrap();
        }
        let cells = [format!("`{}`", spec.name()), kind(spec), range(spec), default(spec), changes(spec).into(), blurb];
        writeln!(text, "| {} |", cells.join(" | ")).unwrap();
    }
    text
}

/// Signals by name, with what a handler gets after the element, and what it returns.
fn signals(element: &gst::Element) -> String {
    // SAFETY: the function returns `count` ids in memory that is ours to free, as from_glib_full_num does.
    let ids: Vec<u32> = unsafe {
        let mut count = 0;
        let ids = glib::gobject_ffi::g_signal_list_ids(element.type_().into_glib(), &mut count);
        FromGlibContainer::from_glib_full_num(ids, count as usize)
    };
    let mut text = String::new();
    for id in ids {
        // SAFETY: the id is that of a signal.
        let signal = unsafe { glib::subclass::SignalId::from_glib(id) }.query();
        let kinds: Vec<_> = signal.param_types().iter().map(|t| format!("`{}`", t.type_().name())).collect();
        let action = if signal.flags().contains(glib::SignalFlags::ACTION) { "action signal, " } else { "" };
        let answer = match signal.return_type().type_() {
            glib::Type::UNIT => String::new(),
            kind => format!(", returns `{}`", kind.name()),
        };
        let kinds = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
        writeln!(text, "- `{}`: {action}with {kinds}{answer}", signal.signal_name()).unwrap();
    }
    text
}

fn pads(factory: &gst::ElementFactory) -> String {
    let mut text = String::from("| name | direction | presence | caps |\n|---|---|---|---|\n");
    for template in factory.static_pad_templates() {
        let direction = format!("{:?}", template.direction()).to_lowercase();
        let presence = format!("{:?}", template.presence()).to_lowercase();
        let caps = template.caps();
        let caps = if caps.is_any() { "any".to_owned() } else { format!("`{}`", cell(&caps.to_string())) };
        writeln!(text, "| `{}` | {direction} | {presence} | {caps} |", template.name_template()).unwrap();
    }
    text
}

fn page(factory: &gst::ElementFactory) -> String {
    let name = factory.name();
    let element = factory.create().build().unwrap();
    let mut text = format!(
        "<!-- Made from the plugin and src/elements/{}/mod.rs by: UPDATE_DOCS=1 cargo nextest run --test docs -->\n\n",
        name.strip_prefix("vigil").unwrap()
    );
    let said = |key| factory.metadata(key).unwrap();
    write!(text, "# {name}\n\n**{}** ({}). {}.\n\n", said("long-name"), said("klass"), said("description")).unwrap();
    write!(text, "{}\n## Pads\n\n{}\n## Properties\n\n", description(&name), pads(factory)).unwrap();
    text.push_str("A property may be changed in the state named under \"up to\" and in those below it.\n\n");
    text.push_str(&properties(&element));
    let signals = signals(&element);
    if !signals.is_empty() {
        write!(text, "\n## Signals\n\n{signals}").unwrap();
    }
    text
}

#[test]
fn pages_show_the_plugin() {
    let folder = root().join("docs/elements");
    for factory in factories() {
        let path = folder.join(format!("{}.md", factory.name()));
        let page = page(&factory);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &page).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        let at = there.lines().zip(page.lines()).position(|(a, b)| a != b);
        let line = at.unwrap_or(there.lines().count().min(page.lines().count())) + 1;
        assert!(
            there == page,
            "{}:{line} is not up to date; run UPDATE_DOCS=1 cargo nextest run --test docs",
            path.display()
        );
    }
}

#[test]
fn descriptions_are_whole() {
    for factory in factories() {
        let text = description(&factory.name());
        for part in ["## Metadata", "## Messages", "## Launch lines"] {
            assert!(text.contains(&format!("\n{part}\n")), "{}: there is no {part}", factory.name());
        }
        // A reader can try it without a clip or a camera.
        let first = |line: &Vec<String>| line.first().is_some_and(|w| w == "videotestsrc" || w == "vigilsite");
        let as_it_is = launch_lines(&text).iter().any(first);
        assert!(as_it_is, "{}: none of its launch lines can be run as it is", factory.name());
    }
}

/// Files under a folder with an extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The commands `gst-launch-1.0 …` in the code blocks of a page, each as its words without options.
fn launch_lines(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2);
    let commands = blocks.flat_map(|block| {
        let joined = block.replace("\\\n", " ");
        joined.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    commands
        .filter_map(|command| {
            let words = glib::shell_parse_argv(command).ok()?;
            let words: Vec<_> = words.into_iter().map(|w| w.into_string().unwrap()).collect();
            let at = words.iter().position(|w| w == "gst-launch-1.0")?;
            Some(words[at + 1..].iter().skip_while(|w| w.starts_with('-')).cloned().collect())
        })
        .collect()
}

/// The words of a file of pipelines/, as scripts/demo reads it.
fn pipeline_file(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Every launch line, with the file that it is in.
fn all_lines() -> Vec<(PathBuf, Vec<String>)> {
    let mut pages = files(&root().join("docs"), "md");
    pages.extend(Some(root().join("README.md")).filter(|readme| readme.exists()));
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let mut lines = Vec::new();
    for path in pages {
        lines.extend(launch_lines(&read(&path)).into_iter().map(|line| (path.clone(), line)));
    }
    for path in files(&root().join("pipelines"), "launch") {
        lines.push((path.clone(), pipeline_file(&read(&path))));
    }
    assert!(lines.len() > 8, "there are launch lines: {lines:?}");
    lines
}

fn clip() -> Option<PathBuf> {
    gstvigil::paths::home().map(|home| home.join("clips/vtest.avi")).filter(|clip| clip.exists())
}

/// A line as a pipeline, with its placeholders filled in.
fn parse(line: &[String]) -> Result<gst::Element, glib::Error> {
    let clip = clip().unwrap_or_else(|| PathBuf::from("clip.avi")).display().to_string();
    let words: Vec<_> =
        line.iter().map(|w| w.replace("${CLIP}", &clip).replace("${OUT}", ".").replace("${PORT}", "1883")).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    gst::parse::launchv_full(&words, None, gst::ParseFlags::FATAL_ERRORS)
}

#[test]
fn launch_lines_are_understood() {
    common::init();
    for (path, line) in all_lines() {
        if let Err(error) = parse(&line) {
            panic!("{}: {}: {error}", path.display(), line.join(" "));
        }
    }
}

/// Ends the stream after some frames.
fn shorten(pipeline: &gst::Bin) {
    let first =
        pipeline.iterate_sorted().into_iter().flatten().filter(|e| e.type_().name().starts_with("Vigil")).last();
    let pad = first.unwrap().static_pad("sink").unwrap();
    let frames = std::sync::atomic::AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if frames.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < CLIP_FRAMES {
            return gst::PadProbeReturn::Ok;
        }
        info.flow_res = Err(gst::FlowError::Eos);
        info.data = None;
        gst::PadProbeReturn::Handled
    });
}

/// A line with what a test has in place of what a reader has: the set-up's clip for files and cameras, a small model for
/// one of the reader's own, no window.
fn stand_in(line: &[String]) -> Vec<String> {
    let clip = clip().unwrap_or_default().display().to_string();
    let own = root().join("tests/models/red.onnx").display().to_string();
    let word = |word: &String| match word.as_str() {
        "autovideosink" => "fakesink".to_owned(),
        "rtspsrc" => "filesrc".to_owned(),
        w if w.starts_with("model=") && w.ends_with(".onnx") => format!("model={own}"),
        w if w.starts_with("config=pipelines/") => {
            w.replace("pipelines", &root().join("pipelines").display().to_string())
        }
        w if w.starts_with("location=rtsp:") || w.ends_with("clip.avi") || w.ends_with("vtest.avi") => {
            format!("location={clip}")
        }
        // There is no broker here: it is an address, and the records go into a file.
        w if w.starts_with("uri=") && w.contains("://") && !w.starts_with("uri=file:") => {
            let uri: gstvigil::export::SinkUri = w["uri=".len()..].replace("${PORT}", "1883").parse().unwrap();
            assert!(matches!(uri, gstvigil::export::SinkUri::Remote(_)), "{w}");
            "uri=file:stand-in.jsonl".to_owned()
        }
        w => w.to_owned(),
    };
    line.iter().map(word).collect()
}

#[test]
fn launch_lines_run() {
    common::init();
    if !gstvigil::paths::bundle_dirs().iter().any(|dir| dir.join("people").exists()) || clip().is_none() {
        eprintln!("skipped: the detector or the clip is not installed (make setup)");
        return;
    }
    // What they write goes there.
    let folder = tempfile::tempdir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    for (path, line) in all_lines() {
        let pipeline = parse(&stand_in(&line)).unwrap().downcast::<gst::Pipeline>().unwrap_or_else(|alone| {
            let pipeline = gst::Pipeline::new();
            pipeline.add(&alone).unwrap();
            pipeline
        });
        // A site has no end: that it plays is enough.
        let is_site = line.iter().any(|word| word == "vigilsite");
        if !is_site {
            shorten(pipeline.upcast_ref());
        }
        let bus = pipeline.bus().unwrap();
        let _ = pipeline.set_state(gst::State::Playing);
        let [end, error, warning, told] =
            [gst::MessageType::Eos, gst::MessageType::Error, gst::MessageType::Warning, gst::MessageType::Element];
        let kinds = if is_site { [end, error, warning, told] } else { [end, error, warning, warning] };
        let trouble = loop {
            match bus.timed_pop_filtered(gst::ClockTime::NONE, &kinds).unwrap().view() {
                gst::MessageView::Error(e) => break Some(e.error()),
                // That is about a busy machine, not about the line.
                gst::MessageView::Warning(w) if w.error().to_string().contains("the property deadline allows") => {}
                gst::MessageView::Warning(w) => break Some(w.error()),
                gst::MessageView::Element(e) if !e.structure().is_some_and(|s| s.get("state") == Ok("playing")) => {}
                _ => break None,
            }
        };
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(trouble.is_none(), "{}: {}: {trouble:?}", path.display(), line.join(" "));
    }
}
