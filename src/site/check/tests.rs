use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::bundle::contract::Task;
use crate::site::live::introspect::Registry;
use crate::site::live::surroundings::Machine;
use crate::site::read::read_text;
use crate::site::surroundings::ModelFacts;

/// A machine that has what a test says; what GStreamer understands, the real one tells.
struct Fake {
    real: Machine,
    taken: BTreeSet<u16>,
    files: BTreeSet<PathBuf>,
    variables: BTreeSet<String>,
    locked: BTreeSet<PathBuf>,
    rtsp: bool,
}

impl Default for Fake {
    fn default() -> Self {
        gst::init().unwrap();
        crate::plugin::plugin_register_static().unwrap();
        Self {
            real: Machine::new(),
            taken: BTreeSet::new(),
            files: BTreeSet::new(),
            variables: BTreeSet::new(),
            locked: BTreeSet::new(),
            rtsp: true,
        }
    }
}

impl Surroundings for Fake {
    fn model(&self, model: &str) -> Result<ModelFacts, String> {
        let facts = |task, labels: &[&str]| ModelFacts {
            task: Some(task),
            labels: Some(labels.iter().map(|label| (*label).to_owned()).collect()),
            warnings: Vec::new(),
        };
        match model {
            "people" => Ok(facts(Task::Detect, &["person", "bag"])),
            "faces" => Ok(facts(Task::Classify, &["known", "unknown"])),
            "bare" => Ok(ModelFacts::default()),
            "old" => Ok(ModelFacts {
                warnings: vec!["the store had to give release 1".into()],
                ..facts(Task::Pose, &["person"])
            }),
            other => Err(format!("no model \"{other}\"")),
        }
    }

    fn file(&self, path: &Path) -> Result<(), String> {
        if self.files.contains(path) { Ok(()) } else { Err(format!("there is no file {}", path.display())) }
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains(path)
    }

    fn folder(&self, path: &Path) -> Result<(), String> {
        match self.locked.contains(path) {
            true => Err(format!("nothing can be written to the folder {}", path.display())),
            false => Ok(()),
        }
    }

    fn port(&self, address: SocketAddr) -> Port {
        match address.ip().to_string().as_str() {
            "192.0.2.1" => Port::Unusable("this machine has no address 192.0.2.1".into()),
            _ if self.taken.contains(&address.port()) => Port::Taken,
            _ => Port::Free,
        }
    }

    fn variable(&self, name: &str) -> bool {
        self.variables.contains(name)
    }

    fn launch(&self, fragment: &str, filter: bool) -> Result<(), BadFragment> {
        self.real.launch(fragment, filter)
    }

    fn caps(&self, caps: &str) -> Result<(), String> {
        self.real.caps(caps)
    }

    fn rtsp_server(&self) -> bool {
        self.rtsp
    }
}

/// What is said of a site, without the file's name; the file must read well.
fn told_on(machine: &Fake, text: &str) -> Vec<String> {
    let text = format!("format = 1\nname = \"yard\"\n{text}");
    let (document, problems) = read_text(&text, "s", Path::new("/etc/vigil"));
    assert_eq!(problems.to_string(), "", "{text}");
    let mut problems = check(&document.unwrap(), &Registry::new(), machine);
    problems.sort();
    problems.0.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn expect_on(machine: &Fake, text: &str, expected: &[&str]) {
    let told = told_on(machine, text);
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    let wrong: Vec<_> = told.iter().zip(expected).filter(|(told, expected)| !told.starts_with(*expected)).collect();
    assert!(wrong.is_empty(), "these do not begin as expected: {wrong:#?}");
}

#[track_caller]
fn expect(text: &str, expected: &[&str]) {
    expect_on(&Fake::default(), text, expected);
}

#[test]
fn a_site_in_order_has_nothing_said_of_it() {
    let machine = Fake {
        files: [PathBuf::from("/etc/vigil/clip.mp4"), "/dev/video0".into(), "/etc/vigil/ca.pem".into()].into(),
        variables: ["GATE".into(), "TOKEN".into(), "DISPLAY".into()].into(),
        ..Fake::default()
    };
    let text = r#"
        api = { listen = "0.0.0.0:8686", token = { env = "TOKEN" } }
        [defaults]
        profile = "people"
        output = [{ kind = "rtsp", mount = "/{camera}" }, { kind = "file", path = "video/{camera}-%05d.mp4", segment = "1h", max-files = 24 }]
        stage.infer.interval = 2
        [profile.people]
        watchdog = { deadline = "300ms", max-misses = 5 }
        [[profile.people.stage]]
        element = "vigilinfer"
        model = "people"
        engine-timeout = "2s"
        [[profile.people.stage]]
        element = "vigiltrack"
        max-lost-time = "3s"
        [[profile.people.stage]]
        name = "faces"
        element = "vigilinfer"
        model = "faces"
        inference-region = "objects"
        object-class = "person, bag"
        [[profile.people.stage]]
        element = "vigiloverlay"
        [[profile.people.stage]]
        element = "vigilexport"
        uri = "file:records/{camera}.jsonl?rotate-size=10MiB"
        [camera.gate]
        uri = "rtsps://gate/1"
        user = "admin"
        password = { env = "GATE" }
        tls-ca = "ca.pem"
        stage.faces.object-class = "bag"
        [camera.clip]
        uri = "clip.mp4"
        loop = true
        output = [{ kind = "display" }, { kind = "hls", folder = "hls/{camera}", encode.element = "identity" },
                  { kind = "snapshot", path = "{camera}.jpg", every = "10s" }]
        [camera.usb]
        uri = "v4l2:/dev/video0"
        caps = "video/x-raw,width=640"
        [camera.own]
        launch = "videotestsrc is-live=true ! video/x-raw,width=320"
        [camera.test]
        uri = "test:ball"
        decode.element = "avdec_h264"
        [tile.all]
        output = [{ kind = "rtsp", mount = "/all" }]
    "#;
    // The test pattern is not decoded.
    expect_on(&machine, text, &["s:47:9: warning: `camera.test.decode`: it has no effect"]);
}

#[test]
fn names_are_fit_for_files_and_logs() {
    expect(
        "[camera.\"a/b\"]\nuri = \"test:\"\n[camera.\".a\"]\nuri = \"test:\"\n[camera.\"\"]\nuri = \"test:\"\n[profile.\"ü\"]\n[tile.\"a b\"]\n\
         [tile.x]\n[camera.x]\nuri = \"test:\"\n",
        &[
            "s:3:9: `camera.a/b`: \"a/b\" cannot be the name of a camera",
            "s:5:9: `camera..a`: \".a\" cannot be the name of a camera",
            "s:7:9: `camera.`: \"\" cannot be the name of a camera",
            "s:9:10: `profile.ü`: \"\\u{fc}\" cannot be the name of a profile",
            "s:10:7: `tile.a b`: \"a b\" cannot be the name of a tile",
            "s:10:7: warning: `tile.a b`: it has no `output`",
            "s:11:7: `tile.x`: there is a camera of this name",
            "s:11:7: warning: `tile.x`: it has no `output`",
        ],
    );
}

#[test]
fn sources_are_what_a_camera_can_have() {
    expect(
        r#"
[camera.a]
[camera.b]
uri = "test:"
launch = "videotestsrc"
[camera.c]
uri = "rtps://host/1"
[camera.d]
uri = "rtsp://admin:geheim@host/1"
[camera.e]
uri = "rtsp://host/1?user=a&password=geheim"
[camera.f]
uri = "gone.mp4"
[camera.g]
uri = "test:bal"
[camera.h]
launch = "videotestsrc pattern=bal"
[camera.i]
uri = "v4l2:/dev/video7"
[camera.j]
uri = "rtsp://host/1?user=a&password=geheim"
[camera.k]
uri = "rtsp:///1"
[camera.l]
launch = "audiotestsrc ! fakesink"
"#,
        &[
            "s:4:9: `camera.a`: it has neither `uri` nor `launch`",
            "s:7:10: `camera.b.launch`: it has `uri` and `launch`",
            "s:9:7: `camera.c.uri`: cameras cannot have \"rtps:\"",
            "s:11:7: `camera.d.uri`: it has a user or a password in it: write `user`, and `password`",
            "s:13:7: warning: `camera.e.uri`: `password` in it looks like a secret",
            "s:15:7: this machine: `camera.f.uri`: there is no file /etc/vigil/gone.mp4",
            "s:17:7: `camera.g.uri`: unknown value \"bal\"; did you mean \"ball\"?",
            "s:19:10: `camera.h.launch`: GStreamer does not understand it",
            "s:21:7: warning: `camera.i.uri`: there is no device /dev/video7 now",
            "s:23:7: warning: `camera.j.uri`: `password` in it looks like a secret",
            "s:23:7: warning: `camera.j.uri`: the camera \"e\" has this source too",
            "s:25:7: `camera.k.uri`: ",
            "s:27:10: `camera.l.launch`: GStreamer does not understand it: could not link",
        ],
    );
    let told =
        told_on(&Fake::default(), "[camera.d]\nuri = \"rtsp://admin:geheim@/1\"\n[camera.c]\nuri = \"rtps://h\"\n");
    assert!(told.iter().all(|text| !text.contains("geheim")), "{told:#?}");
    assert!(told[1].ends_with("did you mean \"rtsp:\"?"), "{told:#?}");
}

#[test]
fn options_are_whole_and_have_an_effect() {
    expect(
        r#"
[defaults]
latency = "1s"
[camera.a]
uri = "test:"
transport = "udp"
loop = true
[camera.b]
uri = "rtsp://b"
caps = "video/x-raw,width="
password = { env = "NONE" }
[camera.c]
uri = "rtsp://c"
user = { file = "name" }
tls-ca = "ca.pem"
silent-after = "0s"
reconnect = { first = "0s", most = "1s" }
[camera.d]
uri = "rtsp://d"
profile = "people"
reconnect = { first = "2s", most = "1s" }
decode.element = "avdec_h265x"
[profile.peple]
"#,
        &[
            "s:8:13: warning: `camera.a.transport`: it has no effect",
            "s:9:8: warning: `camera.a.loop`: it has no effect",
            "s:12:8: warning: `camera.b.caps`: it has no effect",
            "s:12:8: `camera.b.caps`: \"video/x-raw,width=\" are no caps",
            "s:13:1: warning: `camera.b.password`: the environment has no variable NONE here",
            "s:13:1: `camera.b.password`: it needs a `user` too",
            "s:16:1: warning: `camera.c.user`: there is no file /etc/vigil/name; the site needs it",
            "s:16:1: warning: `camera.c.user`: without a `password` no login is tried",
            "s:17:10: this machine: `camera.c.tls-ca`: there is no file /etc/vigil/ca.pem",
            "s:18:16: `camera.c.silent-after`: it must be longer than 0",
            "s:19:23: `camera.c.reconnect.first`: it must be longer than 0",
            "s:22:11: `camera.d.profile`: there is no profile \"people\"; did you mean `peple`?",
            "s:23:36: `camera.d.reconnect.most`: it must not be shorter than `first`, 2s",
            "s:24:18: this machine: `camera.d.decode.element`: there is no element \"avdec_h265x\"; did you mean `avdec_h265`?",
        ],
    );
}

#[test]
fn stages_are_filters_with_properties_that_they_have() {
    expect(
        r#"
[defaults]
stage.nobody.x = 1
[profile.p]
watchdog = { chain = "identity", deadline = 300, max-mises = 3 }
stage = [
  { element = "vigiloverlay", show-boxes = "yes" },
  { element = "vigilinfr" },
  { element = "vigilinfer", model = "people", confidence = 1.5, intervall = 1, when-busy = "hole" },
  { element = "vigilinfer", model = "people", stats = "x" },
  { element = "videotestsrc", guarded = false },
  { element = "vigilwatchdog", guarded = false },
  { element = "identity", name = "source", guarded = false, silent = true },
]
[profile.p.camera]
profile = "q"
stage.overly.x = 1
[camera.a]
uri = "test:"
profile = "p"
watchdog.force-bypass = 1
stage.overlay.text-size = 1000
stage.ovrlay.x = 1
[camera.b]
uri = "test:"
stage.infer.x = 1
"#,
        &[
            "s:5:7: `defaults.stage.nobody`: there is no stage \"nobody\"; there are: ",
            "s:7:22: `profile.p.watchdog.chain`: the site itself sets `chain`",
            "s:7:45: `profile.p.watchdog.deadline`: this property is a time: write it with its unit",
            "s:7:62: `profile.p.watchdog.max-mises`: `vigilwatchdog` has no property `max-mises`; did you mean `max-misses`?",
            "s:9:44: `profile.p.stage.0.show-boxes`: true or false is expected, this is a text",
            "s:10:3: `profile.p.stage.1`: stages that the watchdog guards come before",
            "s:10:15: this machine: `profile.p.stage.1.element`: there is no element \"vigilinfr\"; did you mean `vigilinfer`?",
            "s:11:3: `profile.p.stage.2`: stages that the watchdog guards come before",
            "s:11:60: `profile.p.stage.2.confidence`: it is a number of -1 to 1, this is 1.5",
            "s:11:77: `profile.p.stage.2.intervall`: `vigilinfer` has no property `intervall`; did you mean `interval`?",
            "s:11:92: `profile.p.stage.2.when-busy`: unknown value \"hole\"; did you mean \"hold\"?",
            "s:12:3: `profile.p.stage.3`: stages that the watchdog guards come before",
            "s:12:15: `profile.p.stage.3.element`: two stages are called \"infer\": give one a `name`",
            "s:12:55: `profile.p.stage.3.stats`: this property can only be read",
            "s:13:15: `profile.p.stage.4.element`: `videotestsrc` cannot be a stage",
            "s:14:15: `profile.p.stage.5.element`: a stage cannot be called \"watchdog\"",
            "s:14:15: `profile.p.stage.5.element`: the watchdog around the stages is there already",
            "s:15:34: `profile.p.stage.6.name`: a stage cannot be called \"source\"",
            "s:18:11: `profile.p.camera.profile`: a profile cannot choose another one",
            "s:19:7: `profile.p.camera.stage.overly`: there is no stage \"overly\"; did you mean `overlay`?",
            "s:23:25: `camera.a.watchdog.force-bypass`: true or false is expected",
            "s:24:27: `camera.a.stage.overlay.text-size`: it is a number of 0 to 256, this is 1000",
            "s:25:7: `camera.a.stage.ovrlay`: there is no stage \"ovrlay\"; did you mean `overlay`?",
            "s:28:1: `camera.b.stage`: it has no `profile`",
        ],
    );
}

#[test]
fn models_are_found_and_have_the_classes_that_are_asked_for() {
    expect(
        r#"
[profile.none]
stage = [{ element = "vigilinfer" }, { element = "vigilexport" }]
[profile.gone]
stage = [{ element = "vigilinfer", model = "nothing", fallback-model = "nowhere" }]
[profile.two]
stage = [
  { element = "vigilinfer", model = "people", object-class = "person" },
  { element = "vigilinfer", model = "faces", name = "second", inference-region = "objects", object-class = "persn,cat, bag" },
]
[profile.late]
stage = [
  { element = "vigilinfer", model = "faces", inference-region = "objects" },
  { element = "vigilinfer", model = "faces", name = "second" },
  { element = "vigiltrack" },
]
[profile.bare]
stage = [
  { element = "vigilinfer", model = "bare" },
  { element = "vigilinfer", model = "faces", name = "second", inference-region = "objects", object-class = "anything" },
]
[camera.a]
uri = "test:"
profile = "none"
stage.infer.model = "old"
stage.export.uri = "flie:x"
[camera.b]
uri = "test:"
profile = "two"
stage.infer.model = "old"
stage.infer.shadow-model = "new"
[camera.c]
uri = "test:"
profile = "none"
"#,
        &[
            "s:5:10: `profile.none.stage.0`: it has no `model`",
            "s:5:38: `profile.none.stage.1`: it has no `uri`: where records go",
            "s:7:44: this machine: `profile.gone.stage.0.model`: no model \"nothing\"",
            "s:7:72: this machine: `profile.gone.stage.0.fallback-model`: no model \"nowhere\"",
            "s:10:62: warning: `profile.two.stage.0.object-class`: it has no effect without inference-region",
            "s:11:108: `profile.two.stage.1.object-class`: the models before it have no class \"persn\"; did you mean \"person\"?",
            "s:11:108: `profile.two.stage.1.object-class`: the models before it have no class \"cat\"; they have: person, bag",
            // With the model of the camera b.
            "s:11:108: `profile.two.stage.1.object-class`: the models before it have no class \"cat\"; they have: person",
            "s:11:108: `profile.two.stage.1.object-class`: the models before it have no class \"bag\"; they have: person",
            "s:15:65: `profile.late.stage.0.inference-region`: it looks at objects, and no stage before it finds any",
            "s:17:3: warning: `profile.late.stage.2`: it follows objects, and no stage before it finds any",
            "s:27:21: warning: `camera.a.stage.infer.model`: the store had to give release 1",
            "s:28:20: `camera.a.stage.export.uri`: `flie:` names no sink",
            "s:32:21: warning: `camera.b.stage.infer.model`: the store had to give release 1",
            "s:33:28: this machine: `camera.b.stage.infer.shadow-model`: no model \"new\"",
        ],
    );
}

#[test]
fn no_two_outputs_are_one_and_folders_can_be_written() {
    let machine = Fake { locked: ["/etc/vigil/locked".into()].into(), ..Fake::default() };
    let text = r#"
[defaults]
output = [{ kind = "rtsp", mount = "/x" }]
profile = "p"
[profile.p]
stage = [{ element = "vigilexport", uri = "file:records.jsonl" }]
[camera.a]
uri = "test:"
[camera.b]
uri = "test:"
[camera.c]
uri = "test:"
output = [
  { kind = "file", path = "locked/c.mp4", max-files = 3 },
  { kind = "file", path = "c.mp4", segment = "1m" },
  { kind = "file", path = "c-%s.mp4", segment = "0s" },
  { kind = "file", path = "d-%05d.mp4" },
  { kind = "rtsp", mount = "c", encode.element = "x264enc bitrat=5" },
  { kind = "hls", folder = "locked" },
  { kind = "snapshot", path = "/etc/vigil/c.mp4", every = "0s", max-files = 1 },
  { kind = "display" },
]
[tile.t]
cameras = ["a", "d"]
output = [{ kind = "file", path = ".." }]
"#;
    expect_on(
        &machine,
        text,
        &[
            "s:5:36: `defaults.output.0.mount`: the outputs of \"a\" and \"b\" are both the mount /x; {camera} in it",
            "s:8:43: `profile.p.stage.0.uri`: the outputs of \"a\" and \"b\" are both the file /etc/vigil/records.jsonl",
            "s:8:43: `profile.p.stage.0.uri`: the outputs of \"a\" and \"c\" are both the file",
            "s:16:27: this machine: `camera.c.output.0.path`: nothing can be written to the folder /etc/vigil/locked",
            "s:16:55: warning: `camera.c.output.0.max-files`: it has no effect without `segment`",
            "s:17:27: `camera.c.output.1.path`: with `segment` it needs a number in it, such as c-%05d.mp4",
            "s:18:27: `camera.c.output.2.path`: a % in it is the place of a number",
            "s:18:49: `camera.c.output.2.segment`: it must be longer than 0",
            "s:19:27: warning: `camera.c.output.3.path`: the number in it has no effect without `segment`",
            "s:20:28: `camera.c.output.4.mount`: \"c\" is no path of a mount",
            "s:20:50: `camera.c.output.4.encode.element`: GStreamer does not understand it",
            "s:21:28: this machine: `camera.c.output.5.folder`: nothing can be written to the folder",
            "s:22:31: `camera.c.output.6.path`: two outputs of \"c\" are the file /etc/vigil/c.mp4",
            "s:22:59: `camera.c.output.6.every`: it must be longer than 0",
            "s:22:77: warning: `camera.c.output.6.max-files`: it has no effect without a number",
            "s:23:3: warning: `camera.c.output.7`: there is no screen here",
            "s:26:17: `tile.t.cameras.1`: there is no camera \"d\"; ",
            "s:27:35: `tile.t.output.0.path`: /etc/vigil/.. names no file",
        ],
    );
}

#[test]
fn no_two_cameras_keep_what_is_usual_in_one_file() {
    let text = r#"
[profile.p]
stage = [{ element = "vigildrift", baseline = "usual.json" }]
[camera.a]
uri = "test:"
profile = "p"
[camera.b]
uri = "test:"
profile = "p"
[camera.c]
uri = "test:"
profile = "p"
stage.drift.baseline = "usual/{camera}.json"
[profile.two]
stage = [{ element = "vigildrift", baseline = "two.json" }, { element = "vigildrift", name = "again", baseline = "two.json" }]
[camera.d]
uri = "test:"
profile = "two"
"#;
    expect(
        text,
        &[
            "s:5:47: `profile.p.stage.0.baseline`: \"a\" and \"b\" keep what is usual in the same file /etc/vigil/usual.json; {camera} in it",
            "s:17:114: `profile.two.stage.1.baseline`: two stages of \"d\" keep what is usual in the file /etc/vigil/two.json",
        ],
    );
}

#[test]
fn addresses_are_ours_free_and_not_open_to_all() {
    let machine = Fake { taken: [8686].into(), rtsp: false, ..Fake::default() };
    let serving = "[defaults]\noutput = [{ kind = \"rtsp\", mount = \"/{camera}\" }]\n";
    expect_on(&machine, "api.listen = \"off\"", &[]);
    expect_on(&machine, "", &["warning: `api.listen`: 127.0.0.1:8686 is taken now"]);
    expect_on(
        &machine,
        "api.listen = \"192.0.2.1:1\"\napi.token = { env = \"T\" }",
        &[
            "s:3:14: this machine: `api.listen`: this machine has no address 192.0.2.1",
            "s:4:5: warning: `api.token`: the environment has no variable T here",
        ],
    );
    expect_on(
        &machine,
        "api.listen = \"[::]:1\"",
        &["s:3:14: `api.listen`: beyond the machine itself (127.0.0.1) it needs a `token`"],
    );
    expect_on(&machine, "api.listen = \"8686\"", &["s:3:14: `api.listen`: \"8686\" is no address with a port"]);
    let text = format!("api.listen = \"127.0.0.1:5\"\nrtsp.listen = \"127.0.0.1:5\"\nrtsp.user = \"a\"\n{serving}");
    expect_on(
        &machine,
        &text,
        &[
            "s:4:1: this machine: `rtsp`: this build of vigil has no RTSP server",
            "s:4:15: `rtsp.listen`: 127.0.0.1:5 is the address of `api.listen` too",
            "s:5:13: `rtsp.user`: it needs a `password` too",
        ],
    );
    let text = format!("api.listen = \"off\"\nrtsp.listen = \"0.0.0.0:8554\"\n{serving}");
    expect(&text, &["s:4:15: warning: `rtsp.listen`: without `user` and `password` anybody on the network can watch"]);
    // Who serves nothing listens to nobody.
    expect("api.listen = \"off\"\nrtsp.listen = \"nonsense\"", &[]);
}

#[test]
fn one_mistake_is_told_once() {
    // The stage's list is gone with its mistake: that stages are missing is no news.
    let text = "format = 1\nname = \"a\"\n[profile.p]\nstage = [{ name = \"infer\" }]\n[camera.a]\nuri = 5\nprofile = \"p\"\nstage.infer.interval = 1\n";
    let (document, problems) = read_text(text, "s", Path::new("/etc/vigil"));
    assert_eq!((problems.errors().count(), problems.0.len()), (2, 2), "{problems}");
    let more = check(&document.unwrap(), &Registry::new(), &Fake::default());
    assert_eq!(more.to_string(), "");
}
