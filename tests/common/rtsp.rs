//! An RTSP server in the test process, on the loopback, whose streams fail in all the ways that cameras do.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use gst::prelude::*;
use gst_rtsp_server::gst_rtsp::RTSPAuthMethod;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::{RTSPAuth, RTSPFilterResult, RTSPMediaFactory, RTSPMountPoints, RTSPServer, RTSPToken, gio};

/// H.264, a key frame each half second. The picture is small and still, so that 16 of them cost little.
pub const H264: &str = "( videotestsrc is-live=true pattern=ball ! \
     capsfilter name=size caps=video/x-raw,format=I420,width=320,height=180,framerate=25/1 ! \
     x264enc tune=zerolatency speed-preset=ultrafast key-int-max=12 bitrate=300 threads=1 ! \
     video/x-h264,profile=constrained-baseline ! valve name=valve ! h264parse config-interval=-1 ! \
     rtph264pay name=pay0 pt=96 config-interval=-1 )";

/// Another codec.
pub const JPEG: &str = "( videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! \
     jpegenc ! rtpjpegpay name=pay0 pt=26 )";

/// The same H.264, with sound beside it.
pub const WITH_SOUND: &str = "( videotestsrc is-live=true ! \
     video/x-raw,format=I420,width=320,height=180,framerate=25/1 ! x264enc tune=zerolatency speed-preset=ultrafast \
     key-int-max=12 threads=1 ! h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 audiotestsrc is-live=true \
     ! alawenc ! rtppcmapay name=pay1 pt=8 )";

/// What a server asks of its clients.
#[derive(Default)]
pub struct Options {
    /// User and password, by digest.
    pub user: Option<(&'static str, &'static str)>,
    /// Certificate and key, PEM.
    pub certificate: Option<String>,
    /// The port; 0: any that is free.
    pub port: u16,
}

/// A server with one stream at `/cam`.
pub struct Server {
    pub port: u16,
    scheme: &'static str,
    server: RTSPServer,
    source: Option<glib::SourceId>,
    context: glib::MainContext,
    main: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
    media: Arc<Mutex<Vec<glib::WeakRef<gst::Element>>>>,
    garbage: Arc<AtomicBool>,
}

/// Overwrites what a packet carries, not its header.
fn spoil(buffer: &mut gst::BufferRef) {
    let Ok(mut map) = buffer.map_writable() else { return };
    for (n, byte) in map.iter_mut().enumerate().skip(12) {
        *byte = (n as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
    }
}

fn spoiled(buffer: &gst::BufferRef) -> gst::Buffer {
    let mut copy = buffer.copy_deep().unwrap();
    spoil(copy.get_mut().unwrap());
    copy
}

impl Server {
    /// Serves `media` to those who show what `options` ask for.
    pub fn start(media: &str, options: &Options) -> Self {
        super::init();
        let context = glib::MainContext::new();
        let server = RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&options.port.to_string());
        let garbage = Arc::new(AtomicBool::new(false));
        let elements: Arc<Mutex<Vec<_>>> = Arc::default();
        let factory = RTSPMediaFactory::new();
        factory.set_launch(media);
        factory.set_shared(true);
        let (of_media, spoils) = (Arc::clone(&elements), Arc::clone(&garbage));
        factory.connect_media_configure(move |_, media| {
            let element = media.element();
            of_media.lock().unwrap().push(element.downgrade());
            let pay = element.downcast_ref::<gst::Bin>().unwrap().by_name("pay0").unwrap();
            let spoils = Arc::clone(&spoils);
            let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
            pay.static_pad("src").unwrap().add_probe(kinds, move |_, info| {
                if spoils.load(Ordering::SeqCst) {
                    match &mut info.data {
                        Some(gst::PadProbeData::Buffer(buffer)) => *buffer = spoiled(buffer),
                        Some(gst::PadProbeData::BufferList(list)) => {
                            *list = list.iter().map(spoiled).collect();
                        }
                        _ => {}
                    }
                }
                gst::PadProbeReturn::Ok
            });
        });
        let mounts = RTSPMountPoints::new();
        if options.user.is_some() || options.certificate.is_some() {
            let auth = RTSPAuth::new();
            let token = RTSPToken::builder().field("media.factory.role", "user").build();
            match options.user {
                Some((user, password)) => {
                    auth.set_supported_methods(RTSPAuthMethod::Digest);
                    auth.add_digest(user, password, &token);
                }
                None => auth.set_default_token(Some(&mut token.clone())),
            }
            let role = gst::Structure::builder("user").field("media.factory.access", true);
            factory.add_role_from_structure(&role.field("media.factory.construct", true).build());
            if let Some(pem) = &options.certificate {
                auth.set_tls_certificate(Some(&gio::TlsCertificate::from_pem(pem).unwrap()));
            }
            server.set_auth(Some(&auth));
        }
        mounts.add_factory("/cam", factory);
        server.set_mount_points(Some(&mounts));
        let source = server.attach(Some(&context)).unwrap();
        let main = glib::MainLoop::new(Some(&context), false);
        let port = u16::try_from(server.bound_port()).unwrap();
        let (of_thread, turns) = (context.clone(), main.clone());
        let work = move || of_thread.with_thread_default(|| turns.run()).unwrap();
        let thread = std::thread::Builder::new().name("rtsp-server".into()).spawn(work).unwrap();
        let scheme = if options.certificate.is_some() { "rtsps" } else { "rtsp" };
        let (source, thread) = (Some(source), Some(thread));
        Self { port, scheme, server, source, context, main, thread, media: elements, garbage }
    }

    /// A server without users.
    pub fn open(media: &str) -> Self {
        Self::start(media, &Options::default())
    }

    /// Where a stream is to be had.
    pub fn uri(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}/{path}", self.scheme, self.port)
    }

    fn each(&self, name: &str, what: impl Fn(&gst::Element)) {
        let media: Vec<_> = self.media.lock().unwrap().iter().filter_map(glib::WeakRef::upgrade).collect();
        for bin in media {
            what(&bin.downcast_ref::<gst::Bin>().unwrap().by_name(name).unwrap());
        }
    }

    /// Whether the streams that are being served stand still: clients stay connected.
    pub fn freeze(&self, frozen: bool) {
        self.each("valve", |valve| valve.set_property("drop", frozen));
    }

    /// Whether packets carry noise.
    pub fn spoil(&self, spoils: bool) {
        self.garbage.store(spoils, Ordering::SeqCst);
    }

    /// Pictures of another size, in the same stream.
    pub fn resize(&self, width: i32, height: i32) {
        let caps = format!("video/x-raw,format=I420,width={width},height={height},framerate=25/1");
        self.each("size", |filter| filter.set_property_from_str("caps", &caps));
    }

    /// Closes all connections, and takes new ones.
    pub fn hang_up(&self) {
        self.server.client_filter(Some(&mut |_, _| RTSPFilterResult::Remove));
    }

    /// Takes it from the network; the port, for another one.
    pub fn unplug(mut self) -> u16 {
        self.end();
        self.port
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if let Some(source) = self.source.take() {
            self.context.find_source_by_id(&source).unwrap().destroy();
        }
        self.hang_up();
        let main = self.main.clone();
        self.context.invoke(move || main.quit());
        thread.join().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// A port where connections are taken, and nobody ever says anything.
pub struct Mute {
    pub port: u16,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mute {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let accept = move || {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                held.push(stream);
            }
        };
        let thread = Some(std::thread::Builder::new().name("mute".into()).spawn(accept).unwrap());
        Self { port, ends, thread }
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A port where nobody listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
