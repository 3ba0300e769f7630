//! The properties about the engine's own process.

use glib::prelude::*;
use gst::glib;

use crate::engine::Engine;
use crate::model::Isolated;

/// Where the engine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilIsolation")]
#[repr(i32)]
pub enum Isolation {
    #[default]
    #[enum_value(name = "In the application's process", nick = "none")]
    None,
    #[enum_value(name = "In a process of its own, which may die and is started anew", nick = "process")]
    Process,
}

/// What the user has set.
#[derive(Debug, Clone, Default)]
pub struct Process {
    isolation: Isolation,
    memory_max: u64,
    cpus: Option<String>,
    niceness: i32,
}

impl Process {
    /// What to ask for; `None` for an engine in the application's process.
    pub fn request(&self) -> Option<Isolated> {
        (self.isolation == Isolation::Process).then(|| self.limits())
    }

    /// The limits of an engine's process; of the one that proves a model too, wherever that runs later.
    pub fn limits(&self) -> Isolated {
        Isolated {
            memory_max: self.memory_max,
            cpus: self.cpus.clone().unwrap_or_default(),
            niceness: u8::try_from(self.niceness).unwrap_or(0),
        }
    }

    /// Stores a property's value; `false` if it is none of these or has another type.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "isolation" => value.get().map(|v| self.isolation = v).is_ok(),
            "engine-memory-max" => value.get().map(|v| self.memory_max = v).is_ok(),
            "engine-cpus" => value.get().map(|v| self.cpus = v).is_ok(),
            "engine-niceness" => value.get().map(|v| self.niceness = v).is_ok(),
            _ => false,
        }
    }

    /// A property's value; `None` if it is none of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "isolation" => self.isolation.to_value(),
            "engine-memory-max" => self.memory_max.to_value(),
            "engine-cpus" => self.cpus.to_value(),
            "engine-niceness" => self.niceness.to_value(),
            _ => return None,
        })
    }
}

/// The properties as GObject wants them; changes take effect when the element leaves READY.
pub fn specs() -> Vec<glib::ParamSpec> {
    use gst::prelude::GstParamSpecBuilderExt;
    vec![
        glib::ParamSpecEnum::builder::<Isolation>("isolation")
            .nick("Isolation")
            .blurb(
                "Whether the engine runs in a process of its own, so that what kills it does not end the application",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt64::builder("engine-memory-max")
            .nick("Engine memory maximum")
            .blurb("Most memory of the engine's own process, and of the one that proves a new model, in bytes (0 = no limit); a run that needs more fails")
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("engine-cpus")
            .nick("Engine CPUs")
            .blurb("Numbers of the processors that the engine's own process may run on, such as 0-1,3 (unset = all)")
            .mutable_ready()
            .build(),
        glib::ParamSpecInt::builder("engine-niceness")
            .nick("Engine niceness")
            .blurb("How much the engine stands back behind other work, its own process or its threads in this one, as a niceness in 0..19 (10 = about a tenth of the time that decoding gets where both want a processor)")
            .minimum(0)
            .maximum(19)
            .mutable_ready()
            .build(),
    ]
}

/// Adds what is known about the engine's process to the statistics.
pub fn add_stats(stats: &mut gst::Structure, engine: &dyn Engine) {
    let Some(worker) = engine.worker() else { return };
    stats.set("engine-state", worker.state);
    stats.set("engine-restarts", worker.restarts);
    if let Some(pid) = worker.pid {
        stats.set("engine-pid", u64::from(pid));
    }
}
