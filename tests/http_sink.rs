//! The HTTP receiver against a server of the test's own that fails in every way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may")]

#[path = "common/web.rs"]
mod web;

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use gstvigil::export::http::Http;
use gstvigil::export::remote::{Outgoing, Remote, RemoteError};
use web::{Act, GUARD, OK, Request, SHORT, Server, answer, http, records, send, status};

#[test]
fn a_batch_is_one_request_on_a_connection_that_is_kept() {
    let server = Server::new(|_| answer(OK));
    let mut sink = http(&server.uri(""));
    sink.tick(GUARD).unwrap();
    sink.send(&[], GUARD).unwrap();
    for start in [0, 3, 6] {
        send(&mut sink, start..start + 3, GUARD).unwrap();
    }
    sink.close(GUARD);
    send(&mut sink, 9..10, GUARD).unwrap();
    let seen = server.seen();
    let connections: Vec<usize> = seen.iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1]);
    let first = &seen[0];
    assert!(first.head.starts_with("POST /in HTTP/1.1\r\n"), "{}", first.head);
    for (name, value) in [
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "gzip"),
        ("vigil-records", "3"),
        ("user-agent", concat!("vigil/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(first.header(name), Some(value), "{}", first.head);
    }
    assert_eq!(first.header("authorization"), None);
    let sent: Vec<String> = records(0..3).iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect();
    assert_eq!(first.lines(), sent);
    let keys: HashSet<_> = seen.iter().map(|request| request.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 4);
}

#[test]
fn a_batch_need_not_be_compressed() {
    let server = Server::new(|_| answer(OK));
    send(&mut http(&server.uri("%3Fsite=a%20b?gzip=no")), 0..2, GUARD).unwrap();
    let seen = server.seen();
    assert!(seen[0].head.starts_with("POST /in?site=a%20b HTTP/1.1\r\n"), "{}", seen[0].head);
    assert_eq!(seen[0].header("content-encoding"), None);
    assert_eq!(seen[0].lines().len(), 2);
}

/// Sends to a server that does this once, then again with all well; what the first gave.
fn once(act: Act, limit: Duration) -> Result<(), RemoteError> {
    let server = Server::new(move |n| if n == 0 { act.clone() } else { answer(OK) });
    let mut sink = http(&server.uri(""));
    let result = send(&mut sink, 0..2, limit);
    send(&mut sink, 0..2, GUARD).unwrap();
    let seen = server.seen();
    assert_eq!(seen.last().unwrap().lines().len(), 2);
    if let [.., first, second] = &seen[..] {
        assert_eq!(first.header("idempotency-key"), second.header("idempotency-key"));
    }
    result
}

#[test]
fn what_breaks_is_unreachable_and_goes_on_afterwards() {
    let endless = |head: &str, piece: &str| Act::Endless(head.to_string(), piece.repeat(100));
    for (name, act, text) in [
        ("hangs", Act::Hang, "did not answer within 400.0ms"),
        ("closes", Act::Last(Vec::new()), ""),
        ("half-closes", Act::HalfClose, ""),
        ("cuts", Act::Cut, ""),
        ("closes in the head", Act::Last(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()), ""),
        ("garbage", Act::Last(b"\x16\x03\x01\x02\x00 what?\r\n\r\n".to_vec()), ""),
        ("garbage without end", endless("", "\0\x01\x02"), ""),
        ("another protocol", Act::Last(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), ""),
        ("a header without end", endless("HTTP/1.1 200 OK\r\nX: ", "y"), ""),
        ("headers without end", endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"), ""),
        ("a slow head", Act::Slow(OK.to_string()), "did not answer within"),
    ] {
        match once(act, SHORT) {
            Err(RemoteError::Unreachable(error)) => {
                assert!(error.starts_with("http://127.0.0.1:") && error.contains(text), "{name}: {error}");
                assert!(error.chars().count() < 400 && !error.chars().any(char::is_control), "{name}: {error:?}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn nobody_there_is_unreachable() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let error = send(&mut http(&format!("http://{address}/")), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(text) if text.contains("refused")), "{error:?}");
    let error = send(&mut http("http://no-such-host.invalid/"), 0..1, GUARD).unwrap_err();
    assert!(
        matches!(&error, RemoteError::Unreachable(text) if text.starts_with("http://no-such-host.invalid/: ")),
        "{error:?}"
    );
    let server = Server::new(|_| answer(OK));
    let error = send(&mut http(&server.uri("")), 0..1, Duration::ZERO).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
}

#[test]
fn a_status_of_success_is_enough() {
    let endless = Act::Endless("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n".to_string(), "y".repeat(1000));
    for (name, act) in [
        ("plain", answer(OK)),
        ("created", status("201 Created", "", "{\"n\":2}")),
        ("no content", answer("HTTP/1.1 204 No Content\r\n\r\n")),
        ("a body without end", endless),
        ("a body that is cut", Act::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes.".to_vec())),
        ("a body that is too long", Act::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nten bytes.".to_vec())),
        ("broken chunks", Act::Last(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec())),
        ("no length", Act::Last(b"HTTP/1.1 200 OK\r\n\r\nall".to_vec())),
        ("a slow body", Act::Slow("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nand so on".to_string())),
        ("continue first", answer(&format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"))),
    ] {
        assert_eq!(once(act, GUARD), Ok(()), "{name}");
    }
}

#[test]
fn a_busy_server_says_when_to_come_back() {
    let seconds = |n| Some(Duration::from_secs(n));
    let date = "Date: Mon, 23 Nov 2026 10:15:00 GMT\r\nRetry-After: Mon, 23 Nov 2026 10:15:20 GMT\r\n";
    for (act, wanted) in [
        (status("429 Too Many Requests", "Retry-After: 7\r\n", "slow\ndown"), seconds(7)),
        (status("503 Service Unavailable", date, "slow down"), seconds(20)),
        (status("503 Service Unavailable", "Retry-After: soon\r\n", "slow down"), None),
        (status("500 Internal Server Error", "", "slow down"), None),
        (status("408 Request Timeout", "", "slow down"), None),
        (Act::Endless("HTTP/1.1 502 Bad Gateway\r\n\r\nslow down ".to_string(), "y".repeat(1000)), None),
    ] {
        match once(act, GUARD) {
            Err(RemoteError::Busy { after, text }) => {
                assert_eq!(after, wanted, "{text}");
                assert!(text.contains(" answered ") && text.contains(": slow down"), "{text}");
                assert!(text.chars().count() < 400, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mistakes_in_the_set_up_cost_no_records() {
    for (act, text) in [
        (status("401 Unauthorized", "", ""), "check the user and password"),
        (status("403 Forbidden", "", "not you"), "403 Forbidden: not you; check what the user"),
        (status("404 Not Found", "", ""), "check the address's path"),
        (status("405 Method Not Allowed", "", ""), "check the address's path"),
        (status("415 Unsupported Media Type", "", ""), "gzip=no"),
        (status("301 Moved Permanently", "Location: /new\r\n", ""), "write the new one"),
        (
            status("307 Temporary Redirect", "Location: http://127.0.0.2/x?key=geheim\r\n", ""),
            "has moved to http://127.0.0.2/x;",
        ),
        (status("308 Permanent Redirect", "", ""), "has moved; change the address"),
    ] {
        match once(act, GUARD) {
            Err(RemoteError::Denied(error)) => {
                assert!(error.contains(text) && !error.contains("geheim"), "{error}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn what_is_too_large_is_refused() {
    for line in ["413 Content Too Large", "400 Bad Request", "422 Unprocessable Content"] {
        let result = once(status(line, "", "no"), GUARD);
        assert!(matches!(&result, Err(RemoteError::Refused(text)) if text.contains(&line[..3])), "{result:?}");
    }
    // Unless it is so just now.
    let later = status("413 Content Too Large", "Retry-After: 9\r\n", "not now");
    let result = once(later, GUARD);
    let after = Some(Duration::from_secs(9));
    assert!(matches!(&result, Err(RemoteError::Busy { after: told, .. }) if *told == after), "{result:?}");
    // Before the server has read it all, and it is more than sockets hold.
    let refusal = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let server = Server::new(move |_| Act::Unread(refusal.to_string()));
    let mut record = records(0..1).remove(0);
    record.body = vec![b'x'; 64 << 20];
    let result = http(&server.uri("?gzip=no")).send(&[record], GUARD);
    assert!(matches!(&result, Err(RemoteError::Refused(text)) if text.contains("413")), "{result:?}");
}

#[test]
fn a_server_that_takes_nothing_at_all_costs_few_records() {
    let server = Server::new(|n| if n == 12 { answer(OK) } else { status("400 Bad Request", "", "") });
    let mut sink = http(&server.uri(""));
    assert!(matches!(send(&mut sink, 0..2, GUARD), Err(RemoteError::Refused(_))));
    for n in 0..8 {
        assert!(matches!(send(&mut sink, n..n + 1, GUARD), Err(RemoteError::Refused(_))), "{n}");
    }
    for n in 8..11 {
        let error = send(&mut sink, n..n + 1, GUARD).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(text) if text.contains("no more are given up")), "{error:?}");
    }
    // One that is taken shows that the others were at fault.
    send(&mut sink, 11..12, GUARD).unwrap();
    assert!(matches!(send(&mut sink, 12..13, GUARD), Err(RemoteError::Refused(_))));
}

/// Takes what has nothing bad in it.
fn strict(request: &Request) -> String {
    if request.lines().iter().any(|line| line.contains("bad")) {
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n".to_string()
    } else {
        OK.to_string()
    }
}

fn bad(numbers: std::ops::Range<usize>) -> Vec<Outgoing> {
    let bad = |n| Outgoing { body: format!("{{\"id\":\"bad/{n}\"}}").into_bytes(), ..records(0..1).remove(0) };
    numbers.map(bad).collect()
}

#[test]
fn many_bad_records_in_a_row_are_dropped_if_the_server_takes_another() {
    let server = Server::new(|_| Act::Judge(strict));
    let refused = |sink: &mut Http, batch: &[Outgoing]| {
        let result = sink.send(batch, GUARD);
        assert!(matches!(&result, Err(RemoteError::Refused(text)) if text.contains("413")), "{result:?}");
    };
    // One that it took before shows it, once for eight.
    let mut sink = http(&server.uri(""));
    send(&mut sink, 0..2, GUARD).unwrap();
    for one in bad(0..30).chunks(1) {
        refused(&mut sink, one);
    }
    assert_eq!(server.seen().len(), 1 + 30 + 3);
    // And if this process has seen it take nothing, those behind.
    let mut sink = http(&server.uri(""));
    for one in bad(0..8).chunks(1) {
        refused(&mut sink, one);
    }
    let batch = [bad(8..12), records(5..7)].concat();
    refused(&mut sink, &batch);
    let ids: Vec<String> = server.seen()[34 + 8..].iter().map(|request| request.lines().concat()).collect();
    // In their order: the first that was taken is the next that it gets.
    assert!(ids[0].contains("bad/8") && ids[0].contains("gate/6"), "{ids:?}");
    assert_eq!(ids[1..].iter().filter(|id| id.contains("bad")).count(), 4, "{ids:?}");
    assert!(ids.len() == 6 && ids[5].contains("gate/5"), "{ids:?}");
    for one in bad(8..12).chunks(1) {
        refused(&mut sink, one);
    }
    sink.send(&batch[4..], GUARD).unwrap();
}

#[test]
fn a_server_that_takes_none_of_a_batch_costs_no_more_records() {
    let server = Server::new(|n| if n == 0 { answer(OK) } else { status("400 Bad Request", "", "") });
    let mut sink = http(&server.uri(""));
    send(&mut sink, 0..1, GUARD).unwrap();
    for n in 1..9 {
        assert!(matches!(send(&mut sink, n..n + 1, GUARD), Err(RemoteError::Refused(_))), "{n}");
    }
    for _ in 0..2 {
        let before = server.seen().len();
        let error = send(&mut sink, 9..109, GUARD).unwrap_err();
        assert!(matches!(&error, RemoteError::Denied(text) if text.contains("no more are given up")), "{error:?}");
        assert_eq!(server.seen().len(), before + 1 + 16 + 1, "it is not asked for ever");
    }
    // A server that falls silent meanwhile is not thought to be well.
    let server = Server::new(|n| if n < 10 { status("400 Bad Request", "", "") } else { Act::Last(Vec::new()) });
    let mut sink = http(&server.uri(""));
    for n in 0..8 {
        assert!(matches!(send(&mut sink, n..n + 1, GUARD), Err(RemoteError::Refused(_))), "{n}");
    }
    let error = send(&mut sink, 8..20, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Unreachable(_)), "{error:?}");
}

#[test]
fn escapes_reach_the_server_as_they_are_written() {
    let server = Server::new(|_| answer(OK));
    send(&mut http(&server.uri("%3Fsig=ab%2Bcd%26e%23f&x=a+b")), 0..1, GUARD).unwrap();
    let head = server.seen()[0].head.clone();
    assert!(head.starts_with("POST /in?sig=ab%2Bcd%26e%23f&x=a+b HTTP/1.1\r\n"), "{head}");
    let server = Server::new(|_| status("403 Forbidden", "", "/in?sig=geheim is not allowed"));
    let error = send(&mut http(&server.uri("%3Fsig=geheim")), 0..1, GUARD).unwrap_err();
    assert!(error.to_string().contains("/in?<secret> is not") && !error.to_string().contains("geheim"), "{error}");
}

#[test]
fn redirects_on_the_same_server_are_followed() {
    let server = Server::new(|n| match n {
        0 => status("307 Temporary Redirect", "Location: /new\r\n", "there"),
        1 => status("308 Permanent Redirect", "Location: newer?a=b\r\n", ""),
        _ => answer(OK),
    });
    send(&mut http(&server.uri("")), 0..2, GUARD).unwrap();
    let seen = server.seen();
    let targets: Vec<&str> = seen.iter().map(|request| request.head.split(' ').nth(1).unwrap()).collect();
    assert_eq!(targets, ["/in", "/new", "/newer?a=b"]);
    assert!(seen.iter().all(|request| request.lines().len() == 2));
    let server = Server::new(|_| status("307 Temporary Redirect", "Location: /in\r\n", ""));
    let error = send(&mut http(&server.uri("")), 0..2, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("from one address to the next")), "{error:?}");
}

#[test]
fn the_gateway_says_who_it_is_and_nobody_else_learns_it() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "geheim-1\n").unwrap();
    let server = Server::new(|_| status("401 Unauthorized", "", "geheim-1 bWU6Z2VoZWltLTE= is wrong"));
    let file = token.display();
    for (uri, name, value) in [
        (format!("http://me:geheim-1@{}/", server.address), "authorization", "Basic bWU6Z2VoZWltLTE="),
        (server.uri(&format!("?token-file={file}")), "authorization", "Bearer geheim-1"),
        (server.uri(&format!("?token-file={file}&token-header=X-Api-Key")), "x-api-key", "geheim-1"),
    ] {
        let error = send(&mut http(&uri), 0..1, GUARD).unwrap_err();
        assert!(matches!(error, RemoteError::Denied(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("<secret>") && !text.contains(value), "{text}");
        assert_eq!(server.seen().last().unwrap().header(name), Some(value));
    }
    std::fs::remove_file(&token).unwrap();
    let error = send(&mut http(&server.uri(&format!("?token-file={file}"))), 0..1, GUARD).unwrap_err();
    assert!(matches!(&error, RemoteError::Denied(text) if text.contains("cannot be read")), "{error:?}");
}

/// Sends batches as a shipper does: the same again until it is taken.
fn ship(sink: &mut Http, batches: usize, limit: impl Fn(usize) -> Duration) {
    let start = Instant::now();
    let mut tries = 0;
    for batch in 0..batches {
        while sink.send(&records(batch * 3..batch * 3 + 3), limit(tries)).is_err() {
            tries += 1;
            assert!(start.elapsed() < 4 * GUARD, "no end to it");
        }
        tries += 1;
    }
}

#[test]
fn whatever_fails_every_record_arrives_and_in_order() {
    let acts = [
        answer(OK),
        Act::Cut,
        status("503 Service Unavailable", "", ""),
        Act::Last(b"HTTP/1.1 200".to_vec()),
        answer(OK),
        answer(OK),
        Act::Hang,
        Act::HalfClose,
        Act::Unread("HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_string()),
        Act::Last(b"\0\0\0".to_vec()),
        // It closes after an answer without a word, as servers do with idle connections.
        Act::Last(OK.as_bytes().to_vec()),
        Act::Endless("HTTP/1.1 429 Wait\r\n".to_string(), "X: y\r\n".repeat(100)),
        status("404 Not Found", "", ""),
    ];
    let server = Server::new(move |n| acts[n % acts.len()].clone());
    ship(&mut http(&server.uri("")), 30, |_| SHORT);
    let seen: Vec<String> = server.seen().iter().flat_map(Request::lines).collect();
    let mut known = HashSet::new();
    let first: Vec<&String> = seen.iter().filter(|line| known.insert(line.as_str())).collect();
    let sent: Vec<String> = records(0..90).iter().map(|r| String::from_utf8(r.body.clone()).unwrap()).collect();
    assert_eq!(first, sent.iter().collect::<Vec<_>>());
    assert!(seen.len() > sent.len(), "some came twice: {}", seen.len());
}
