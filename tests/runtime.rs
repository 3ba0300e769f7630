//! When ONNX Runtime is opened, and what it leaves: no sooner than the first engine, no socket, no file.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{again, caps, compile, descriptors, frame, is_child, model, output, result, threads};
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoFormat;
use gstvigil::result::Freshness;

/// The plugin that cargo has built with this test; only `cargo build` copies it out of that folder.
fn plugin() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_vigil")).with_file_name("deps").join("libgstvigil.so")
}

/// A process that finds no plugin but those that it loads itself, with a home of its own.
fn alone(command: &mut Command, home: &Path) -> PathBuf {
    let folder = home.join("home");
    std::fs::create_dir(&folder).unwrap();
    for name in
        ["HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "TMPDIR"]
    {
        command.env(name, &folder);
    }
    command
        .env("GST_REGISTRY", home.join("registry.bin"))
        .env("GST_PLUGIN_SYSTEM_PATH", "")
        .env("GST_PLUGIN_PATH", "")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .current_dir(&folder);
    folder
}

#[track_caller]
fn assert_empty(folder: &Path) {
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn maps() -> String {
    std::fs::read_to_string("/proc/self/maps").unwrap()
}

#[test]
fn looking_at_the_plugin_opens_nothing() {
    const NAME: &str = "looking_at_the_plugin_opens_nothing";
    if is_child(NAME) {
        return look_at_the_plugin();
    }
    let home = tempfile::tempdir().unwrap();
    let mut child = again(NAME);
    let folder = alone(&mut child, home.path());
    output(&mut child);
    assert_empty(&folder);
}

/// Loads the plugin and asks its elements for everything that gst-inspect shows.
fn look_at_the_plugin() {
    gst::init().unwrap();
    let before = (descriptors(), threads());
    let plugin = gst::Plugin::load_file(plugin()).unwrap();
    let features = gst::Registry::get().features_by_plugin(&plugin.plugin_name());
    assert!(features.len() >= 4, "{} factories", features.len());
    for feature in features {
        let Ok(factory) = feature.downcast::<gst::ElementFactory>() else { continue };
        let element = factory.create().build().unwrap();
        for property in element.list_properties().iter().filter(|p| p.flags().contains(glib::ParamFlags::READABLE)) {
            let _ = element.property_value(property.name());
        }
        let pads = if factory.name() == "vigilsite" { (0, 1) } else { (2, 2) };
        assert_eq!((element.pads().len(), factory.static_pad_templates().len()), pads);
    }
    assert!(maps().contains("libgstvigil.so"));
    assert!(!maps().contains("onnxruntime"), "ONNX Runtime is loaded");
    assert_eq!((descriptors(), threads()), before);
}

#[test]
fn gst_inspect_and_its_scanner_load_no_runtime() {
    let home = tempfile::tempdir().unwrap();
    let mut inspect = Command::new("gst-inspect-1.0");
    let folder = alone(&mut inspect, home.path());
    let plugins = home.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink(plugin(), plugins.join("libgstvigil.so")).unwrap();
    // The dynamic linker names every library that any of the processes opens.
    let linker_log = home.path().join("linker");
    inspect
        .arg("vigilinfer")
        .env("GST_PLUGIN_PATH", &plugins)
        .env("LD_DEBUG", "files")
        .env("LD_DEBUG_OUTPUT", &linker_log);
    let (out, _) = output(&mut inspect);
    assert!(out.contains("max-in-flight"), "{out}");
    let logs: String = std::fs::read_dir(home.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("linker"))
        .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned())
        .collect();
    assert!(logs.contains("libgstvigil.so"), "the log names libraries");
    assert!(!logs.contains("onnxruntime"), "ONNX Runtime is looked for");
    assert_empty(&folder);
}

/// Tells on standard error which calls towards a network a process makes, also those whose sockets are soon closed.
const SPY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>
#define TELL(text) (void)!write(2, text "\n", sizeof text)
int socket(int domain, int type, int protocol) {
    TELL("spy: socket");
    int (*next)(int, int, int) = dlsym(RTLD_NEXT, "socket");
    return next(domain, type, protocol);
}
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    TELL("spy: getaddrinfo");
    int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    return next(node, service, hints, found);
}
"#;

#[test]
fn running_a_model_opens_no_socket_and_leaves_no_file() {
    const NAME: &str = "running_a_model_opens_no_socket_and_leaves_no_file";
    if is_child(NAME) {
        return run_a_model();
    }
    let library = gstvigil::paths::runtime_candidates(None, None).into_iter().find(|path| path.is_file());
    let Some(library) = library else { panic!("ONNX Runtime is not installed: run scripts/setup") };
    let temp = tempfile::tempdir().unwrap();
    let spy = temp.path().join("spy.so");
    compile(SPY, &spy);
    for opens_a_socket in [true, false] {
        let home = tempfile::tempdir().unwrap();
        let mut child = again(NAME);
        let folder = alone(&mut child, home.path());
        child.env("VIGIL_ORT_LIBRARY", &library).env("LD_PRELOAD", &spy);
        if opens_a_socket {
            child.env("VIGIL_TEST_SOCKET", "1");
        }
        let (out, err) = output(&mut child);
        assert!(out.contains("50 frames"), "{out}");
        assert_eq!(err.contains("spy:"), opens_a_socket, "{err}");
        assert_empty(&folder);
    }
}

fn run_a_model() {
    if std::env::var_os("VIGIL_TEST_SOCKET").is_some() {
        // Shows that the spy sees one.
        drop(std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap());
    }
    let caps = caps(VideoFormat::I420, 64, 48);
    let element = gst::ElementFactory::make("vigilinfer").property("model", model("red")).build().unwrap();
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.play();
    assert!(maps().contains("onnxruntime"), "the first engine opens the runtime");
    harness.set_src_caps(caps.clone());
    for n in 0..50 {
        harness.push(frame(&caps, (255, 0, 0), n)).unwrap();
        assert_eq!(result(&harness.pull().unwrap()).freshness, Freshness::Fresh);
        let open = descriptors();
        assert!(!open.values().any(|to| to.starts_with("socket:")), "{open:?}");
    }
    drop(harness);
    element.set_state(gst::State::Null).unwrap();
    let lanes = threads().into_iter().filter(|name| name.starts_with("vigil-lane")).count();
    assert_eq!(lanes, 0, "the engine's threads end with its last user");
    println!("50 frames");
}
