//! The properties of `vigilinfer`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use glib::prelude::*;
use gst_video::VideoOrientationMethod;

use super::isolation::Process;
use super::trials::Trials;
use crate::analysis::{Settings as AnalysisSettings, WhenBusy};
use crate::cascade::Rules;
use crate::gstutil::store;
use crate::model::Request;

/// What to do with a frame while the most frames that may be under way are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilWhenBusy")]
#[repr(i32)]
pub enum Busy {
    #[default]
    #[enum_value(name = "Wait: analyse every frame, and slow the source down", nick = "wait")]
    Wait,
    #[enum_value(name = "Hold: let the frame go on with the last result, marked as held", nick = "hold")]
    Hold,
}

/// What the model looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "VigilInferenceRegion")]
#[repr(i32)]
pub enum Region {
    #[default]
    #[enum_value(name = "Whole frames", nick = "full-frame")]
    FullFrame,
    #[enum_value(name = "Objects that an element before it found", nick = "objects")]
    Objects,
}

/// What the user has set.
#[derive(Debug, Clone)]
pub struct Settings {
    pub model: Option<String>,
    pub provider: String,
    pub threads: u32,
    pub max_in_flight: u32,
    pub max_batch: u32,
    pub ort_library: Option<String>,
    pub engine_timeout: u64,
    pub process: Process,
    /// What a new model must prove, and what there is below it.
    pub trials: Trials,
    pub interval: u32,
    pub when_busy: Busy,
    pub weight: u32,
    pub max_fps: f64,
    pub confidence: f32,
    pub iou: f32,
    pub max_objects: i32,
    pub mirror_roi: bool,
    pub post_messages: bool,
    pub emit_signals: bool,
    pub orientation: VideoOrientationMethod,
    pub inference_region: Region,
    pub object_class: Option<String>,
    /// Everything about objects but their classes.
    pub rules: Rules,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model: None,
            provider: "auto".into(),
            threads: 0,
            max_in_flight: 0,
            max_batch: 0,
            ort_library: None,
            engine_timeout: 10_000_000_000,
            process: Process::default(),
            trials: Trials::default(),
            interval: 0,
            when_busy: Busy::default(),
            weight: 1,
            max_fps: 0.0,
            confidence: -1.0,
            iou: -1.0,
            max_objects: -1,
            mirror_roi: true,
            post_messages: false,
            emit_signals: false,
            orientation: VideoOrientationMethod::Auto,
            inference_region: Region::default(),
            object_class: None,
            rules: Rules::default(),
        }
    }
}

impl Settings {
    /// What to load; `None` without a model.
    pub fn request(&self) -> Option<Request> {
        self.model.clone().filter(|m| !m.is_empty()).map(|model| self.request_for(model))
    }

    /// What to load for another model than the one that is set.
    pub fn request_for(&self, model: String) -> Request {
        Request {
            model,
            provider: self.provider.clone(),
            threads: self.threads as usize,
            lanes: self.lanes(),
            max_batch: self.max_batch as usize,
            ort_library: self.ort_library.as_ref().filter(|p| !p.is_empty()).map(PathBuf::from),
            batch: self.inference_region == Region::Objects,
            isolation: self.process.request(),
            niceness: self.process.limits().niceness,
            ..Request::default()
        }
    }

    /// Lanes to ask for, 0 for one per thread. Elements that let frames pass share an engine by turns, however many frames
    /// each may have there; 1 asks for the engine that has one lane on all threads, for the least delay.
    fn lanes(&self) -> usize {
        match (self.max_in_flight, self.when_busy) {
            (2.., Busy::Hold) => 0,
            (most, _) => most as usize,
        }
    }

    /// How frames are analysed with an engine that computes `lanes` runs at once.
    pub fn analysis(&self, lanes: usize) -> AnalysisSettings {
        AnalysisSettings {
            interval: self.interval,
            // One frame more than lanes: it is ready when a lane becomes free.
            max_in_flight: if self.max_in_flight == 0 { lanes + 1 } else { self.max_in_flight as usize },
            when_busy: match self.when_busy {
                Busy::Wait => WhenBusy::Wait,
                Busy::Hold => WhenBusy::Hold,
            },
            weight: self.weight,
            max_fps: (self.max_fps > 0.0).then_some(self.max_fps),
            confidence: (self.confidence >= 0.0).then_some(self.confidence),
            iou: (self.iou >= 0.0).then_some(self.iou),
            max_objects: usize::try_from(self.max_objects).ok(),
            run_limit: (self.engine_timeout > 0).then(|| Duration::from_nanos(self.engine_timeout)),
            cascade: (self.inference_region == Region::Objects).then(|| Arc::new(self.rules())),
        }
    }

    /// Which objects are looked at.
    fn rules(&self) -> Rules {
        let names = self.object_class.as_deref().unwrap_or_default().split(',').map(str::trim);
        Rules { classes: names.filter(|n| !n.is_empty()).map(str::to_owned).collect(), ..self.rules.clone() }
    }

    /// Stores a property's value; `false` if the type is not the property's, which GObject has checked before.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "model" => store(&mut self.model, value),
            "provider" => value.get::<Option<String>>().map(|v| self.provider = v.unwrap_or_default()).is_ok(),
            "threads" => store(&mut self.threads, value),
            "max-in-flight" => store(&mut self.max_in_flight, value),
            "max-batch" => store(&mut self.max_batch, value),
            "ort-library" => store(&mut self.ort_library, value),
            "engine-timeout" => store(&mut self.engine_timeout, value),
            "interval" => store(&mut self.interval, value),
            "when-busy" => store(&mut self.when_busy, value),
            "weight" => store(&mut self.weight, value),
            "max-fps" => store(&mut self.max_fps, value),
            "confidence" => store(&mut self.confidence, value),
            "iou" => store(&mut self.iou, value),
            "max-objects" => store(&mut self.max_objects, value),
            "mirror-roi" => store(&mut self.mirror_roi, value),
            "post-messages" => store(&mut self.post_messages, value),
            "emit-signals" => store(&mut self.emit_signals, value),
            "orientation" => store(&mut self.orientation, value),
            "inference-region" => store(&mut self.inference_region, value),
            "object-class" => store(&mut self.object_class, value),
            "object-min-size" => store(&mut self.rules.min_size, value),
            "object-min-confidence" => store(&mut self.rules.min_confidence, value),
            "object-margin" => store(&mut self.rules.margin, value),
            "object-max" => value.get::<u32>().map(|v| self.rules.most = v as usize).is_ok(),
            "reinfer-time" => store(&mut self.rules.again_ns, value),
            "reinfer-growth" => store(&mut self.rules.growth, value),
            name => self.process.set(name, value) || self.trials.set(name, value),
        }
    }

    /// A property's value.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "model" => self.model.to_value(),
            "provider" => self.provider.to_value(),
            "threads" => self.threads.to_value(),
            "max-in-flight" => self.max_in_flight.to_value(),
            "max-batch" => self.max_batch.to_value(),
            "ort-library" => self.ort_library.to_value(),
            "engine-timeout" => self.engine_timeout.to_value(),
            "interval" => self.interval.to_value(),
            "when-busy" => self.when_busy.to_value(),
            "weight" => self.weight.to_value(),
            "max-fps" => self.max_fps.to_value(),
            "confidence" => self.confidence.to_value(),
            "iou" => self.iou.to_value(),
            "max-objects" => self.max_objects.to_value(),
            "mirror-roi" => self.mirror_roi.to_value(),
            "post-messages" => self.post_messages.to_value(),
            "emit-signals" => self.emit_signals.to_value(),
            "orientation" => self.orientation.to_value(),
            "inference-region" => self.inference_region.to_value(),
            "object-class" => self.object_class.to_value(),
            "object-min-size" => self.rules.min_size.to_value(),
            "object-min-confidence" => self.rules.min_confidence.to_value(),
            "object-margin" => self.rules.margin.to_value(),
            "object-max" => u32::try_from(self.rules.most).unwrap_or(u32::MAX).to_value(),
            "reinfer-time" => self.rules.again_ns.to_value(),
            "reinfer-growth" => self.rules.growth.to_value(),
            name => return self.process.get(name).or_else(|| self.trials.get(name)),
        })
    }
}
