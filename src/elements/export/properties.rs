//! The properties of `vigilexport`.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use glib::prelude::*;

use crate::export::format::Format;
use crate::export::route::How;
use crate::export::select::Selection;
use crate::export::shipper::Pace;
use crate::export::spool::{Durability, Order, SpoolOptions};

/// Which frames get a record, and whether what happens does.
#[glib::flags(name = "VigilExportRecords")]
pub enum Records {
    #[flags_value(name = "A record for every frame", nick = "frames")]
    FRAMES = 0b001,
    #[flags_value(name = "A record for each frame on which something changed", nick = "changes")]
    CHANGES = 0b010,
    #[flags_value(name = "A record for each thing that happened", nick = "events")]
    EVENTS = 0b100,
}

/// What the records of frames look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilExportFormat")]
#[repr(i32)]
pub enum RecordFormat {
    #[default]
    #[enum_value(name = "Vigil's own, schema vigil/1", nick = "vigil")]
    Vigil,
    #[enum_value(name = "DeepStream's minimal schema", nick = "deepstream")]
    Deepstream,
    #[enum_value(name = "DL Streamer's, as gvametaconvert writes it", nick = "dlstreamer")]
    Dlstreamer,
}

impl From<RecordFormat> for Format {
    fn from(format: RecordFormat) -> Self {
        match format {
            RecordFormat::Vigil => Self::Vigil,
            RecordFormat::Deepstream => Self::Deepstream,
            RecordFormat::Dlstreamer => Self::Dlstreamer,
        }
    }
}

/// What records in the spool survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilSpoolDurability")]
#[repr(i32)]
pub enum SpoolDurability {
    #[default]
    #[enum_value(name = "Every commit survives a power cut", nick = "every-commit")]
    EveryCommit,
    #[enum_value(name = "A crash costs nothing; a power cut may cost the last commits", nick = "relaxed")]
    Relaxed,
}

/// What is sent first after an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilReplayOrder")]
#[repr(i32)]
pub enum ReplayOrder {
    #[default]
    #[enum_value(name = "All in the order in which it came", nick = "in-order")]
    InOrder,
    #[enum_value(name = "What comes now first, what waited beside it", nick = "live-first")]
    LiveFirst,
}

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub uri: Option<String>,
    pub camera: Option<String>,
    pub queue_size: u32,
    pub format: RecordFormat,
    pub records: Records,
    pub selection: Selection,
    pub classes: Option<String>,
    pub thumbnail_size: u32,
    pub spool: Option<String>,
    pub spool_size: u64,
    pub spool_age: u64,
    pub spool_durability: SpoolDurability,
    pub commit_interval: u64,
    pub replay_rate: u32,
    pub replay_order: ReplayOrder,
}

impl Default for Settings {
    fn default() -> Self {
        let (spool, pace) = (SpoolOptions::default(), Pace::default());
        Self {
            uri: None,
            camera: None,
            queue_size: 1000,
            format: RecordFormat::default(),
            records: Records::FRAMES,
            selection: Selection::default(),
            classes: None,
            thumbnail_size: 0,
            spool: None,
            spool_size: spool.bytes,
            spool_age: spool.age.map_or(0, nanoseconds),
            spool_durability: SpoolDurability::default(),
            commit_interval: nanoseconds(spool.commit_interval),
            replay_rate: pace.replay_rate,
            replay_order: ReplayOrder::default(),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A time of which 0 says that there is none.
fn some_time(ns: u64) -> Option<Duration> {
    (ns > 0).then(|| Duration::from_nanos(ns))
}

impl Settings {
    /// What is picked of the frames.
    pub fn selection(&self) -> Selection {
        let classes = self.classes.iter().flat_map(|list| list.split(','));
        Selection {
            frames: self.records.contains(Records::FRAMES),
            changes: self.records.contains(Records::CHANGES),
            events: self.records.contains(Records::EVENTS),
            classes: classes.map(str::trim).filter(|class| !class.is_empty()).map(str::to_owned).collect(),
            ..self.selection.clone()
        }
    }

    /// How records wait and are sent for `by`, the camera.
    pub fn how(&self, by: String) -> How {
        How {
            by,
            queue_size: self.queue_size as usize,
            folder: self.spool.as_ref().filter(|folder| !folder.is_empty()).map(PathBuf::from),
            spool: Some(SpoolOptions {
                bytes: self.spool_size,
                age: some_time(self.spool_age),
                commit_interval: Duration::from_nanos(self.commit_interval),
                durability: match self.spool_durability {
                    SpoolDurability::EveryCommit => Durability::EveryCommit,
                    SpoolDurability::Relaxed => Durability::Relaxed,
                },
            }),
            pace: Pace {
                replay_rate: self.replay_rate,
                order: match self.replay_order {
                    ReplayOrder::InOrder => Order::InOrder,
                    ReplayOrder::LiveFirst => Order::LiveFirst,
                },
            },
        }
    }

    /// Stores a property's value; `false` if the type is not the property's, which GObject has checked before.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        let interval = |to: &mut Option<Duration>| value.get().map(|ns| *to = some_time(ns)).is_ok();
        match name {
            "uri" => value.get().map(|v| self.uri = v).is_ok(),
            "camera" => value.get().map(|v| self.camera = v).is_ok(),
            "queue-size" => value.get().map(|v| self.queue_size = v).is_ok(),
            "format" => value.get().map(|v| self.format = v).is_ok(),
            "records" => value.get().map(|v| self.records = v).is_ok(),
            "min-confidence" => value.get().map(|v| self.selection.min_confidence = v).is_ok(),
            "classes" => value.get().map(|v| self.classes = v).is_ok(),
            "max-rate" => value.get().map(|v| self.selection.max_rate = v).is_ok(),
            "keyframe-interval" => interval(&mut self.selection.keyframe_interval),
            "masks" => value.get().map(|v| self.selection.masks = v).is_ok(),
            "embeddings" => value.get().map(|v| self.selection.embeddings = v).is_ok(),
            "thumbnail-size" => value.get().map(|v| self.thumbnail_size = v).is_ok(),
            "spool" => value.get().map(|v| self.spool = v).is_ok(),
            "spool-size" => value.get().map(|v| self.spool_size = v).is_ok(),
            "spool-age" => value.get().map(|v| self.spool_age = v).is_ok(),
            "spool-durability" => value.get().map(|v| self.spool_durability = v).is_ok(),
            "commit-interval" => value.get().map(|v| self.commit_interval = v).is_ok(),
            "replay-rate" => value.get().map(|v| self.replay_rate = v).is_ok(),
            "replay-order" => value.get().map(|v| self.replay_order = v).is_ok(),
            _ => false,
        }
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "uri" => self.uri.to_value(),
            "camera" => self.camera.to_value(),
            "queue-size" => self.queue_size.to_value(),
            "format" => self.format.to_value(),
            "records" => self.records.to_value(),
            "min-confidence" => self.selection.min_confidence.to_value(),
            "classes" => self.classes.to_value(),
            "max-rate" => self.selection.max_rate.to_value(),
            "keyframe-interval" => self.selection.keyframe_interval.map_or(0, nanoseconds).to_value(),
            "masks" => self.selection.masks.to_value(),
            "embeddings" => self.selection.embeddings.to_value(),
            "thumbnail-size" => self.thumbnail_size.to_value(),
            "spool" => self.spool.to_value(),
            "spool-size" => self.spool_size.to_value(),
            "spool-age" => self.spool_age.to_value(),
            "spool-durability" => self.spool_durability.to_value(),
            "commit-interval" => self.commit_interval.to_value(),
            "replay-rate" => self.replay_rate.to_value(),
            "replay-order" => self.replay_order.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them. Which records are made may change between two frames; where they go may not.
pub static SPECS: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let mut specs = places();
    specs.extend(choices());
    specs.extend(spooling());
    specs.push(
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Counters since the last start: written, dropped, errors, bytes, records, without-result; with a spool also waiting, \
                 spool-bytes, oldest-waiting, connected. docs/elements/vigilexport.md says what each is",
            )
            .read_only()
            .build(),
    );
    specs
});

/// Where records go.
fn places() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let text = |name: &str, nick: &str, blurb: &str| {
        glib::ParamSpecString::builder(name).nick(nick).blurb(blurb).mutable_ready().build()
    };
    vec![
        text(
            "uri",
            "URI",
            "Where records go: file:PATH?rotate-size=10MiB&keep=5, stdout:, mqtt(s)://HOST/PREFIX or mqtt+ws(s)://HOST/PREFIX (topics \
             PREFIX/CAMERA/KIND), kafka(s)://HOST/TOPIC, http(s)://HOST/PATH; their options are in docs/export.md",
        ),
        text("camera", "Camera", "The camera's name in the records (not set: the element's name)"),
        glib::ParamSpecUInt::builder("queue-size")
            .nick("Queue size")
            .blurb("Files and standard output: most records that wait in memory; the oldest is dropped when one more comes")
            .minimum(1)
            .maximum(1_000_000)
            .default_value(Settings::default().queue_size)
            .mutable_ready()
            .build(),
    ]
}

/// What goes into records, and which are made.
fn choices() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let flag = |name: &str, nick: &str, blurb: &str| {
        glib::ParamSpecBoolean::builder(name).nick(nick).blurb(blurb).default_value(false).mutable_playing().build()
    };
    vec![
        glib::ParamSpecEnum::builder_with_default("format", RecordFormat::default())
            .nick("Format")
            .blurb("What the records of frames look like; events are always Vigil's own")
            .mutable_ready()
            .build(),
        glib::ParamSpecFlags::builder::<Records>("records")
            .nick("Records")
            .blurb("What gets a record, joined by + as in changes+events")
            .default_value(Records::FRAMES)
            .mutable_playing()
            .build(),
        glib::ParamSpecDouble::builder("min-confidence")
            .nick("Lowest confidence")
            .blurb("Objects of a lower confidence (0..1) are left out")
            .minimum(0.0)
            .maximum(1.0)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("classes")
            .nick("Classes")
            .blurb("Labels of the classes whose objects are exported, separated by commas (not set: all)")
            .mutable_playing()
            .build(),
        glib::ParamSpecDouble::builder("max-rate")
            .nick("Highest rate")
            .blurb("Most records of frames per second of the stream (0 = no limit); a change that comes too early is told later")
            .minimum(0.0)
            .maximum(1000.0)
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt64::builder("keyframe-interval")
            .nick("Keyframe interval")
            .blurb("With records=changes or events: time in nanoseconds after which a frame gets a record though nothing changed (0 = never)")
            .mutable_playing()
            .build(),
        flag("masks", "Masks", "Write silhouettes, in base64"),
        flag("embeddings", "Embeddings", "Write the vectors that describe how objects look, in base64"),
        glib::ParamSpecUInt::builder("thumbnail-size")
            .nick("Thumbnail size")
            .blurb("With records=events: an object that appears is shown as a JPEG of at most so many bytes, in base64 (0 = not)")
            .maximum(1 << 20)
            .mutable_playing()
            .build(),
    ]
}

/// How records wait for a receiver over a network. Elements of one process that send to the same place share one spool, and the one that
/// starts first says how; the others are warned if they say otherwise.
fn spooling() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    let defaults = Settings::default();
    let number = |name: &str, nick: &str, blurb: &str, default: u64| {
        glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).default_value(default).mutable_ready().build()
    };
    vec![
        glib::ParamSpecString::builder("spool")
            .nick("Spool")
            .blurb("Folder in which records wait for a broker or server (not set: $VIGIL_SPOOL, or the user's or service's state folder)")
            .mutable_ready()
            .build(),
        number("spool-size", "Spool size", "Most bytes that the spool takes on disk (less than 4 MiB counts as that); the oldest of the least important is dropped first", defaults.spool_size),
        number("spool-age", "Spool age", "Time in nanoseconds after which records that wait are dropped (0 = never)", defaults.spool_age),
        glib::ParamSpecEnum::builder_with_default("spool-durability", SpoolDurability::default())
            .nick("Spool durability")
            .blurb("What a commit to the spool survives")
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("commit-interval")
            .nick("Commit interval")
            .blurb("Time in nanoseconds, 10 ms at least, after which records that the receiver has not acknowledged are written to the spool; a crash costs at most those younger")
            .minimum(10_000_000)
            .default_value(defaults.commit_interval)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("replay-rate")
            .nick("Replay rate")
            .blurb("By how many records a second a backlog shrinks at most after an outage; what comes meanwhile is sent besides (0 = no limit)")
            .default_value(defaults.replay_rate)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("replay-order", ReplayOrder::default())
            .nick("Replay order")
            .blurb("What is sent first after an outage")
            .mutable_ready()
            .build(),
    ]
}
