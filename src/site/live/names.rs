//! Whose an element is, for those who know its address only: log functions, which may not touch what they are told of.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use gst::prelude::*;

use crate::gstutil::lock;

static NAMES: Mutex<Option<HashMap<usize, Arc<str>>>> = Mutex::new(None);

fn names() -> MutexGuard<'static, Option<HashMap<usize, Arc<str>>>> {
    lock(&NAMES)
}

/// Notes that `pipeline` and all elements that are or come into it are `camera`'s, each as long as it lives.
pub fn follow(pipeline: &gst::Pipeline, camera: &str) {
    let camera: Arc<str> = camera.into();
    note(pipeline.upcast_ref(), &camera);
    let later = Arc::clone(&camera);
    pipeline.connect_deep_element_added(move |_, _, element| note(element, &later));
    pipeline.iterate_recurse().into_iter().flatten().for_each(|element| note(&element, &camera));
}

fn note(element: &gst::Element, camera: &Arc<str>) {
    let address = element.as_ptr() as usize;
    let before = names().get_or_insert_default().insert(address, Arc::clone(camera));
    if before.is_none() {
        // Its address may be another element's afterwards.
        element.add_weak_ref_notify(move || {
            names().as_mut().and_then(|names| names.remove(&address));
        });
    }
}

/// The camera of the element at `address`.
pub fn camera_of(address: usize) -> Option<Arc<str>> {
    names().as_ref()?.get(&address).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_is_its_cameras_as_long_as_it_lives() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let early = gst::ElementFactory::make("identity").build().unwrap();
        pipeline.add(&early).unwrap();
        follow(&pipeline, "gate");
        let late = gst::ElementFactory::make("bin").build().unwrap();
        pipeline.add(&late).unwrap();
        let within = gst::ElementFactory::make("identity").build().unwrap();
        late.downcast_ref::<gst::Bin>().unwrap().add(&within).unwrap();
        let addresses = [pipeline.as_ptr() as usize, early.as_ptr() as usize, late.as_ptr() as usize];
        let addresses = addresses.into_iter().chain([within.as_ptr() as usize]).collect::<Vec<_>>();
        assert!(addresses.iter().all(|address| camera_of(*address).as_deref() == Some("gate")));
        drop((pipeline, early, late, within));
        assert!(addresses.iter().all(|address| camera_of(*address).is_none()));
    }
}
