//! Elements that share a spool.

use std::sync::Barrier;

use super::*;

/// Waits for the element's next WARNING.
fn warning(camera: &Camera) -> String {
    let kinds = [gst::MessageType::Warning];
    let message = camera.bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("no warning");
    match message.view() {
        gst::MessageView::Warning(warning) => warning.error().to_string(),
        _ => String::new(),
    }
}

#[test]
fn the_uri_of_all_can_get_other_options() {
    const CAMERAS: usize = 8;
    let Some(broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let subscriber = Subscriber::start(&broker, "vigil/#");
    let all_play = Barrier::new(CAMERAS);
    std::thread::scope(|scope| {
        for number in 0..CAMERAS {
            let (broker, folder, all_play) = (&broker, &folder, &all_play);
            scope.spawn(move || {
                let name = format!("camera-{number}");
                let mut old = Camera::start(&name, &broker.uri(Door::Plain, "qos=1"), folder.path(), &[]);
                old.pass(5);
                all_play.wait();
                // As a site does that is reloaded: each is replaced as soon as it has ended, whatever the others do.
                old.stop();
                let mut new = Camera::start(&name, &broker.uri(Door::Plain, "qos=2"), folder.path(), &[]);
                new.pass(5);
                new.wait_for("all sent", |camera| camera.stat("waiting") == 0);
                new.stop();
            });
        }
    });
    let names: Vec<String> = (0..CAMERAS).map(|number| format!("camera-{number}")).collect();
    let heard = subscriber.wait(|heard| names.iter().all(|name| frames(heard, name).len() == 10));
    for name in &names {
        assert_eq!(frames(&heard, name), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4], "{name}");
    }
}

#[test]
fn options_of_the_spool_that_do_not_hold_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let uri = "http://127.0.0.1:9/records";
    let gate = Camera::start("gate", uri, folder.path(), &[]);
    let yard = Camera::start("yard", uri, folder.path(), &[("replay-rate", "5"), ("spool-durability", "relaxed")]);
    let text = warning(&yard);
    for part in
        ["gate was the first", "spool-durability is every-commit and not relaxed", "replay-rate is 1000 and not 5"]
    {
        assert!(text.contains(part), "{text}");
    }
    gate.stop();
    yard.stop();
}

#[test]
fn elements_stop_in_front_of_a_frozen_broker_in_the_time_of_one() {
    let Some(broker) = Broker::start("") else { return };
    let folder = tempfile::tempdir().unwrap();
    let uri = broker.uri(Door::Plain, "");
    let mut cameras: Vec<Camera> =
        (0..8).map(|number| Camera::start(&format!("camera-{number}"), &uri, folder.path(), &[])).collect();
    cameras.iter_mut().for_each(|camera| camera.pass(1));
    cameras[0].wait_for("all sent", |camera| camera.stat("written") == 8);
    broker.freeze();
    cameras.iter_mut().for_each(|camera| camera.pass(3));
    let begin = Instant::now();
    cameras.into_iter().for_each(Camera::stop);
    let took = begin.elapsed();
    broker.thaw();
    assert!(took < 4 * LIMIT, "{took:?}");
    let subscriber = Subscriber::start(&broker, "vigil/#");
    let next = Camera::start("next", &uri, folder.path(), &[]);
    let last = |heard: &[Received], number| frames(heard, &format!("camera-{number}")).last() == Some(&3);
    subscriber.wait(|heard| (0..8).all(|number| last(heard, number)));
    next.stop();
}
