//! Two plans, what makes one of the other, and what that leaves alone.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;
use crate::site::description::{NoSignal, TelemetryTo};
use crate::site::plan::Policy;
use crate::site::units::Span;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => "[ab]".prop_map(Value::Text),
        1 => "[AB]".prop_map(|name| Value::Secret(Secret::Env(name))),
    ]
}

fn node(name: &'static str) -> impl Strategy<Value = Node> {
    let live = prop::collection::btree_set("[mnop]", 0..3);
    let live = prop_oneof![4 => Just(["m".to_owned(), "n".to_owned()].into()), 1 => live];
    (prop::collection::btree_map("[mnop]", value(), 0..4), "f[12]", live)
        .prop_map(move |(properties, factory, live)| Node { factory, name: name.into(), properties, live })
}

fn nodes(names: [&'static str; 2]) -> impl Strategy<Value = Vec<Node>> {
    (node(names[0]), node(names[1]), 0..3_usize).prop_map(|(first, second, count)| {
        let mut nodes = vec![first, second];
        nodes.truncate(count);
        nodes
    })
}

fn outputs() -> impl Strategy<Value = Vec<Output>> {
    let output = prop_oneof![
        Just(Output::Display {}),
        "/[ab]".prop_map(|mount| Output::Rtsp { mount, encode: Default::default() }),
        "[ab]".prop_map(|path| Output::Snapshot { path: path.into(), every: Span::from_secs(1), max_files: None }),
    ];
    prop::collection::vec(output, 0..3)
}

fn source() -> impl Strategy<Value = Vec<Step>> {
    (node("source"), "[ab]").prop_map(|(node, caps)| vec![Step::Element(node), Step::Caps(caps)])
}

fn policy() -> impl Strategy<Value = Policy> {
    (1..3_u64, any::<bool>()).prop_map(|(seconds, ends)| Policy {
        silent_after: Duration::from_secs(seconds),
        reconnect_first: Duration::from_secs(1),
        reconnect_most: Duration::from_secs(60),
        ends,
        repeats: !ends,
        no_signal: NoSignal::Nothing,
    })
}

prop_compose! {
    fn camera_plan()(
        enabled in any::<bool>(),
        profile in "[pq]?",
        shown_uri in "[uv]",
        source in source(),
        watchdog in prop::option::of(node("watchdog")),
        guarded in nodes(["g1", "g2"]),
        open in nodes(["o1", "o2"]),
        decoder_threads in 1..3_u32,
        policy in policy(),
        outputs in outputs(),
    ) -> CameraPlan {
        CameraPlan { enabled, profile, shown_uri, source, watchdog, guarded, open, decoder_threads, policy, outputs }
    }
}

prop_compose! {
    fn tile()(
        cameras in prop::collection::vec("[abc]", 0..3),
        columns in 1..3_u32,
        fps in 1..3_u32,
        outputs in outputs(),
    ) -> TilePlan {
        TilePlan { cameras, columns, size: [640, 360], fps, outputs }
    }
}

prop_compose! {
    fn whole()(
        name in "[xy]",
        api in "[xy]",
        rtsp in "[xy]",
        uri in prop::option::of("[xy]"),
        cameras in prop::collection::btree_map("[abcd]", camera_plan(), 0..5),
        tiles in prop::collection::btree_map("[ab]", tile(), 0..3),
    ) -> Plan {
        let api = Api { listen: api, token: None };
        let telemetry = TelemetryTo { uri, ..Default::default() };
        Plan { name, api, rtsp: RtspServer { listen: rtsp, ..Default::default() }, telemetry, cameras, tiles }
    }
}

/// A camera of `a` with some of `b`: what a small change of a description makes.
fn mixed(a: &CameraPlan, b: &CameraPlan, bits: u16) -> CameraPlan {
    let mut mixed = a.clone();
    let bit = |n: u16| bits >> n & 1 == 1;
    if bit(0) {
        mixed.outputs.clone_from(&b.outputs);
    }
    if bit(1) {
        mixed.enabled = b.enabled;
    }
    for (n, (node, other)) in
        (2..).zip(mixed.guarded.iter_mut().chain(&mut mixed.open).zip(b.guarded.iter().chain(&b.open)))
    {
        if bit(n) {
            node.properties.clone_from(&other.properties);
        }
    }
    if bit(7) && bit(8) {
        mixed.policy = b.policy.clone();
    }
    if bit(9) && bit(10) {
        mixed.source.clone_from(&b.source);
    }
    mixed
}

/// Two plans that have something in common.
fn pair() -> impl Strategy<Value = (Plan, Plan)> {
    let picks = prop::collection::vec(prop::option::of(any::<u16>()), 8);
    (whole(), whole(), picks).prop_map(|(a, mut b, picks)| {
        for ((id, camera), bits) in b.cameras.iter_mut().zip(picks) {
            if let (Some(before), Some(bits)) = (a.cameras.get(id), bits) {
                *camera = mixed(before, camera, bits);
            }
        }
        (a, b)
    })
}

fn camera_of(change: &Change) -> Option<&str> {
    match change {
        Change::RemoveCamera { id }
        | Change::AddCamera { id, .. }
        | Change::RebuildCamera { id, .. }
        | Change::SetProperty { id, .. }
        | Change::Enable { id, .. }
        | Change::Outputs { id, .. } => Some(id),
        _ => None,
    }
}

proptest! {
    #[test]
    fn what_makes_one_plan_of_another_does((a, b) in pair()) {
        prop_assert_eq!(apply(&diff(&a, &b), &a), b);
    }

    #[test]
    fn a_plan_needs_nothing_to_be_itself(a in whole()) {
        prop_assert_eq!(diff(&a, &a), []);
    }

    #[test]
    fn only_cameras_that_differ_are_touched((a, b) in pair()) {
        let changes = diff(&a, &b);
        for id in a.cameras.keys().chain(b.cameras.keys()) {
            let touched = changes.iter().any(|change| camera_of(change) == Some(id));
            prop_assert_eq!(touched, a.cameras.get(id) != b.cameras.get(id), "{}", id);
        }
    }

    #[test]
    fn a_pipeline_is_built_anew_only_if_it_must_be((a, b) in pair()) {
        for change in diff(&a, &b) {
            let Change::RebuildCamera { id, why, .. } = change else { continue };
            prop_assert!(!why.is_empty());
            let (before, after) = (&a.cameras[&id], &b.cameras[&id]);
            let same = CameraPlan { enabled: after.enabled, outputs: after.outputs.clone(), ..before.clone() };
            prop_assert_ne!(&same, after);
        }
    }

    #[test]
    fn what_goes_is_gone_before_something_comes((a, b) in pair()) {
        let changes = diff(&a, &b);
        let removes = |change: &Change| matches!(change, Change::RemoveCamera { .. } | Change::RemoveTile { .. });
        let comes = |change: &Change| matches!(change, Change::AddCamera { .. } | Change::AddTile { .. });
        let last = changes.iter().rposition(removes).unwrap_or(0);
        let first = changes.iter().position(comes).unwrap_or(changes.len());
        prop_assert!(last <= first);
    }
}

fn sample() -> Plan {
    let text = |text: &str| Value::Text(text.into());
    let infer = Node {
        factory: "vigilinfer".into(),
        name: "infer".into(),
        properties: [("model".into(), text("people")), ("provider".into(), text("cpu"))].into(),
        live: ["model".to_owned(), "confidence".to_owned()].into(),
    };
    let source = Node {
        factory: "rtspsrc".into(),
        name: "source".into(),
        properties: [("latency".into(), text("200"))].into(),
        live: Default::default(),
    };
    let camera = CameraPlan {
        enabled: true,
        profile: "people".into(),
        shown_uri: "rtsp://cam".into(),
        source: vec![Step::Element(source)],
        watchdog: None,
        guarded: vec![infer],
        open: Vec::new(),
        decoder_threads: 1,
        policy: Policy {
            silent_after: Duration::from_secs(5),
            reconnect_first: Duration::from_secs(1),
            reconnect_most: Duration::from_secs(60),
            ends: false,
            repeats: false,
            no_signal: NoSignal::Nothing,
        },
        outputs: Vec::new(),
    };
    let cameras = [("gate".to_owned(), camera.clone()), ("door".to_owned(), camera)].into();
    Plan {
        name: "yard".into(),
        api: Api::default(),
        rtsp: RtspServer::default(),
        telemetry: TelemetryTo::default(),
        cameras,
        tiles: BTreeMap::new(),
    }
}

/// The words for a change of the camera `gate`.
fn words(change: impl FnOnce(&mut CameraPlan)) -> String {
    let from = sample();
    let mut to = from.clone();
    change(to.cameras.get_mut("gate").unwrap());
    crate::site::show::changes(&diff(&from, &to))
}

#[test]
fn what_can_be_set_while_frames_flow_is() {
    let set = |property: &'static str, value: &'static str| {
        move |camera: &mut CameraPlan| {
            camera.guarded[0].properties.insert(property.into(), Value::Text(value.into()));
        }
    };
    assert_eq!(
        words(set("model", "people@2")),
        "~ camera gate: infer swaps its model for people@2, while frames flow\n"
    );
    assert_eq!(words(set("confidence", "0.5")), "~ camera gate: infer.confidence = 0.5, while frames flow\n");
    assert_eq!(words(set("provider", "cuda")), "~ camera gate: built anew, with other infer.provider\n");
    let unset = words(|camera| drop(camera.guarded[0].properties.remove("model")));
    assert_eq!(unset, "~ camera gate: built anew, with other infer.model\n", "only a new element knows its default");
}

#[test]
fn outputs_and_the_switch_leave_the_pipeline_alone() {
    let told = words(|camera| {
        camera.outputs.push(Output::Display {});
        camera.enabled = false;
    });
    assert_eq!(told, "~ camera gate: goes to display\n~ camera gate: switched off\n");
}

#[test]
fn a_rebuild_says_what_is_different() {
    let told = words(|camera| {
        let Step::Element(source) = &mut camera.source[0] else { panic!("an element") };
        source.properties.insert("latency".into(), Value::Text("100".into()));
        camera.policy.silent_after = Duration::from_secs(9);
        camera.outputs.push(Output::Display {});
    });
    let expected = "~ camera gate: built anew, with other source (source.latency), what is done when it is away\n\
                    ~ camera gate: goes to display\n";
    assert_eq!(told, expected);
    assert_eq!(
        words(|camera| camera.shown_uri = "rtsp://other".into()),
        "~ camera gate: built anew, with other source rtsp://other\n"
    );
    assert_eq!(words(|camera| camera.open = camera.guarded.clone()), "~ camera gate: built anew, with other stages\n");
}

#[test]
fn a_secret_that_changes_its_place_is_not_told() {
    let told = words(|camera| {
        camera.guarded[0].properties.insert("model".into(), Value::Secret(Secret::Env("MODEL".into())));
    });
    assert_eq!(told, "~ camera gate: built anew, with other infer.model\n");
}
