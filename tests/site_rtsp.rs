//! Cameras over RTSP, from a server in this process that fails in all the ways that cameras do. Another camera of the site must
//! not notice any of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;

use common::live::Watched;
use common::rtsp::{H264, JPEG, Mute, Options, Server, WITH_SOUND, free_port};
use gstvigil::site::live::introspect::Registry;
use gstvigil::site::plan::Plan;
use gstvigil::site::status::{Reason, State};
use gstvigil::site::{read, resolve};

/// The plan of a description; `beside` is a camera that nothing happens to.
fn plan(cameras: &str) -> Plan {
    common::init();
    let text = format!(
        r#"
format = 1
name = "test"

[defaults]
latency = "50ms"
silent-after = "2s"
reconnect = {{ first = "100ms", most = "500ms" }}

[camera.beside]
uri = "test:ball"
caps = "video/x-raw,format=NV12,width=64,height=48,framerate=25/1"

{cameras}
"#
    );
    let (document, problems) = read::read_text(&text, "site.toml", Path::new("/"));
    assert!(!problems.has_errors(), "{problems}");
    resolve::resolve(&document.unwrap(), &Registry::new()).unwrap_or_else(|problems| panic!("{problems}")).0
}

fn gate(uri: &str, more: &str) -> String {
    format!("[camera.gate]\nuri = \"{uri}\"\n{more}\n")
}

/// What the camera beside must not notice: it plays, was never lost, and each of its frames came.
struct Beside {
    frames: u64,
    at: std::time::Instant,
}

impl Beside {
    fn look(watched: &Watched) -> Self {
        watched.status("beside", |status| status.state == State::Playing && status.frames > 5);
        Self { frames: watched.frames("beside"), at: std::time::Instant::now() }
    }

    #[track_caller]
    fn check(&self, watched: &Watched) {
        let status = watched.site.camera("beside").unwrap();
        assert_eq!((status.state, status.reconnects), (State::Playing, 0), "{status:#?}");
        // videotestsrc makes up for what a busy machine held up; a pipeline that was stopped does not.
        let expected = self.at.elapsed().as_secs_f64() * 25.0;
        watched.status("beside", |status| (status.frames - self.frames) as f64 >= expected - 5.0);
    }
}

#[test]
fn a_camera_plays_over_tcp_and_over_udp() {
    let server = Server::open(H264);
    for transport in ["tcp", "udp", "auto"] {
        let mut watched = Watched::start(plan(&gate(&server.uri("cam"), &format!("transport = \"{transport}\""))));
        watched.state("gate", State::Playing);
        watched.more_frames("gate", 25);
        let status = watched.site.camera("gate").unwrap();
        assert_eq!((status.size, status.reconnects, status.reason), ([320, 180], 0, None), "{transport}");
    }
}

#[test]
fn sound_beside_the_pictures_is_in_nobodys_way() {
    let server = Server::open(WITH_SOUND);
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 75);
    assert_eq!(watched.site.camera("gate").unwrap().reconnects, 0);
}

#[test]
fn a_camera_wants_the_right_user_and_password() {
    let user = Some(("guard", "s3cret:&word"));
    let server = Server::start(H264, &Options { user, ..Options::default() });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let with = |password: &str| {
        std::fs::write(&file, format!("{password}\n")).unwrap();
        format!("user = \"guard\"\npassword = {{ file = \"{}\" }}", file.display())
    };
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    let beside = Beside::look(&watched);
    watched.lost("gate", Reason::Unauthorized);
    watched.site.apply(plan(&gate(&server.uri("cam"), &with("wrong"))));
    watched.lost("gate", Reason::Unauthorized);
    // The right one is written into the file: nothing needs to be told.
    with("s3cret:&word");
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    beside.check(&watched);
    let told = format!("{:?} {:?}", watched.heard, watched.site.cameras());
    assert!(!told.contains("s3cret") && !told.contains("wrong"), "a secret is told: {told}");
}

#[test]
fn a_camera_is_asked_for_its_certificate() {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (public, private) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let certificate = Some(format!("{public}{private}"));
    let server = Server::start(H264, &Options { certificate, ..Options::default() });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, &public).unwrap();
    // The system trusts nobody who signs for himself.
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    let lost = watched.lost("gate", Reason::Unauthorized);
    assert!(lost.data["text"].as_str().unwrap().contains("no authority that is known here has signed it"), "{lost:#?}");
    watched.site.apply(plan(&gate(&server.uri("cam"), &format!("tls-ca = \"{}\"", file.display()))));
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
}

#[test]
fn a_camera_that_is_away_is_told_why_and_comes_back() {
    let port = free_port();
    let uri = format!("rtsp://127.0.0.1:{port}/cam");
    let mut watched = Watched::start(plan(&gate(&uri, "")));
    let beside = Beside::look(&watched);
    watched.lost("gate", Reason::Refused);
    watched.status("gate", |status| status.reconnects >= 2 && status.state == State::Lost);
    let server = Server::start(H264, &Options { port, ..Options::default() });
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    // Unplugged, and plugged in again.
    let port = server.unplug();
    watched.state("gate", State::Lost);
    let _server = Server::start(H264, &Options { port, ..Options::default() });
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    beside.check(&watched);
}

#[test]
fn what_is_secret_in_an_address_is_told_nowhere() {
    common::init();
    if gst::ElementFactory::find("souphttpsrc").is_none() {
        return eprintln!("skipped: there is no souphttpsrc here");
    }
    // A camera that knows no such page: its address is in the error of the source.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}/cgi?user=adm1n&pwd=geheim,99&size=2", web.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut client in web.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let mut watched = Watched::start(plan(&gate(&uri, "")));
    let lost = watched.lost("gate", Reason::NotFound);
    let text = lost.data["text"].as_str().unwrap();
    assert!(text.contains("user=…&pwd=…&size=2"), "the address is told for what it is: {text}");
    watched.status("gate", |status| status.reconnects > 0);
    let told = format!("{:?} {:?}", watched.site.events().listen(0).0, watched.site.cameras());
    assert!(!told.contains("adm1n") && !told.contains("geheim"), "a secret is told: {told}");
}

#[test]
fn a_stream_that_does_not_exist_is_told_so() {
    let server = Server::open(H264);
    let mut watched = Watched::start(plan(&gate(&server.uri("nothing"), "")));
    watched.lost("gate", Reason::NotFound);
}

#[test]
fn a_camera_that_never_answers_has_timed_out() {
    let mute = Mute::start();
    let mut watched = Watched::start(plan(&gate(&format!("rtsp://127.0.0.1:{}/cam", mute.port), "")));
    let beside = Beside::look(&watched);
    watched.lost("gate", Reason::TimedOut);
    watched.status("gate", |status| status.reconnects > 0);
    beside.check(&watched);
}

#[test]
fn a_stream_that_freezes_is_silent_and_comes_back() {
    let server = Server::open(H264);
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    let beside = Beside::look(&watched);
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    server.freeze(true);
    watched.lost("gate", Reason::Silent);
    server.freeze(false);
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    beside.check(&watched);
}

#[test]
fn a_stream_of_noise_is_corrupt_and_comes_back() {
    let server = Server::open(H264);
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    let beside = Beside::look(&watched);
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    server.spoil(true);
    watched.lost("gate", Reason::Corrupt);
    server.spoil(false);
    watched.state("gate", State::Playing);
    watched.more_frames("gate", 10);
    beside.check(&watched);
}

#[test]
fn another_resolution_goes_on_without_a_loss() {
    let server = Server::open(H264);
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    watched.state("gate", State::Playing);
    watched.status("gate", |status| status.size == [320, 180] && status.frames > 5);
    server.resize(160, 90);
    watched.status("gate", |status| status.size == [160, 90]);
    watched.more_frames("gate", 25);
    assert_eq!(watched.site.camera("gate").unwrap().reconnects, 0);
}

#[test]
fn a_camera_comes_back_with_another_codec() {
    let server = Server::open(H264);
    let uri = server.uri("cam");
    let mut watched = Watched::start(plan(&gate(&uri, "")));
    watched.status("gate", |status| status.size == [320, 180]);
    let port = server.unplug();
    let _server = Server::start(JPEG, &Options { port, ..Options::default() });
    watched.state("gate", State::Lost);
    watched.state("gate", State::Playing);
    watched.status("gate", |status| status.size == [320, 240]);
}

#[test]
fn a_server_that_hangs_up_is_called_again() {
    let server = Server::open(H264);
    let mut watched = Watched::start(plan(&gate(&server.uri("cam"), "")));
    let beside = Beside::look(&watched);
    for _ in 0..3 {
        watched.state("gate", State::Playing);
        watched.more_frames("gate", 5);
        server.hang_up();
        watched.state("gate", State::Lost);
    }
    watched.state("gate", State::Playing);
    beside.check(&watched);
}

#[test]
fn one_of_sixteen_cameras_fails_alone() {
    let (server, other) = (Server::open(H264), Server::open(H264));
    let mut cameras = gate(&other.uri("cam"), "");
    for n in 0..15 {
        cameras += &format!("[camera.c{n:02}]\nuri = \"{}\"\n", server.uri("cam"));
    }
    let mut watched = Watched::start(plan(&cameras));
    for camera in watched.site.cameras() {
        watched.status(&camera.id, |status| status.state == State::Playing && status.frames > 5);
    }
    watched.site.apply(plan(&cameras));
    other.freeze(true);
    watched.lost("gate", Reason::Silent);
    other.freeze(false);
    watched.status("gate", |status| status.state == State::Playing);
    other.spoil(true);
    watched.lost("gate", Reason::Corrupt);
    other.unplug();
    watched.lost("gate", Reason::Refused);
    for camera in watched.site.cameras() {
        if camera.id != "gate" {
            assert_eq!((camera.state, camera.reconnects), (State::Playing, 0), "{camera:#?}");
            watched.more_frames(&camera.id, 10);
        }
    }
}
