//! What a monitor knows about models, and how it outlives a restart.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Config, MOST_WINDOWS};
use crate::drift::baseline::{Baseline, Window};
use crate::drift::summary::Summary;
use crate::drift::test::{RECENT, Test};

/// Version of what is saved.
const VERSION: u32 = 2;
/// While a baseline lacks objects after its time, it is tried again after this many windows.
const TRY_EVERY: usize = 12;

/// Why a saved state is not taken.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is no state, or damaged.
    #[error("the saved baseline cannot be read ({0}); a new one is learned")]
    Unreadable(#[from] serde_json::Error),
    /// Its parts do not fit each other, or it is of another version.
    #[error("the saved baseline is damaged or of another version; a new one is learned")]
    Foreign,
    /// It was learned with other settings.
    #[error(
        "the saved baseline was learned with another window, over another learning time or with other parts of the day; \
         a new one is learned"
    )]
    OtherSettings,
    /// It is that of the camera of this name.
    #[error("the saved baseline is that of the camera \"{0}\"; a new one is learned")]
    OtherCamera(String),
}

/// What is known about one model on this camera.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pub digest: String,
    /// What the baseline is being learned from; empty once it is.
    pub windows: Vec<Window>,
    pub baseline: Option<Baseline>,
    pub test: Option<Test>,
    /// The newest windows, for evidence.
    pub recent: VecDeque<Window>,
}

impl Known {
    pub fn new(digest: &str) -> Self {
        Self {
            digest: digest.to_owned(),
            windows: Vec::new(),
            baseline: None,
            test: None,
            recent: VecDeque::with_capacity(RECENT),
        }
    }

    fn is_sound(&self, slots: usize) -> bool {
        let in_order = |w: &Window| w.slot < slots;
        let tested = match (&self.baseline, &self.test) {
            (Some(baseline), Some(test)) => test.fits(baseline),
            (None, None) => true,
            _ => false,
        };
        tested && self.windows.iter().chain(&self.recent).all(in_order) && self.recent.len() <= RECENT
    }

    /// Takes the next window: to learn from, or to test.
    pub fn take(&mut self, window: Window, config: &Config, reference: Option<&Summary>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(window.clone());
        if let (Some(baseline), Some(test)) = (&self.baseline, &mut self.test) {
            test.step(baseline, &window, config.bound());
            return;
        }
        if self.windows.len() >= MOST_WINDOWS as usize {
            self.windows.remove(0);
        }
        let utc_ns = window.from_utc_ns;
        self.windows.push(window);
        let needed = config.learn.div_duration_f64(config.window).ceil() as usize;
        if self.windows.len() >= needed && (self.windows.len() - needed).is_multiple_of(TRY_EVERY) {
            self.baseline = Baseline::learn(&self.windows, config.slots, reference);
            if let Some(baseline) = &self.baseline {
                self.test = Some(Test::new(baseline, utc_ns));
                self.windows = Vec::new();
            }
        }
    }
}

/// The window under way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    /// How much of its time is over.
    pub elapsed: Duration,
    pub from_utc_ns: u64,
    /// When its newest frame came.
    pub until_utc_ns: u64,
    pub summary: Summary,
}

/// All that outlives a restart, with what it depends on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    /// Empty where it was not told.
    camera: String,
    window: Duration,
    learn: Duration,
    slots: usize,
    pub known: Known,
    pub before: Option<Known>,
    pub open: Option<Open>,
}

impl Saved {
    pub fn new(config: &Config, camera: &str, known: &Known, before: Option<&Known>, open: Option<&Open>) -> Self {
        Self {
            version: VERSION,
            camera: camera.to_owned(),
            window: config.window,
            learn: config.learn,
            slots: config.slots,
            known: known.clone(),
            before: before.cloned(),
            open: open.cloned(),
        }
    }

    /// Reads what was saved, if it is of this camera and these settings.
    pub fn read(text: &str, config: &Config, camera: &str) -> Result<Self, RestoreError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        if serde_json::from_str::<Version>(text)?.version != VERSION {
            return Err(RestoreError::Foreign);
        }
        let saved: Self = serde_json::from_str(text)?;
        let models = || [Some(&saved.known), saved.before.as_ref()].into_iter().flatten();
        if !models().all(|known| known.is_sound(saved.slots)) {
            return Err(RestoreError::Foreign);
        }
        // Who was not told a name cannot know better.
        if !camera.is_empty() && !saved.camera.is_empty() && saved.camera != camera {
            return Err(RestoreError::OtherCamera(saved.camera));
        }
        // What is still being learned from serves any learning time.
        let is_learned = models().any(|known| known.baseline.is_some());
        if saved.window != config.window || saved.slots != config.slots || (is_learned && saved.learn != config.learn) {
            return Err(RestoreError::OtherSettings);
        }
        Ok(saved)
    }
}
