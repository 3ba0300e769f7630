//! `[sourceN]`, `[source-list]` and the list of sources of YAML files.

use std::collections::BTreeSet;

use super::config::{Config, Entry, Group};
use super::findings::{Findings, Level};
use super::nvinfer::name_of;
use super::uri::{decoded, split};
use crate::secret::Secret;
use crate::site::description::{Camera, Transport};
use crate::site::units::{Span, TextOrSecret};

/// A camera, and where the file describes it.
pub(super) struct Source {
    pub id: String,
    pub camera: Camera,
    pub from: String,
}

/// Reads all cameras, in the order in which DeepStream counts them.
pub(super) fn read(config: &mut Config, findings: &mut Findings) -> Vec<Source> {
    let mut sources = Sources { list: Vec::new(), ids: BTreeSet::new() };
    if let Some(list) = config.take("source-list") {
        let all = config.take("source-attr-all");
        sources.listed(list, all, config, findings);
    } else if let Some(all) = config.take("source-attr-all") {
        findings.group(Level::Unneeded, &all, "it holds for the cameras of a [source-list], and there is none");
    }
    let mut groups: Vec<Group> = config.take_numbered("source").into_iter().map(|(_, group)| group).collect();
    if let Some(mut table) = config.take("source") {
        if let Some(entry) = table.text("csv-file-path") {
            match rows(config, &entry) {
                Ok(rows) => groups.extend(rows),
                Err(text) => findings.add(Level::Lost, &entry, text),
            }
        }
        table.rest(findings);
    }
    for group in groups {
        sources.single(group, config, findings);
    }
    sources.list
}

/// The rows of a table with a header, each as a group `sourceN`.
fn rows(config: &Config, entry: &Entry) -> Result<Vec<Group>, String> {
    let path = config.resolve(&entry.value);
    let name = path.display().to_string();
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or_else(|| format!("{name}: it is empty"))?;
    let header: Vec<&str> = header.trim_start_matches('\u{feff}').split(',').map(str::trim).collect();
    let row = |(number, (line, text)): (usize, (usize, &str))| {
        let mut group = Group::new(&name, &format!("source{number}"), line);
        for (key, value) in header.iter().zip(text.split(',').map(str::trim)).filter(|(_, value)| !value.is_empty()) {
            group.push(key, value, line);
        }
        group
    };
    Ok(lines.enumerate().map(row).collect())
}

struct Sources {
    list: Vec<Source>,
    ids: BTreeSet<String>,
}

impl Sources {
    /// Adds a camera with an address of the file, or a source of another kind.
    fn add(&mut self, id: &str, mut camera: Camera, from: &str) {
        let id = name_of(id);
        let mut free = id.clone();
        let mut number = 2;
        while !self.ids.insert(free.clone()) {
            free = format!("{id}-{number}");
            number += 1;
        }
        if camera.password.is_some() {
            camera.password = Some(Secret::Env(variable(&free)));
        }
        self.list.push(Source { id: free, camera, from: from.into() });
    }

    fn listed(&mut self, mut list: Group, all: Option<Group>, config: &Config, findings: &mut Findings) {
        let uris = list.text("list");
        let names = list.text("sensor-name-list").map(|e| e.items()).unwrap_or_default();
        let ids = list.text("sensor-id-list").map(|e| e.items()).unwrap_or_default();
        list.rest(findings);
        let template = all.map(|mut group| {
            group.enabled(true);
            group.take("type");
            let camera = common(&mut group, findings);
            group.take("num-sources");
            group.rest(findings);
            camera
        });
        let template = template.unwrap_or_default();
        let Some(entry) = uris else { return };
        for (place, uri) in entry.items().into_iter().enumerate() {
            let mut camera = template.clone();
            address(&mut camera, &uri, &entry, config, findings);
            let id = names.get(place).or(ids.get(place)).cloned().unwrap_or_else(|| format!("source{place}"));
            self.add(&id, camera, &format!("[source-list] of {}", entry.place()));
        }
    }

    fn single(&mut self, mut group: Group, config: &Config, findings: &mut Findings) {
        if !group.enabled(false) {
            findings.group(Level::Unneeded, &group, "it is off (enable = 0) and left out");
            return;
        }
        let kind = group.number::<i64>("type", findings);
        let mut camera = common(&mut group, findings);
        let count = group.number::<u32>("num-sources", findings).map_or(1, |(n, _)| n.clamp(1, 1024));
        let from = format!("[{}] of {}:{}", group.name, group.file, group.line);
        let name = group.name.clone();
        match kind {
            Some((1, _)) => {
                local(&mut camera, &mut group, findings);
                self.add(&name, camera, &from);
            }
            Some((5, entry)) => {
                csi(&mut camera, &mut group, &entry, findings);
                self.add(&name, camera, &from);
            }
            Some((2..=4, _)) => match group.text("uri") {
                Some(entry) => {
                    for place in 0..count {
                        let mut camera = camera.clone();
                        address(&mut camera, &entry.value.replace("%d", &place.to_string()), &entry, config, findings);
                        let id = if count > 1 { format!("{name}-{place}") } else { name.clone() };
                        self.add(&id, camera, &from);
                    }
                }
                None => findings.group(Level::Lost, &group, "it has no `uri`: there is nothing to read from"),
            },
            Some((_, entry)) => {
                let text = "Vigil has no sources of this type (6 to 8 are audio); give the camera a `launch` fragment";
                findings.add(Level::Lost, &entry, text);
            }
            None => findings.group(Level::Lost, &group, "it has no `type`: DeepStream would not start it either"),
        }
        let of_others = |key: &str| (key.starts_with("camera-") && key != "camera-id") || key == "uri";
        group.set_aside(of_others, "it says nothing about this type of source", findings);
        group.rest(findings);
    }
}

/// What all kinds of sources may have.
fn common(group: &mut Group, findings: &mut Findings) -> Camera {
    let mut camera = Camera::default();
    if !group.is_on("smart-record") {
        group.set_aside(|key| key.starts_with("smart-rec-"), "nothing is recorded (no smart-record)", findings);
    }
    if let Some((latency, _)) = group.number::<u64>("latency", findings) {
        camera.latency = Some(Span::from_millis(latency));
    }
    if let Some((protocol, entry)) = group.number::<i64>("select-rtp-protocol", findings) {
        camera.transport = Some(match protocol {
            1 => Transport::Udp,
            2 => Transport::Multicast,
            4 => Transport::Tcp,
            0 | 7 => Transport::Auto,
            _ => {
                findings.add(Level::Changed, &entry, "UDP is tried, then TCP");
                Transport::Auto
            }
        });
    }
    let silent = group.number::<u64>("rtsp-reconnect-interval-sec", findings);
    if let Some((seconds, _)) = silent.filter(|(seconds, _)| *seconds > 0) {
        camera.silent_after = Some(Span::from_secs(seconds));
    }
    if let Some((nth, entry)) = group.number::<u64>("drop-frame-interval", findings).filter(|(n, _)| *n > 1) {
        let text = format!("set `max-fps` of the camera to the frames a second that it sends, divided by {nth}");
        findings.add(Level::Lost, &entry, text);
    }
    camera
}

/// An address of the file: relative files from its folder, and nobody's password in it.
fn address(camera: &mut Camera, uri: &str, entry: &Entry, config: &Config, findings: &mut Findings) {
    if let Some(path) = uri.strip_prefix("file://") {
        camera.uri = Some(format!("file:{}", config.resolve(&decoded(path)).display()));
        return;
    }
    let address = split(uri);
    camera.uri = Some(address.uri);
    camera.user = address.user.map(TextOrSecret::Text);
    if address.password {
        let text = "the password is not written into the site: put it into the variable of the environment that the \
                    camera's `password` names, or name a file there";
        findings.add(Level::Changed, entry, text);
        // Which variable, is known with the camera's id.
        camera.password = Some(Secret::Env(String::new()));
    }
}

/// The variable of the environment for a camera's password.
fn variable(id: &str) -> String {
    let name: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    format!("{name}_PASSWORD")
}

/// Size and rate as caps; what is not said is left out.
fn caps(group: &mut Group, start: &str, findings: &mut Findings) -> Option<String> {
    let mut number = |key: &str| group.number::<u32>(key, findings).map(|(n, _)| n).filter(|n| *n > 0);
    let size = number("camera-width").zip(number("camera-height"));
    let rate = number("camera-fps-n").map(|n| (n, number("camera-fps-d").unwrap_or(1)));
    if size.is_none() && rate.is_none() {
        return None;
    }
    let size = size.map(|(w, h)| format!(",width={w},height={h}")).unwrap_or_default();
    let rate = rate.map(|(n, d)| format!(",framerate={n}/{d}")).unwrap_or_default();
    Some(format!("{start}{size}{rate}"))
}

fn local(camera: &mut Camera, group: &mut Group, findings: &mut Findings) {
    let node = group.text("camera-v4l2-dev-node");
    let node = node.map_or_else(|| "0".to_owned(), |e| e.value.split_whitespace().next().unwrap_or("0").to_owned());
    let node = if node.starts_with('/') { node } else { format!("/dev/video{node}") };
    camera.uri = Some(format!("v4l2:{node}"));
    camera.caps = caps(group, "video/x-raw", findings);
}

fn csi(camera: &mut Camera, group: &mut Group, kind: &Entry, findings: &mut Findings) {
    let sensor = group.number::<u32>("camera-csi-sensor-id", findings).map_or(0, |(n, _)| n);
    let caps = caps(group, "video/x-raw(memory:NVMM)", findings);
    let caps = caps.map(|caps| format!(" ! {caps}")).unwrap_or_default();
    camera.launch = Some(format!("nvarguscamerasrc sensor-id={sensor}{caps} ! nvvidconv ! video/x-raw"));
    findings.add(Level::Changed, kind, "the camera's `launch` needs NVIDIA's nvarguscamerasrc and nvvidconv (JetPack)");
}
