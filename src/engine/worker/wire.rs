//! What the two processes say to each other, and how it travels.
//!
//! Messages are JSON, each in one packet of a `SOCK_SEQPACKET` socket pair, with at most one file descriptor. One that is
//! too long for a packet (the description of a model with much metadata) travels in an anonymous file instead. Neither
//! side trusts the other: lengths are bounded before anything is read, and what cannot be read is an error.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::options::Options;
use crate::engine::placement::Placement;
use crate::engine::{EngineError, Spec};

/// Longest message in a packet, in bytes.
const PACKET: usize = 32 << 10;
/// Longest message in a file, in bytes.
const LONGEST: u64 = 64 << 20;
/// The packet that says that its message is in a file.
const IN_FILE: &[u8] = b"~";

/// From the application, on the first socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// Load the model in the file that comes with it.
    Load {
        options: Options,
        /// Where the runtime may lie: beside the plugin.
        beside: Option<PathBuf>,
        /// Whether it is loaded beside running video.
        background: bool,
    },
    /// Take [`Run`]s from the socket that comes with it.
    Serve,
}

/// From the worker, on the first socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The first message.
    Hello {
        /// [`crate::VERSION`].
        version: String,
    },
    /// The model is loaded.
    Loaded(Loaded),
    /// The model cannot be loaded.
    Failed(EngineError),
    /// A message of the runtime: 0 an error, 1 a warning, others information.
    Log(u8, String),
}

/// What an engine says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) spec: Spec,
    pub(super) provider: String,
    pub(super) lanes: usize,
    pub(super) placement: Option<Placement>,
}

/// From the application, on a socket for runs: one at a time, each is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// Number of the tensors.
    pub(super) io: u64,
    /// Shapes of the inputs.
    pub(super) shapes: Vec<Vec<usize>>,
    /// Sizes in bytes of the rooms of inputs and outputs in the file that comes with it, if the worker does not know
    /// these tensors yet.
    pub(super) rooms: Option<Vec<usize>>,
    /// Numbers of tensors that are gone.
    pub(super) forget: Vec<u64>,
}

/// From the worker, on a socket for runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The outputs are in their rooms; these are their shapes.
    Done(Vec<Vec<usize>>),
    /// The run failed.
    Failed(String),
}

/// Why nothing was received.
#[derive(Debug)]
pub(super) enum WireError {
    /// The other side has closed the socket, or the system has.
    Closed,
    /// What came is no message.
    Garbage(String),
}

impl From<Errno> for WireError {
    fn from(_: Errno) -> Self {
        Self::Closed
    }
}

/// Two ends of a new socket.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message. Does not wait: the other side has at most a few messages to read, so a full socket means that it is
/// stuck.
pub(super) fn send<M: Serialize>(socket: impl AsFd, message: &M, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() <= PACKET {
        return send_bytes(socket, &bytes, file);
    }
    if file.is_some() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = crate::engine::memory::constant_file(&bytes)?;
    send_bytes(socket, IN_FILE, Some(file.as_fd()))
}

/// Sends one packet.
pub(super) fn send_bytes(socket: impl AsFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A message and the file that came with it; waits for them.
pub(super) fn receive<M: DeserializeOwned>(socket: impl AsFd) -> Result<(M, Option<OwnedFd>), WireError> {
    let mut buffer = vec![0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let (length, flags, file) = loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(packet) => {
                // Files that nobody asked for are closed here.
                let file = control.drain().find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut files) => files.next(),
                    _ => None,
                });
                break (packet.bytes, packet.flags, file);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if length == 0 {
        return Err(WireError::Closed);
    }
    if flags.contains(ReturnFlags::TRUNC) {
        return Err(WireError::Garbage(format!("a packet of more than {PACKET} bytes")));
    }
    let bytes = buffer.get(..length).unwrap_or_default();
    if bytes == IN_FILE {
        let file = file.ok_or_else(|| WireError::Garbage("a message in a file that is not there".into()))?;
        return Ok((parse(&read_file(file)?)?, None));
    }
    Ok((parse(bytes)?, file))
}

fn parse<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, WireError> {
    serde_json::from_slice(bytes).map_err(|error| WireError::Garbage(error.to_string()))
}

/// The content of a file that the other side has sent; it may be anything, so its size is bounded.
pub(super) fn read_file(file: OwnedFd) -> Result<Vec<u8>, WireError> {
    let garbage = |what: &str| WireError::Garbage(what.into());
    let size = rustix::fs::fstat(&file)?.st_size;
    if u64::try_from(size).map_or(true, |size| size > LONGEST) {
        return Err(garbage("a message that is too long"));
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|_| garbage("a message in a file that cannot be read"))?;
    Ok(bytes)
}

/// What [`wait`] waited for.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    /// There is something to receive, or the socket is closed.
    Message,
    /// The second descriptor is readable.
    Woken,
    /// It is `until`.
    Late,
}

/// Waits for a message on `socket`, for `wake` to become readable (which goes first), or until a time.
pub(super) fn wait(socket: Option<BorrowedFd<'_>>, wake: Option<BorrowedFd<'_>>, until: Option<Instant>) -> Event {
    // A day is as good as for ever, and fits into the system's type.
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()).min(DAY));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut watched: Vec<_> =
            wake.iter().chain(&socket).map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let ready = rustix::event::poll(&mut watched, timeout.as_ref());
        let mut seen = watched.iter().map(|fd| !fd.revents().is_empty());
        let woken = wake.is_some() && seen.next() == Some(true);
        let message = socket.is_some() && seen.next() == Some(true);
        match ready {
            Ok(_) if woken => return Event::Woken,
            Ok(_) if message => return Event::Message,
            Ok(_) | Err(Errno::INTR) => {}
            // A descriptor that cannot be waited for: receiving will say why.
            Err(_) => return Event::Message,
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Event::Late;
        }
    }
}
