use super::*;
use crate::export::address::Address;
use crate::export::kind::Kind;

fn parsed(uri: &str) -> Result<HttpOptions, String> {
    HttpOptions::parse(Address::parse(uri).unwrap()).map_err(|error| error.to_string())
}

fn record(body: &str) -> Outgoing {
    Outgoing { kind: Kind::Event, camera: "gate".into(), body: body.into() }
}

#[test]
fn an_address_says_where_and_how() {
    let plain = parsed("http://collector/a/b%20c").unwrap();
    assert_eq!(plain.url.0.to_string(), "http://collector/a/b%20c");
    assert_eq!((plain.login, plain.gzip, plain.timeout), (None, true, Duration::from_secs(30)));
    let all = parsed("https://me:geheim@[::1]:8443/in?gzip=no&timeout=5s&ca=a.pem&cert=b.pem&key=c.pem").unwrap();
    assert_eq!(all.url.0.to_string(), "https://[::1]:8443/in");
    assert_eq!((all.gzip, all.timeout), (false, Duration::from_secs(5)));
    assert_eq!(all.tls.ca, Some("a.pem".into()));
    assert!(matches!(&all.login, Some(Login::Basic { user, password: Some(_) }) if user == "me"));
    assert!(!format!("{all:?}").contains("geheim"), "{all:?}");
    let query = parsed("https://collector/in%3Fkey=geheim&site=a").unwrap();
    assert_eq!(query.url.0.to_string(), "https://collector/in?key=geheim&site=a");
    assert!(!format!("{query:?}{}", query.url).contains("geheim"), "{query:?}");
    // Escapes stay as they are written: the server is to see them. Only the first question mark begins the query.
    let signed = parsed("https://c/a%2Fb%3fsig=ab%2Bcd%26e%23f&q=%3F+x y").unwrap();
    assert_eq!(signed.url.0.to_string(), "https://c/a%2Fb?sig=ab%2Bcd%26e%23f&q=%3F+x%20y");
    assert_eq!(signed.way, Way::Direct, "nobody is surprised by the environment");
    let token = parsed("https://collector/?token-env=TOKEN&token-header=X-Api-Key").unwrap();
    let header = Some(HeaderName::from_static("x-api-key"));
    assert_eq!(token.login, Some(Login::Token { place: secret::Secret::Env("TOKEN".into()), header }));
}

#[test]
fn wrong_addresses_get_an_answer_that_helps() {
    for (uri, text) in [
        ("http://a,b/", "the address names no host"),
        ("ftp://a/", "the address names no host"),
        ("http://gr\u{fc}n/", "the address names no host"),
        ("http://a/?gzip=maybe", "gzip: `maybe` is not yes or no"),
        ("http://a/?timeout=5", "timeout: `5` is not a duration"),
        ("http://a/?gzipp=no", "`gzipp` is not an option of a http sink (did you mean gzip?)"),
        ("http://a/?proxy=socks5://b", "proxy: `socks5://b` is not possible: SOCKS is not supported"),
        ("http://a/?ca=ca.pem", "ca: `ca.pem` is not of use with http://; write https://"),
        ("https://a/?cert=c.pem", "cert: `c.pem` is not of use alone"),
        ("http://me@a/?token-env=T", "token-env: `T` is not possible beside another login"),
        ("http://a/?token-env=T&token-file=f", "token-file: `f` is not possible beside another login"),
        ("http://a/?token-header=X", "token-header: `X` is not of use alone"),
        ("http://a/?token-env=T&token-header=a%20b", "token-header: `a b` is not the name of a header"),
        ("http://:geheim@a/", "password: `<given>` is not of use without a user's name"),
    ] {
        let error = parsed(uri).unwrap_err();
        assert!(error.contains(text), "{uri}: {error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn a_batch_has_a_name_that_stays() {
    let (one, two) = (record("{\"id\":\"1\"}"), record("{\"id\":\"2\"}"));
    let batch = pack(&[one.clone(), two.clone()], false);
    assert_eq!(batch.body, b"{\"id\":\"1\"}\n{\"id\":\"2\"}\n");
    let packed = pack(&[one.clone(), two], true);
    assert_eq!((packed.key.clone(), packed.records), (batch.key, 2));
    assert_ne!(packed.key, pack(&[one], true).key);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text.as_bytes(), batch.body);
}

#[test]
fn redirects_stay_with_the_server() {
    let url = parsed("https://a:1/b/c").unwrap().url;
    let to = |place: &str| {
        let headers = [(header::LOCATION, HeaderValue::from_str(place).unwrap())].into_iter().collect();
        moved(&url, &headers).map(|url| url.0.to_string()).map_err(|error| error.to_string())
    };
    for (place, meant) in [
        ("/d", "https://a:1/d"),
        ("d", "https://a:1/b/d"),
        ("https://a:1/?k=v", "https://a:1/?k=v"),
        ("//a:1/", "https://a:1/"),
    ] {
        assert_eq!(to(place).as_deref(), Ok(meant));
    }
    for place in ["http://a:1/d", "https://a/d", "https://b:1/", "//b/", "https://a:1@b/", "", "https://"] {
        let error = to(place).unwrap_err();
        assert!(error.contains("has moved") && error.contains("change the address"), "{place}: {error}");
    }
    assert!(to("https://b/?token=geheim").unwrap_err().contains("to https://b/;"));
}

#[test]
fn what_a_server_says_is_shown_without_the_password() {
    let url = parsed("https://a/b").unwrap().url;
    let text =
        said(&url, ureq::http::StatusCode::FORBIDDEN, b"no geheim\n here\x07", &["geheim".into(), String::new()]);
    assert_eq!(text, "https://a/b answered 403 Forbidden: no <secret> here");
    assert_eq!(said(&url, ureq::http::StatusCode::BAD_GATEWAY, b"", &[]), "https://a/b answered 502 Bad Gateway");
}

#[test]
fn secrets_are_read_when_they_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let place = secret::Secret::File(path.clone());
    let value = |login: &Login| credentials(login).map(|c| c.value.to_str().unwrap().to_string());
    let bearer = Login::Token { place: place.clone(), header: None };
    assert!(value(&bearer).unwrap_err().contains("cannot be read"));
    std::fs::write(&path, "one\n").unwrap();
    assert_eq!(value(&bearer).as_deref(), Ok("Bearer one"));
    std::fs::write(&path, "two\n").unwrap();
    assert_eq!(value(&bearer).as_deref(), Ok("Bearer two"));
    let bare = Login::Token { place, header: Some(HeaderName::from_static("x-api-key")) };
    assert_eq!(value(&bare).as_deref(), Ok("two"));
    std::fs::write(&path, "gehe\nim").unwrap();
    let error = value(&bearer).unwrap_err();
    assert!(error.contains("characters") && !error.contains("gehe"), "{error}");
    let basic = Login::Basic { user: "Aladdin".into(), password: Some(Password::Given("open sesame".into())) };
    assert_eq!(value(&basic).as_deref(), Ok("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
}
