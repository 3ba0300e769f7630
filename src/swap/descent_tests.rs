use super::*;
use crate::bundle::Variant;
use crate::engine::fake::Fake;
use crate::model::Model;

/// A bundle of variants: digest and providers, none for what the manifest leaves open.
fn bundle(variants: &[(&str, &[&str])]) -> Bundle {
    let mut bundle = Model::fake(Fake::new(1)).bundle().clone();
    let variant = |(digest, providers): &(&str, &[&str])| Variant {
        file: format!("{digest}.onnx"),
        sha256: (*digest).into(),
        precision: None,
        providers: (!providers.is_empty()).then(|| providers.iter().map(|p| (*p).into()).collect()),
    };
    bundle.variants = variants.iter().map(variant).collect();
    bundle
}

fn failing<'a>(model: &'a str, bundle: &'a Bundle, variant: &'a str, provider: &'a str) -> Failing<'a> {
    Failing { model, bundle, variant, provider, allowed: "auto" }
}

const BELOW: Below<'static> = Below { previous: Some("people@1"), fallback: Some("small") };

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
}

#[test]
fn the_way_down_is_variants_then_the_release_before_then_the_fallback_then_nothing() {
    let two = bundle(&[("a", &["cuda", "cpu"]), ("b", &[])]);
    let one = bundle(&[("c", &[])]);
    let mut descent = Descent::default();
    let order = descent.next(failing("people", &two, "a", "cuda"), BELOW).unwrap();
    assert_eq!((order.model.as_str(), order.cause), ("people", Cause::Fallback));
    assert_eq!(order.without, pairs(&[("a", "cuda")]));
    let order = descent.next(failing("people", &two, "a", "cpu"), BELOW).unwrap();
    assert_eq!((order.model.as_str(), order.without), ("people", pairs(&[("a", "cuda"), ("a", "cpu")])));
    let order = descent.next(failing("people", &two, "b", "cpu"), BELOW).unwrap();
    assert_eq!((order.model.as_str(), order.without), ("people@1", vec![]));
    let order = descent.next(failing("people@1", &one, "c", "cpu"), BELOW).unwrap();
    assert_eq!(order.model, "small");
    for _ in 0..3 {
        assert_eq!(descent.next(failing("small", &one, "d", "cpu"), BELOW), None, "it stays where it is");
    }
    // A user has chosen anew.
    descent.reset();
    assert_eq!(descent.next(failing("people", &one, "c", "cpu"), BELOW).unwrap().model, "people@1");
}

#[test]
fn a_variant_that_was_refused_is_not_asked_for_again() {
    let two = bundle(&[("a", &[]), ("b", &[])]);
    let mut descent = Descent::default();
    let next = |descent: &mut Descent| descent.next(failing("people", &two, "a", "cpu"), BELOW).map(|o| o.model);
    // The model in use stays the same all the way, since nothing that is tried is any good.
    assert_eq!(next(&mut descent).as_deref(), Some("people"));
    assert_eq!(next(&mut descent).as_deref(), Some("people@1"));
    assert_eq!(next(&mut descent).as_deref(), Some("small"));
    assert_eq!(next(&mut descent), None);
}

#[test]
fn only_providers_that_are_allowed_are_tried() {
    let bundle = bundle(&[("a", &["cuda", "cpu"]), ("b", &["cuda"]), ("c", &[])]);
    let mut descent = Descent::default();
    let only = |variant| Failing { allowed: "cpu", ..failing("people", &bundle, variant, "cpu") };
    let order = descent.next(only("a"), BELOW).unwrap();
    assert_eq!((order.model.as_str(), order.without), ("people", pairs(&[("a", "cpu")])), "there is c");
    assert_eq!(descent.next(only("c"), BELOW).unwrap().model, "people@1", "a and b are for cuda");
}

#[test]
fn rungs_that_are_not_there_or_are_in_use_are_left_out() {
    let one = bundle(&[("c", &[])]);
    let below = |previous, fallback| Below { previous, fallback };
    let next = |model, below| Descent::default().next(failing(model, &one, "c", "cpu"), below).map(|o| o.model);
    assert_eq!(next("people", below(None, Some("small"))).as_deref(), Some("small"));
    assert_eq!(next("people", below(None, None)), None);
    assert_eq!(next("small", below(None, Some("small"))), None);
    assert_eq!(next("people@1", below(Some("people@1"), Some("small"))).as_deref(), Some("small"));
}

#[test]
fn the_clock_runs_while_every_frame_fails_and_begins_anew_after_each_step() {
    let (mut descent, start) = (Descent::default(), Instant::now());
    let limit = Duration::from_secs(10);
    let fails = |descent: &mut Descent, second| descent.fails(start + Duration::from_secs(second), limit);
    assert!(!fails(&mut descent, 0) && !fails(&mut descent, 9));
    descent.works();
    assert!(!fails(&mut descent, 12) && !fails(&mut descent, 21), "one good frame in between");
    assert!(fails(&mut descent, 22));
    assert!(!fails(&mut descent, 23) && !fails(&mut descent, 32), "what is tried now has as long");
    assert!(fails(&mut descent, 33));
    assert!(Descent::default().fails(start, Duration::ZERO));
}
