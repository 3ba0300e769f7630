//! `[sinkN]`: outputs of cameras and of the tile, the RTSP server, records.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{Config, Entry, Group};
use super::findings::{Findings, Level};
use crate::export::uri::SinkUri;
use crate::site::description::{Properties, RtspServer, Scalar};
use crate::site::output::{Encode, Output};

/// Where pictures and results go.
#[derive(Default)]
pub(super) struct Sinks {
    /// Outputs of the tile.
    pub tile: Vec<Output>,
    /// Outputs of single cameras, by DeepStream's count.
    pub cameras: BTreeMap<usize, Vec<Output>>,
    /// The RTSP server, if it is not where Vigil has it.
    pub rtsp: Option<RtspServer>,
    /// Properties of a stage `vigilexport`.
    pub export: Option<Properties>,
    mounts: BTreeSet<String>,
}

/// Reads all sinks of an application with so many cameras. `tiled`: they get all of them in one picture.
pub(super) fn read(config: &mut Config, tiled: bool, cameras: usize, findings: &mut Findings) -> Sinks {
    let mut sinks = Sinks::default();
    for (_, group) in config.take_numbered("sink") {
        sinks.add(group, tiled, cameras, findings);
    }
    sinks
}

impl Sinks {
    fn add(&mut self, mut group: Group, tiled: bool, cameras: usize, findings: &mut Findings) {
        if !group.enabled(false) {
            findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
            return;
        }
        let source = group.number::<usize>("source-id", findings);
        let demux = group.flag("link-to-demux").unwrap_or(false);
        let camera = (!tiled || demux).then(|| source.map_or(0, |(id, _)| id));
        if let Some(camera) = camera.filter(|camera| *camera >= cameras) {
            let text = format!("no camera is left that counts as {camera}: the output is left out");
            findings.group(Level::Lost, &group, text);
            return;
        }
        match group.number::<i64>("type", findings) {
            Some((1, entry)) => findings.add(Level::Unneeded, &entry, "pictures that go nowhere need no output"),
            Some((2, _)) => self.put(camera, Output::Display {}),
            Some((5 | 7, entry)) => {
                findings.add(Level::Changed, &entry, "the window is GStreamer's own choice for this machine");
                self.put(camera, Output::Display {});
            }
            Some((3, _)) => self.file(camera, &mut group, findings),
            Some((4, entry)) => self.stream(camera, &mut group, &entry, findings),
            Some((6, entry)) => self.records(&entry, &mut group, findings),
            Some((_, entry)) => findings.add(Level::Lost, &entry, "Vigil has no output of this type"),
            None => findings.group(Level::Lost, &group, "it has no `type`: DeepStream would not start it either"),
        }
        let of_others = ["container", "codec", "bitrate", "output-file", "rtsp-port"];
        group.set_aside(|key| of_others.contains(&key), "it says nothing about this type of sink", findings);
        group.rest(findings);
    }

    fn put(&mut self, camera: Option<usize>, output: Output) {
        match camera {
            Some(camera) => self.cameras.entry(camera).or_default().push(output),
            None => self.tile.push(output),
        }
    }

    fn file(&mut self, camera: Option<usize>, group: &mut Group, findings: &mut Findings) {
        let encode = encode(group, findings);
        let container = group.take("container");
        let entry = group.text("output-file");
        let name = entry.as_ref().map_or("out.mp4", |entry| entry.value.as_str());
        let path = std::path::Path::new(name).with_extension("mp4");
        for entry in entry.filter(|entry| path.as_os_str() != entry.value.as_str()).into_iter().chain(container) {
            if entry.key != "container" || entry.number::<i64>() == Some(2) {
                findings.add(Level::Changed, &entry, "files are MP4, which a crash leaves readable");
            }
        }
        self.put(camera, Output::File { path, segment: None, max_files: None, encode });
    }

    fn stream(&mut self, camera: Option<usize>, group: &mut Group, kind: &Entry, findings: &mut Findings) {
        let encode = encode(group, findings);
        let name = camera.map_or_else(|| "/ds-test".to_owned(), |camera| format!("/source{camera}"));
        let mut mount = name.clone();
        let mut number = 2;
        while !self.mounts.insert(mount.clone()) {
            mount = format!("{name}-{number}");
            number += 1;
        }
        if let Some((port, entry)) = group.number::<u16>("rtsp-port", findings) {
            let listen = format!("127.0.0.1:{port}");
            match &self.rtsp {
                Some(server) if server.listen != listen => {
                    let text =
                        format!("there is one RTSP server, at {}; this output is its mount {mount}", server.listen);
                    findings.add(Level::Changed, &entry, text);
                }
                _ => self.rtsp = Some(RtspServer { listen, ..RtspServer::default() }),
            }
        }
        let text = format!(
            "the mount is {mount}, for this machine only: for others set `rtsp.listen = \"0.0.0.0:PORT\"`, with `user` \
             and `password`"
        );
        findings.add(Level::Changed, kind, text);
        self.put(camera, Output::Rtsp { mount, encode });
    }

    /// Records to a broker that Vigil reaches, else to files.
    fn records(&mut self, kind: &Entry, group: &mut Group, findings: &mut Findings) {
        let mut export = Properties::new();
        let mut set = |name: &str, value: String| export.insert(name.to_owned(), Scalar::Text(value));
        match broker(group, findings) {
            Some(uri) => {
                let text =
                    format!("a stage `vigilexport` sends the records of each camera to {uri}, through a spool on disk");
                findings.add(Level::Changed, kind, text);
                set("uri", uri);
            }
            None => {
                let text = "a stage `vigilexport` writes the records of each camera to a file: its `uri` may be a broker of MQTT or \
                            Kafka, or a server (docs/export.md)";
                findings.add(Level::Changed, kind, text);
                set("uri", "file:{camera}.jsonl?rotate-size=100MiB&keep=10".to_owned());
            }
        }
        if group.peek("msg-conv-payload-type") == Some("1")
            && let Some(entry) = group.text("msg-conv-payload-type")
        {
            findings.add(
                Level::Changed,
                &entry,
                "`format = \"deepstream\"`: times and tracks are in it, freshness and ids are not",
            );
            set("format", "deepstream".to_owned());
        }
        self.export = Some(export);
    }
}

/// The address of a broker of Kafka or MQTT, without user and password; nothing is taken of others.
fn broker(group: &mut Group, findings: &mut Findings) -> Option<String> {
    let scheme = group.peek("msg-broker-proto-lib").and_then(|library| {
        ["kafka", "mqtt"].into_iter().find(|name| library.contains(&format!("nvds_{name}_proto")))
    })?;
    let connection = group.peek("msg-broker-conn-str")?.to_owned();
    let mut parts = connection.split(';').map(str::trim);
    let host = parts.next().filter(|host| !host.is_empty())?.to_owned();
    let port =
        parts.next().filter(|port| port.parse::<u16>().is_ok()).map(|port| format!(":{port}")).unwrap_or_default();
    let topic = group.peek("topic").or_else(|| parts.next()).unwrap_or("vigil").trim().to_owned();
    let uri = format!("{scheme}://{host}{port}/{topic}");
    uri.parse::<SinkUri>().ok()?;
    group.text("msg-broker-proto-lib");
    group.text("topic");
    if let Some(entry) = group.text("msg-broker-conn-str") {
        let text = match scheme {
            "mqtt" => {
                "topics are TOPIC/CAMERA/KIND: `topic={prefix}` in the `uri` for one topic; user and password go into the `uri` too"
            }
            _ => "the key of a message is its camera; user and password go into the `uri` (docs/export.md)",
        };
        findings.add(Level::Changed, &entry, text);
    }
    Some(uri)
}

fn encode(group: &mut Group, findings: &mut Findings) -> Encode {
    let mut encode = Encode::default();
    if let Some((bits, _)) = group.number::<u64>("bitrate", findings).filter(|(bits, _)| *bits > 0) {
        encode.bitrate = u32::try_from(bits.div_ceil(1000)).unwrap_or(u32::MAX);
    }
    if let Some((_, entry)) = group.number::<i64>("codec", findings).filter(|(codec, _)| *codec > 1) {
        findings.add(
            Level::Changed,
            &entry,
            "pictures are encoded as H.264; for others name an encoder in `encode.element`",
        );
    }
    encode
}
