//! Random descriptions, random mistakes in them, and random texts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::site::description::*;
use crate::site::output::{Encode, Output};
use crate::site::units::{Span, TextOrSecret};

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<bool>().prop_map(Scalar::Bool),
        any::<i64>().prop_map(Scalar::Integer),
        proptest::num::f64::NORMAL.prop_map(Scalar::Float),
        ".{0,8}".prop_map(Scalar::Text),
    ]
}

/// Names that no table has keys of its own for.
fn key() -> impl Strategy<Value = String> {
    "x[a-z.\"-]{0,5}"
}

fn properties() -> impl Strategy<Value = Properties> {
    btree_map(key(), scalar(), 0..3)
}

fn span() -> impl Strategy<Value = Span> {
    (0..10_000_000_u64, 0..1_000_000_000_u32).prop_map(|(s, ns)| Span(Duration::new(s, ns)))
}

fn secret() -> impl Strategy<Value = Secret> {
    prop_oneof![".{0,5}".prop_map(Secret::Env), ".{0,5}".prop_map(|p| Secret::File(p.into()))]
}

fn user() -> impl Strategy<Value = TextOrSecret> {
    prop_oneof![".{0,5}".prop_map(TextOrSecret::Text), secret().prop_map(TextOrSecret::Secret)]
}

fn path() -> impl Strategy<Value = PathBuf> {
    ".{0,8}".prop_map(PathBuf::from)
}

fn encode() -> impl Strategy<Value = Encode> {
    (of(".{0,5}"), 1..100_000_u32).prop_map(|(element, bitrate)| Encode { element, bitrate })
}

fn output() -> impl Strategy<Value = Output> {
    prop_oneof![
        (path(), of(span()), of(1..99_u32), encode()).prop_map(|(path, segment, max_files, encode)| Output::File {
            path,
            segment,
            max_files,
            encode
        }),
        (".{0,5}", encode()).prop_map(|(mount, encode)| Output::Rtsp { mount, encode }),
        (path(), of(span()), of(1..99_u32), encode()).prop_map(|(folder, segment, max_files, encode)| Output::Hls {
            folder,
            segment,
            max_files,
            encode
        }),
        (path(), span(), of(1..99_u32)).prop_map(|(path, every, max_files)| Output::Snapshot {
            path,
            every,
            max_files
        }),
        Just(Output::Display {}),
    ]
}

fn camera() -> impl Strategy<Value = Camera> {
    let source = (of(".{0,9}"), of(".{0,9}"), of(".{0,9}"), of(any::<bool>()), of(user()), of(secret()));
    let transport = prop_oneof![
        Just(Transport::Auto),
        Just(Transport::Tcp),
        Just(Transport::Udp),
        Just(Transport::Multicast),
        Just(Transport::Http)
    ];
    let decode = (of(".{0,5}"), of(0..64_u32)).prop_map(|(element, threads)| Decode { element, threads });
    let way = (of(transport), of(path()), of(span()), of(0.1..1e6_f64), of(decode), of(".{0,5}"));
    let stages = (btree_map(key(), properties(), 0..2), properties(), of(vec(output(), 0..3)));
    let no_signal = prop_oneof![Just(NoSignal::Nothing), Just(NoSignal::Picture)];
    let reconnect = (span(), span()).prop_map(|(first, most)| Reconnect { first, most });
    let policy = (of(no_signal), of(span()), of(reconnect), of(any::<bool>()));
    (source, way, stages, policy).prop_map(|(source, way, stages, policy)| Camera {
        uri: source.0,
        launch: source.1,
        caps: source.2,
        repeat: source.3,
        user: source.4,
        password: source.5,
        transport: way.0,
        tls_ca: way.1,
        latency: way.2,
        max_fps: way.3,
        decode: way.4,
        profile: way.5,
        stage: stages.0,
        watchdog: stages.1,
        output: stages.2,
        no_signal: policy.0,
        silent_after: policy.1,
        reconnect: policy.2,
        enabled: policy.3,
    })
}

fn profile() -> impl Strategy<Value = Profile> {
    let stage = (of("[a-z]{1,5}"), "[a-z]{1,5}", of(any::<bool>()), properties())
        .prop_map(|(name, element, guarded, properties)| Stage { name, element, guarded, properties });
    let watchdog = (any::<bool>(), properties()).prop_map(|(enabled, properties)| Watchdog { enabled, properties });
    (vec(stage, 0..3), watchdog, camera()).prop_map(|(stage, watchdog, camera)| Profile { stage, watchdog, camera })
}

fn tile() -> impl Strategy<Value = Tile> {
    (vec(".{0,5}", 0..3), of(1..9_u32), [16..4096_u32, 16..4096_u32], 1..60_u32, vec(output(), 0..2))
        .prop_map(|(cameras, columns, size, fps, output)| Tile { cameras, columns, size, fps, output })
}

fn named<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = BTreeMap<String, T>> {
    btree_map(".{0,6}", of, 0..3)
}

fn description() -> impl Strategy<Value = Description> {
    let servers = (".{0,6}", of(secret()), ".{0,6}", of(user()), of(secret()));
    let telemetry = (of(".{0,9}"), 1..99_u64, of(".{1,9}"));
    let telemetry = telemetry.prop_map(|(uri, seconds, spool)| TelemetryTo {
        uri,
        interval: Span::from_secs(seconds),
        spool: spool.map(Into::into),
    });
    (".{0,6}", servers, telemetry, camera(), named(profile()), named(camera()), named(tile())).prop_map(
        |(name, (api, token, rtsp, user, password), telemetry, defaults, profile, camera, tile)| Description {
            format: FORMAT,
            name,
            include: Vec::new(),
            api: Api { listen: api, token },
            rtsp: RtspServer { listen: rtsp, user, password },
            telemetry,
            defaults,
            profile,
            camera,
            tile,
        },
    )
}

/// Puts `with` in the place of the value number `number` of a tree.
fn replace(value: &mut Value, number: &mut usize, with: &Value) {
    if *number == 0 {
        *value = with.clone();
    }
    *number = number.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, number, with)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, number, with)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_description_that_is_written_reads_back_as_it_was(description in description()) {
        let toml = toml::to_string(&description).unwrap();
        let (document, problems) = read_text(&toml, "site.toml", Path::new("/etc"));
        prop_assert_eq!(problems.to_string(), "", "{}", toml);
        prop_assert_eq!(&document.unwrap().description, &description, "{}", toml);
        let json = serde_json::to_string(&description).unwrap();
        let (document, problems) = read_text(&json, "site.json", Path::new("/etc"));
        prop_assert_eq!(problems.to_string(), "", "{}", json);
        prop_assert_eq!(&document.unwrap().description, &description, "{}", json);
    }

    #[test]
    fn a_wrong_value_anywhere_is_told_with_its_place(
        description in description(),
        number in 1..200_usize,
        with in prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,5}".prop_map(Value::from),
            Just(Value::Array(vec![Value::from(1)])),
            Just(serde_json::json!({ "x": 1 })),
        ],
    ) {
        let mut value = serde_json::to_value(&description).unwrap();
        replace(&mut value, &mut { number }, &with);
        let (document, problems) = read_text(&value.to_string(), "site.json", Path::new("/etc"));
        // serde never has the last word: the walk has found all that it could.
        prop_assert!(problems.0.iter().all(|problem| problem.place.is_some()), "{}\n{}", problems, value);
        prop_assert!(document.is_some() || problems.has_errors());
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", tail in "[\\[\\]{}=.,\"'a-z0-9\n #-]{0,80}") {
        for file in ["a.toml", "a.json"] {
            for text in [&text, &tail, &format!("format = 1\nname = \"a\"\n{tail}")] {
                let (document, problems) = read_text(text, file, Path::new("/etc"));
                prop_assert!(document.is_some() || problems.has_errors());
            }
        }
    }
}
