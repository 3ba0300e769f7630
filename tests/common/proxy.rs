//! A network that misbehaves: a proxy between a client and a server on loopback.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Both sides are cut once the client has sent so many bytes.
    CutSent(usize),
    /// Both sides are cut once the server has answered so many bytes.
    CutAnswered(usize),
    /// The server is told that the client has ended after so many bytes; the client is told nothing.
    HalfClose(usize),
    /// What the client sends after so many bytes, and all answers to it, go nowhere, and nobody is told.
    Deaf(usize),
    /// All goes a few bytes at a time, with a pause after each: many packets are in pieces.
    Trickle(usize),
}

/// The proxy; it takes no more connections once the value is gone.
pub struct Proxy {
    port: u16,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy to a port, which treats one connection after the other as `faults` say, and later ones well.
    pub fn start(to: u16, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let faults = Mutex::new(VecDeque::from(faults.to_vec()));
        let (count, end) = (connections.clone(), ended.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let fault = faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
                match TcpStream::connect(("127.0.0.1", to)) {
                    Ok(server) => relay(client, server, fault),
                    Err(_) => drop(client),
                }
            }
        });
        Self { port, connections, ended }
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn relay(client: TcpStream, server: TcpStream, fault: Fault) {
    let deaf = Arc::new(AtomicBool::new(false));
    let (client2, server2, deaf2) = (client.try_clone().unwrap(), server.try_clone().unwrap(), deaf.clone());
    std::thread::spawn(move || pump(client, server, fault, true, &deaf));
    std::thread::spawn(move || pump(server2, client2, fault, false, &deaf2));
}

/// Carries bytes one way until one side ends; `sent` is the way from the client.
fn pump(mut from: TcpStream, mut to: TcpStream, fault: Fault, sent: bool, deaf: &AtomicBool) {
    let piece = match fault {
        Fault::Trickle(bytes) => bytes,
        _ => 4096,
    };
    let (mut buffer, mut done) = (vec![0; piece], 0);
    let cut = |from: &TcpStream, to: &TcpStream| {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    };
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let most = match fault {
            Fault::CutSent(most) | Fault::HalfClose(most) | Fault::Deaf(most) if sent => most,
            Fault::CutAnswered(most) if !sent => most,
            _ => usize::MAX,
        };
        let pass = count.min(most.saturating_sub(done));
        if !deaf.load(Ordering::SeqCst) && to.write_all(&buffer[..pass]).is_err() {
            break;
        }
        done += count;
        if done < most {
            if matches!(fault, Fault::Trickle(_)) {
                std::thread::sleep(Duration::from_micros(200));
            }
            continue;
        }
        match fault {
            Fault::CutSent(_) | Fault::CutAnswered(_) => return cut(&from, &to),
            Fault::HalfClose(_) => drop(to.shutdown(Shutdown::Write)),
            _ => deaf.store(true, Ordering::SeqCst),
        }
    }
    // A half-closed or deaf connection stays as it is for the client.
    match fault {
        Fault::HalfClose(_) if !sent => {}
        Fault::Deaf(_) if !sent => {}
        _ => cut(&from, &to),
    }
}
