//! What callers of an API without a token may not ask for.
//!
//! Such an API hears every user and every program of the machine. They may change what the site looks at. They may not have the gateway
//! do with its own rights what they could not do themselves: run code, write files where they say, trust other keys, or log in with the
//! site's secrets at an address of theirs.

use std::collections::BTreeMap;

use gstvigil::site::description::{Camera, Description};
use gstvigil::site::merge::{camera_options, profile_of};
use gstvigil::site::output::Output;
use gstvigil::site::plan::{CameraPlan, Node, Plan, Step, Value};
use gstvigil::site::resolve::stage_name;

/// The first thing that a camera of a caller's asks for and that needs a token, as a text; `None`: nothing does. `description`
/// is the one with the camera in it, which need not check.
pub fn objection(id: &str, camera: &Camera, description: &Description) -> Option<String> {
    let of_camera = own_keys(camera).into_iter().chain(camera.output.iter().flatten().filter_map(of_output));
    of_camera.map(str::to_owned).next().or_else(|| of_stages(id, camera, description)).map(|key| needs_token(&key))
}

/// The same for where the camera would log in: with secrets it may do so only where, and as, a camera that runs does it.
pub fn objection_to_login(camera: &CameraPlan, running: Option<&Plan>) -> Option<String> {
    let known =
        |login: &Login<'_>| running.is_some_and(|plan| plan.cameras.values().any(|c| logins(c).any(|l| l == *login)));
    let strange = logins(camera).any(|login| !known(&login));
    strange.then(|| {
        needs_token(
            "a `user` or `password` that is a secret, sent to another address than those of the site's own cameras,",
        )
    })
}

fn needs_token(what: &str) -> String {
    format!("{what} is taken from callers only where the API has a token (`api.token`)")
}

/// Keys of the camera itself that name what is run.
fn own_keys(camera: &Camera) -> Vec<&'static str> {
    let decoder = camera.decode.as_ref().and_then(|decode| decode.element.as_ref());
    let named = [("`launch`", camera.launch.is_some()), ("`decode.element`", decoder.is_some())];
    named.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
}

/// The key of an output that names what is run, or what is written.
fn of_output(output: &Output) -> Option<&'static str> {
    match output {
        Output::Rtsp { encode, .. } => encode.element.as_ref().map(|_| "`encode.element`"),
        Output::Display {} => None,
        Output::File { .. } | Output::Hls { .. } | Output::Snapshot { .. } => Some("an output that writes files"),
    }
}

/// The first property of a stage that is not harmless.
fn of_stages(id: &str, camera: &Camera, description: &Description) -> Option<String> {
    let options = camera_options(description, id);
    let (_, profile) = profile_of(description, &options)?;
    let factory = |name: &str| profile.stage.iter().find(|stage| stage_name(stage) == name).map(|stage| &stage.element);
    camera.stage.iter().find_map(|(name, properties)| {
        // A stage that the profile does not have, a check finds.
        let factory = factory(name)?;
        let property = properties.keys().find(|property| !is_harmless(factory, property))?;
        Some(format!("`stage.{name}.{property}`"))
    })
}

/// Whether an element's property neither names code, a file to write, or keys to trust. Of elements that are not Vigil's own, nobody
/// knows.
fn is_harmless(factory: &str, property: &str) -> bool {
    match factory {
        "vigilinfer" => !["ort-library", "public-keys"].contains(&property),
        "vigilexport" => property != "uri",
        "vigiltrack" | "vigiloverlay" => true,
        _ => false,
    }
}

/// Whom an element of a source sends which secrets.
#[derive(PartialEq)]
struct Login<'a> {
    factory: &'a str,
    properties: BTreeMap<&'a str, &'a Value>,
}

fn logins(camera: &CameraPlan) -> impl Iterator<Item = Login<'_>> {
    let nodes = camera.source.iter().filter_map(|step| match step {
        Step::Element(node) => Some(node),
        Step::Caps(_) | Step::Launch(_) => None,
    });
    nodes.filter(|node| node.properties.values().any(is_secret)).map(login)
}

fn login(node: &Node) -> Login<'_> {
    // Who the other side is, and all that it is sent.
    let tells = |name: &str, value: &Value| ["location", "tls-database", "user-id"].contains(&name) || is_secret(value);
    let properties = node.properties.iter().filter(|(name, value)| tells(name, value));
    Login { factory: &node.factory, properties: properties.map(|(name, value)| (name.as_str(), value)).collect() }
}

fn is_secret(value: &Value) -> bool {
    matches!(value, Value::Secret(_))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use std::path::Path;

    use gstvigil::site::live::introspect::Registry;
    use gstvigil::site::read::read_text;
    use gstvigil::site::resolve::resolve;

    use super::*;

    const SITE: &str = r#"
        format = 1
        name = "s"
        [defaults]
        user = "joe"
        password = { env = "CAMERA_PASSWORD" }
        [profile.p]
        stage = [
            { element = "vigilinfer", model = "m.onnx" },
            { element = "vigilexport", uri = "stdout:" },
            { element = "identity", name = "other" },
        ]
        [camera.gate]
        uri = "rtsp://10.0.0.7/1"
    "#;

    fn described(more: &str) -> Description {
        let (document, problems) = read_text(&format!("{SITE}{more}"), "site.toml", Path::new("/etc/vigil"));
        assert_eq!(problems.to_string(), "");
        document.unwrap().description
    }

    #[test]
    fn nothing_of_a_callers_is_run_written_or_trusted_without_a_token() {
        let said = |camera: &str| {
            let description = described(&format!("[camera.new]\nprofile = \"p\"\n{camera}"));
            objection("new", &description.camera["new"], &description)
        };
        for (camera, key) in [
            ("launch = \"videotestsrc\"", "`launch`"),
            ("uri = \"test:ball\"\ndecode.element = \"avdec_h264\"", "`decode.element`"),
            ("output = [{ kind = \"rtsp\", mount = \"/x\", encode.element = \"x264enc\" }]", "`encode.element`"),
            (
                "output = [{ kind = \"display\" }, { kind = \"file\", path = \"/x.mp4\" }]",
                "an output that writes files",
            ),
            ("output = [{ kind = \"hls\", folder = \"/x\" }]", "an output that writes files"),
            ("output = [{ kind = \"snapshot\", path = \"/x.jpg\", every = \"1s\" }]", "an output that writes files"),
            ("stage.infer.ort-library = \"/tmp/evil.so\"", "`stage.infer.ort-library`"),
            ("stage.infer.public-keys = \"/tmp/own.pem\"", "`stage.infer.public-keys`"),
            ("stage.export.uri = \"file:/tmp/x\"", "`stage.export.uri`"),
            ("stage.other.name-of-a-library = \"/tmp/evil.so\"", "`stage.other.name-of-a-library`"),
        ] {
            let text = said(camera).unwrap_or_else(|| panic!("{camera} is taken"));
            assert!(text.starts_with(key) && text.contains("api.token"), "{text}");
        }
        for camera in [
            "uri = \"rtsp://10.0.0.8/1\"\nmax-fps = 5\noutput = [{ kind = \"rtsp\", mount = \"/x\" }]",
            "stage.infer = { interval = 2, model = \"other\" }\nstage.export.queue-size = 5\nwatchdog.deadline = \"1s\"",
            "stage.none.ort-library = \"/x.so\"",
        ] {
            assert_eq!(said(camera), None, "{camera}");
        }
    }

    #[test]
    fn a_secret_goes_where_it_goes_already_and_nowhere_else() {
        gst::init().unwrap();
        gstvigil::plugin::plugin_register_static().unwrap();
        let plan = |more: &str| {
            let (document, _) = read_text(&format!("{SITE}{more}"), "site.toml", Path::new("/etc/vigil"));
            resolve(&document.unwrap(), &Registry::new()).unwrap().0
        };
        let running = plan("");
        let refused = |camera: &str| {
            let plan = plan(&format!("[camera.new]\n{camera}"));
            objection_to_login(&plan.cameras["new"], Some(&running)).is_some()
        };
        assert!(refused("uri = \"rtsp://10.0.0.66/1\""), "the site's login at another address");
        assert!(refused("uri = \"rtsp://10.0.0.7/1\"\npassword = { env = \"VIGIL_TOKEN\" }"), "another secret");
        assert!(refused("uri = \"rtsp://10.0.0.7/1\"\nuser = { file = \"/etc/shadow\" }"));
        assert!(refused("uri = \"rtsp://10.0.0.7/1\"\ntls-ca = \"own.pem\""), "another authority");
        assert!(!refused("uri = \"rtsp://10.0.0.7/1\"\ntransport = \"udp\"\nmax-fps = 5"));
        assert!(!refused("uri = \"test:ball\""), "nobody is logged in at");
        assert!(objection_to_login(&running.cameras["gate"], None).is_some(), "nothing runs");
    }
}
