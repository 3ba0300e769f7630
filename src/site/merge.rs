//! What holds for a camera: its own word, else its profile's, else the defaults'.

use std::collections::BTreeMap;

use super::description::{Camera, Decode, Description, Profile, Properties};

/// The options of the camera `id` after its profile's `camera` table and `defaults`; those of a camera that says nothing if
/// there is none of this id. Properties of stages and of the watchdog are merged one by one; of outputs, the nearest list
/// is taken whole, and of `uri` and `launch` the nearer one.
pub fn camera_options(description: &Description, id: &str) -> Camera {
    let own = description.camera.get(id).cloned().unwrap_or_default();
    let name = own.profile.as_ref().or(description.defaults.profile.as_ref());
    let of_profile = name.and_then(|name| description.profile.get(name)).map(|profile| profile.camera.clone());
    let rest = match of_profile {
        Some(of_profile) => over(of_profile, description.defaults.clone()),
        None => description.defaults.clone(),
    };
    over(own, rest)
}

/// The profile of a camera with these options, with its name; `None` if they name none, or none that there is.
pub fn profile_of<'a>(description: &'a Description, options: &Camera) -> Option<(&'a str, &'a Profile)> {
    let name = options.profile.as_ref()?;
    description.profile.get_key_value(name).map(|(name, profile)| (name.as_str(), profile))
}

/// `near`, and what it does not say from `far`.
fn over(near: Camera, far: Camera) -> Camera {
    // Both say where the pictures come from: one that is nearer stands in for the other.
    let (uri, launch) = match (near.uri, near.launch) {
        (None, None) => (far.uri, far.launch),
        own => own,
    };
    Camera {
        uri,
        launch,
        caps: near.caps.or(far.caps),
        repeat: near.repeat.or(far.repeat),
        user: near.user.or(far.user),
        password: near.password.or(far.password),
        transport: near.transport.or(far.transport),
        tls_ca: near.tls_ca.or(far.tls_ca),
        latency: near.latency.or(far.latency),
        max_fps: near.max_fps.or(far.max_fps),
        decode: decode(near.decode, far.decode),
        profile: near.profile.or(far.profile),
        stage: stages(near.stage, far.stage),
        watchdog: properties(near.watchdog, far.watchdog),
        output: near.output.or(far.output),
        no_signal: near.no_signal.or(far.no_signal),
        silent_after: near.silent_after.or(far.silent_after),
        reconnect: near.reconnect.or(far.reconnect),
        enabled: near.enabled.or(far.enabled),
    }
}

fn decode(near: Option<Decode>, far: Option<Decode>) -> Option<Decode> {
    match (near, far) {
        (Some(near), Some(far)) => {
            Some(Decode { element: near.element.or(far.element), threads: near.threads.or(far.threads) })
        }
        (near, far) => near.or(far),
    }
}

fn properties(near: Properties, far: Properties) -> Properties {
    far.into_iter().chain(near).collect()
}

fn stages(near: BTreeMap<String, Properties>, far: BTreeMap<String, Properties>) -> BTreeMap<String, Properties> {
    let mut merged = far;
    for (name, own) in near {
        let rest = merged.remove(&name).unwrap_or_default();
        merged.insert(name, properties(own, rest));
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::site::description::Scalar;
    use crate::site::read::read_text;

    fn description(text: &str) -> Description {
        let (document, problems) = read_text(text, "site.toml", Path::new("/etc/vigil"));
        assert_eq!(problems.to_string(), "");
        document.unwrap().description
    }

    const SITE: &str = r#"
        format = 1
        name = "yard"
        [defaults]
        profile = "people"
        latency = "200ms"
        max-fps = 25
        launch = "videotestsrc"
        stage.infer = { interval = 1, confidence = 0.5 }
        output = [{ kind = "display" }]
        [profile.people]
        stage = [{ element = "vigilinfer", model = "people" }]
        [profile.people.camera]
        max-fps = 10
        watchdog = { max-misses = 3 }
        stage.infer = { confidence = 0.6, iou = 0.4 }
        [profile.cars]
        [camera.gate]
        uri = "rtsp://gate/1"
        watchdog = { deadline = "1s" }
        stage.infer = { iou = 0.3 }
        [camera.street]
        profile = "cars"
        output = []
        [camera.lost]
        profile = "nothing"
    "#;

    #[test]
    fn a_camera_is_before_its_profile_and_that_before_the_defaults() {
        let site = description(SITE);
        let gate = camera_options(&site, "gate");
        assert_eq!(profile_of(&site, &gate).unwrap().0, "people");
        assert_eq!((gate.max_fps, gate.latency), (Some(10.0), "200ms".parse().ok()));
        assert_eq!((gate.uri.as_deref(), gate.launch), (Some("rtsp://gate/1"), None));
        assert_eq!(gate.output.unwrap().len(), 1);
        let properties = |pairs: &[(&str, Scalar)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let infer: Properties = properties(&[
            ("interval", Scalar::Integer(1)),
            ("confidence", Scalar::Float(0.6)),
            ("iou", Scalar::Float(0.3)),
        ]);
        assert_eq!(gate.stage["infer"], infer);
        let watchdog: Properties =
            properties(&[("max-misses", Scalar::Integer(3)), ("deadline", Scalar::Text("1s".into()))]);
        assert_eq!(gate.watchdog, watchdog);
    }

    #[test]
    fn another_profile_brings_its_own_options() {
        let site = description(SITE);
        let street = camera_options(&site, "street");
        assert_eq!(profile_of(&site, &street).unwrap().0, "cars");
        assert_eq!((street.max_fps, street.launch.as_deref()), (Some(25.0), Some("videotestsrc")));
        assert_eq!(street.output, Some(Vec::new()), "an empty list is a word too");
    }

    #[test]
    fn a_profile_that_is_not_there_is_none() {
        let site = description(SITE);
        assert_eq!(profile_of(&site, &camera_options(&site, "lost")), None);
        let nobody = camera_options(&site, "nobody");
        assert_eq!((nobody.profile.as_deref(), nobody.max_fps), (Some("people"), Some(10.0)), "the defaults' profile");
    }
}
