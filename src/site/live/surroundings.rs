//! This machine, as a check asks for it.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use gst::prelude::*;
use rustix::fs::{Access, access};

use crate::bundle::ModelSource;
use crate::site::surroundings::{BadFragment, ModelFacts, Port, Surroundings};

/// The machine that this process runs on. Each model is opened once.
#[derive(Debug, Default)]
pub struct Machine {
    models: Mutex<HashMap<String, Result<ModelFacts, String>>>,
}

impl Machine {
    /// GStreamer must have been initialised.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Surroundings for Machine {
    fn model(&self, model: &str) -> Result<ModelFacts, String> {
        let known = || self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(model) {
            return found.clone();
        }
        let found = ModelSource::open(model).map_err(|e| e.to_string()).map(|source| match source {
            ModelSource::Bundle(bundle) => ModelFacts {
                task: Some(bundle.task),
                labels: Some(bundle.labels.iter().map(|label| label.to_string()).collect()),
                warnings: bundle.warnings,
            },
            ModelSource::Bare { .. } => ModelFacts::default(),
        });
        known().insert(model.into(), found.clone());
        found
    }

    fn file(&self, path: &Path) -> Result<(), String> {
        let fail = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => format!("there is no file {}", path.display()),
            _ => format!("{} cannot be read: {e}", path.display()),
        };
        let found = path.metadata().map_err(fail)?;
        if !found.is_file() {
            let what = if found.is_dir() { "a folder" } else { "a pipe or a device" };
            return Err(format!("{} is {what}, not a file", path.display()));
        }
        access(path, Access::READ_OK).map_err(|e| fail(e.into()))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn folder(&self, path: &Path) -> Result<(), String> {
        let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        if !there.is_dir() {
            return Err(format!("{} is not a folder", there.display()));
        }
        access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|e| {
            let what = if there == path { String::new() } else { format!(", and {} is not there", path.display()) };
            format!("nothing can be written to the folder {}{what}: {}", there.display(), io::Error::from(e))
        })
    }

    fn port(&self, address: SocketAddr) -> Port {
        match TcpListener::bind(address) {
            Ok(_) => Port::Free,
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => Port::Taken,
            Err(e) => Port::Unusable(match e.kind() {
                io::ErrorKind::AddrNotAvailable => format!("this machine has no address {}", address.ip()),
                _ => format!("{address} cannot be listened on: {e}"),
            }),
        }
    }

    fn variable(&self, name: &str) -> bool {
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    }

    fn launch(&self, fragment: &str, filter: bool) -> Result<(), BadFragment> {
        let wrong = |text: &str| BadFragment::Wrong(text.into());
        if fragment.contains('\0') {
            return Err(wrong("a launch fragment cannot have a NUL in it"));
        }
        // As it is used: with something behind it, so that it may end in caps, and for a filter something before it.
        let before = if filter { format!("identity name={BEGIN} ! ") } else { String::new() };
        let whole = format!("{before}{fragment} ! identity name={END}");
        let made = gst::parse::bin_from_description_full(&whole, false, None, gst::ParseFlags::FATAL_ERRORS);
        let made = made.map_err(|e| {
            let text = format!("GStreamer does not understand it: {}", e.message());
            let absent = e.matches(gst::ParseError::NoSuchElement);
            if absent { BadFragment::Absent(text) } else { BadFragment::Wrong(text) }
        })?;
        let bin = made.downcast_ref::<gst::Bin>().ok_or_else(|| wrong("GStreamer made no bin of it"))?;
        match open_ends(bin) {
            (0, 0) => Ok(()),
            (1.., _) if filter => Err(wrong("an input of its elements has nothing to come in")),
            (1.., _) => Err(wrong("an input of its elements has nothing to come in: it is no source")),
            (_, 1..) => Err(wrong("it has several outputs, one is expected")),
        }
    }

    fn caps(&self, caps: &str) -> Result<(), String> {
        if caps.contains('\0') {
            return Err("caps cannot have a NUL in them".into());
        }
        match caps.parse::<gst::Caps>() {
            Ok(parsed) if !parsed.is_empty() => Ok(()),
            _ => Err(format!("\"{caps}\" are no caps, such as \"video/x-raw,width=640,height=480,framerate=15/1\"")),
        }
    }

    fn rtsp_server(&self) -> bool {
        cfg!(feature = "rtsp-server")
    }
}

/// What stands before and behind a fragment while it is looked at.
const BEGIN: &str = "vigil-begin";
const END: &str = "vigil-end";

/// Inputs and outputs of a fragment's elements that are not linked.
fn open_ends(bin: &gst::Bin) -> (usize, usize) {
    let (mut inputs, mut outputs) = (0, 0);
    for element in bin.iterate_elements().into_iter().flatten() {
        if [BEGIN, END].contains(&element.name().as_str()) {
            continue;
        }
        inputs += element.sink_pads().iter().filter(|pad| !pad.is_linked()).count();
        outputs += element.src_pads().iter().filter(|pad| !pad.is_linked()).count();
    }
    (inputs, outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        gst::init().unwrap();
        crate::plugin::plugin_register_static().unwrap();
        Machine::new()
    }

    #[test]
    fn a_launch_fragment_has_one_output() {
        let machine = machine();
        let source = |fragment: &str| machine.launch(fragment, false);
        assert_eq!(source("videotestsrc ! videoconvert"), Ok(()));
        assert_eq!(source("videotestsrc"), Ok(()));
        assert_eq!(source("filesrc location=/nowhere ! decodebin"), Ok(()), "its output comes later");
        assert_eq!(source("videotestsrc ! video/x-raw,width=320"), Ok(()), "it may end in caps");
        let wrong = |result: Result<(), BadFragment>, word: &str| match result {
            Err(BadFragment::Wrong(text)) => assert!(text.contains(word), "{text}"),
            other => panic!("{other:?}"),
        };
        wrong(source("videotestsrc ! fakesink"), "could not link");
        wrong(source("videoconvert"), "no source");
        wrong(machine.launch("tee name=t ! queue t. ! queue", true), "several");
        wrong(source("videotestsrc videotestsrc"), "several outputs");
        let absent = source("videotestsrcc");
        assert!(matches!(&absent, Err(BadFragment::Absent(text)) if text.contains("videotestsrcc")), "{absent:?}");
        assert!(source("videotestsrc pattern=nonsense").is_err());
        assert!(source("").is_err());
        assert_eq!(machine.launch("videoconvert", true), Ok(()));
        wrong(machine.launch("videotestsrc", true), "could not link");
    }

    #[test]
    fn caps_are_understood_or_not() {
        let machine = machine();
        assert_eq!(machine.caps("video/x-raw,width=640,framerate=15/1"), Ok(()));
        for caps in ["", "video/x-raw,width=", "a\0b"] {
            assert!(machine.caps(caps).is_err(), "{caps}");
        }
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        let machine = machine();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(machine.port(address), Port::Taken);
        drop(listener);
        assert_eq!(machine.port("127.0.0.1:0".parse().unwrap()), Port::Free);
        let elsewhere = machine.port("192.0.2.1:8686".parse().unwrap());
        assert_eq!(elsewhere, Port::Unusable("this machine has no address 192.0.2.1".into()));
    }

    #[test]
    fn folders_are_judged_by_what_is_there() {
        let (machine, folder) = (machine(), tempfile::tempdir().unwrap());
        assert_eq!(machine.folder(folder.path()), Ok(()));
        assert_eq!(machine.folder(&folder.path().join("a/b")), Ok(()), "it can be made");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(machine.folder(&file.join("a")), Err(format!("{} is not a folder", file.display())));
        assert_eq!(machine.file(&file), Ok(()));
        assert!(machine.file(folder.path()).unwrap_err().contains("is a folder"));
        assert!(machine.file(Path::new("/dev/zero")).unwrap_err().contains("is a pipe or a device"));
        let gone = folder.path().join("gone");
        assert_eq!(machine.file(&gone), Err(format!("there is no file {}", gone.display())));
    }

    #[test]
    fn a_bare_model_tells_little() {
        let machine = machine();
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/models/red.onnx");
        assert_eq!(machine.model(model), Ok(ModelFacts::default()));
        assert!(machine.model("/nowhere/people").unwrap_err().contains("/nowhere/people"));
    }
}
