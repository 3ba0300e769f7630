//! The way of the HTTP receiver to its server: TLS, and proxies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

#[path = "common/web.rs"]
mod web;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use gstvigil::export::remote::RemoteError;
use web::{Act, Certificates, GUARD, OK, Server, answer, http, send};

#[test]
fn tls_trusts_whom_it_is_told_to() {
    let certificates = Certificates::new();
    let path = |name: &str| certificates.path(name).display().to_string();
    let (ca, other, cert, key) = (path("ca.pem"), path("other.pem"), path("client.pem"), path("client.key"));
    let server = Server::start(Some(certificates.server.clone()), Box::new(|_| answer(OK)));
    let port = server.address.port();
    for host in ["localhost", "127.0.0.1"] {
        let mut sink = http(&format!("https://{host}:{port}/in?ca={ca}"));
        for start in 0..3 {
            send(&mut sink, start..start + 1, GUARD).unwrap();
        }
    }
    assert_eq!(server.seen().len(), 6);
    assert_eq!(server.seen().last().unwrap().connection, 1, "connections are kept");
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={other}")), 0..1, GUARD).unwrap_err();
    assert!(
        matches!(&error, RemoteError::Denied(text) if text.contains("not from an authority") && text.contains("ca=PATH")),
        "{error:?}"
    );
    let named = Server::start(Some(certificates.named.clone()), Box::new(|_| answer(OK)));
    let uri = |host: &str| format!("https://{host}:{}/in?ca={ca}", named.address.port());
    let error = send(&mut http(&uri("127.0.0.1")), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("issued for another name")), "{error:?}");
    assert!(named.seen().is_empty(), "it was told nothing");
    send(&mut http(&uri("localhost")), 0..1, GUARD).unwrap();
    for (files, text) in [
        (format!("ca={}", path("none.pem")), "none.pem of the option ca cannot be read"),
        (format!("ca={ca}&cert={cert}&key={}", path("server.key")), "cannot be used with the key"),
    ] {
        let error = send(&mut http(&format!("https://localhost:{port}/in?{files}")), 0..1, GUARD).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(error) if error.contains(text)), "{error:?}");
    }
    assert_eq!(server.seen().len(), 6);

    let strict = Server::start(Some(certificates.strict.clone()), Box::new(|_| answer(OK)));
    let port = strict.address.port();
    let known = format!("https://localhost:{port}/in?ca={ca}&cert={cert}&key={key}");
    send(&mut http(&known), 0..1, GUARD).unwrap();
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={ca}")), 0..1, GUARD).unwrap_err();
    // Whether the alert or the end of the connection is seen first is up to the network.
    assert!(matches!(&error, RemoteError::Denied(_) | RemoteError::Unreachable(_)), "{error:?}");
    assert_eq!(strict.seen().len(), 1);

    let plain = Server::new(|_| Act::Unread("HTTP/1.1 400 Bad Request\r\n\r\n".to_string()));
    let port = plain.address.port();
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={ca}")), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
}

/// A proxy that connects, counts, and may want a user.
struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// One that answers so; it connects only if the answer is 200.
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(client);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|bytes| bytes > 0) {}
                if head.is_empty() {
                    return;
                }
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                seen.lock().unwrap().push(head);
                let mut client = reader.into_inner();
                let _ = client.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
                if answer.starts_with("200") {
                    relay(client, TcpStream::connect(target).unwrap());
                }
            }
        });
        Self { address, heads, thread: Some(thread) }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

fn relay(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

#[test]
fn a_proxy_that_is_named_is_used_and_no_other() {
    let certificates = Certificates::new();
    let ca = certificates.path("ca.pem").display().to_string();
    let plain = Server::new(|_| answer(OK));
    let secure = Server::start(Some(certificates.server.clone()), Box::new(|_| answer(OK)));
    let proxy = Proxy::start("200 Connected");
    let to = |port: u16| format!("proxy=http://me:geheim%2F@127.0.0.1:{port}");
    let by = to(proxy.address.port()).replace("%2F", "%252F");
    send(&mut http(&plain.uri(&format!("?{by}"))), 0..1, GUARD).unwrap();
    let port = secure.address.port();
    send(&mut http(&format!("https://localhost:{port}/in?ca={ca}&{by}")), 0..1, GUARD).unwrap();
    // Through the proxy it is the server's certificate that counts.
    let other = certificates.path("other.pem").display().to_string();
    let error = send(&mut http(&format!("https://localhost:{port}/in?ca={other}&{by}")), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("not from an authority")), "{error:?}");
    send(&mut http(&plain.uri("")), 0..1, GUARD).unwrap();
    assert_eq!((plain.seen().len(), secure.seen().len()), (2, 1));
    let heads = proxy.heads();
    assert_eq!(heads.len(), 3, "{heads:?}");
    assert!(heads[0].starts_with(&format!("CONNECT {} HTTP/1.1\r\n", plain.address)), "{heads:?}");
    assert!(heads[1].starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{heads:?}");
    // me:geheim/
    assert!(heads.iter().all(|head| head.contains("Proxy-Authorization: Basic bWU6Z2VoZWltLw==")), "{heads:?}");
    assert!(plain.seen().iter().all(|request| request.header("proxy-authorization").is_none()));
}

#[test]
fn a_proxy_that_does_not_connect_is_named() {
    let server = Server::new(|_| Act::Answer(OK.to_string()));
    for (answer, denied, text) in [
        ("407 Proxy Authentication Required", true, "proxy=http://USER:PASSWORD@HOST"),
        ("403 Forbidden", false, "403"),
        ("502 Bad Gateway", false, "502"),
    ] {
        let proxy = Proxy::start(answer);
        let (port, by) = (proxy.address.port(), format!("?proxy=http://me:geheim@{}", proxy.address));
        let error = send(&mut http(&server.uri(&by)), 0..1, GUARD).unwrap_err();
        assert_eq!(matches!(&error, RemoteError::Denied(_)), denied, "{error:?}");
        let said = error.to_string();
        assert!(said.contains(text) && said.contains(&format!("by the proxy 127.0.0.1:{port}")), "{said}");
        assert!(!said.contains("geheim"), "{said}");
    }
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let error = send(&mut http(&server.uri(&format!("?proxy=http://{free}"))), 0..1, GUARD).unwrap_err();
    let text = format!("by the proxy {free}: ");
    assert!(matches!(&error, RemoteError::Unreachable(said) if said.contains(&text)), "{error:?}");
    assert!(server.seen().is_empty());
}
