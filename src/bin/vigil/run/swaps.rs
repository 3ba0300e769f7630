//! Swaps that the API asked for: one that is confirmed becomes part of the site, one that is not leaves no trace.

use std::collections::BTreeMap;

use serde_json::Value;

/// A swap that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// The camera.
    pub camera: String,
    /// Its stage.
    pub stage: String,
    /// The new model.
    pub model: String,
    /// Whether it outlives the process.
    pub persist: bool,
}

/// Swaps that are under way, by camera and what the site calls the request.
#[derive(Debug, Default)]
pub struct Swaps(BTreeMap<(String, String), Swap>);

impl Swaps {
    /// A swap was asked for, and is called so.
    pub fn asked(&mut self, request: &str, swap: Swap) {
        // The last one wins.
        self.0.retain(|_, before| (&before.camera, &before.stage) != (&swap.camera, &swap.stage));
        self.0.insert((swap.camera.clone(), request.to_owned()), swap);
    }

    /// A message `vigil-model` of a camera; the swap, if it was one of these and is confirmed now. Each element counts its requests from
    /// 1, so that one of this name may be another element's: then it asks for another model.
    pub fn heard(&mut self, camera: &str, data: &Value) -> Option<Swap> {
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let key = (camera.to_owned(), text("request").to_owned());
        match text("phase") {
            "confirmed" => self.0.remove(&key).filter(|swap| swap.model == text("new-model")),
            "rejected" | "rolled-back" => {
                self.0.remove(&key);
                None
            }
            _ => None,
        }
    }

    /// The camera's elements are gone, and what they were asked for with them.
    pub fn forget(&mut self, camera: &str) {
        self.0.retain(|(of, _), _| of != camera);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn swap(stage: &str, model: &str) -> Swap {
        Swap { camera: "gate".into(), stage: stage.into(), model: model.into(), persist: true }
    }

    #[test]
    fn only_a_confirmed_swap_that_was_asked_for_counts_and_once() {
        let mut swaps = Swaps::default();
        swaps.asked("infer/7", swap("infer", "a"));
        swaps.asked("second/7", swap("second", "b"));
        let of =
            |request: &str, phase: &str, model: &str| json!({ "request": request, "phase": phase, "new-model": model });
        let message = |request: &str, phase: &str| of(request, phase, "a");
        assert_eq!(swaps.heard("gate", &message("infer/7", "activated")), None);
        assert_eq!(swaps.heard("gate", &message("infer/8", "confirmed")), None);
        assert_eq!(swaps.heard("door", &message("infer/7", "confirmed")), None);
        assert_eq!(swaps.heard("gate", &message("infer/7", "confirmed")), Some(swap("infer", "a")));
        assert_eq!(swaps.heard("gate", &message("infer/7", "confirmed")), None);
        assert_eq!(swaps.heard("gate", &message("second/7", "rolled-back")), None);
        assert_eq!(swaps.heard("gate", &message("second/7", "confirmed")), None);
        swaps.asked("infer/9", swap("infer", "c"));
        swaps.asked("infer/10", swap("infer", "d"));
        assert_eq!(swaps.heard("gate", &message("infer/9", "confirmed")), None, "another one was asked for since");
        assert_eq!(swaps.heard("gate", &of("infer/10", "confirmed", "d")), Some(swap("infer", "d")));
    }

    #[test]
    fn a_request_of_elements_that_are_gone_stands_for_nothing() {
        let mut swaps = Swaps::default();
        let confirmed = |model: &str| json!({ "request": "infer/1", "phase": "confirmed", "new-model": model });
        swaps.asked("infer/1", swap("infer", "people@7"));
        assert_eq!(swaps.heard("gate", &confirmed("people@9")), None, "the first request of another element");
        assert_eq!(swaps.heard("gate", &confirmed("people@7")), None, "it is over");
        swaps.asked("infer/1", swap("infer", "people@7"));
        swaps.forget("door");
        assert_eq!(swaps.0.len(), 1);
        swaps.forget("gate");
        assert_eq!(swaps.heard("gate", &confirmed("people@7")), None);
    }
}
