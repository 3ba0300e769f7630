use super::*;
use crate::parity::compare;

fn report() -> Report {
    let about = About {
        model: "yard <1>".into(),
        contract: "yolov8".into(),
        format: "RGB".into(),
        labels: vec!["person".into(), "car".into()],
        sides: Sides::default(),
    };
    let tolerances = Tolerances {
        confidence: 0.3,
        min_iou: 0.99,
        score: 0.01,
        keypoint: 1.0,
        keypoint_part: 0.0,
        min_mask_iou: 0.98,
        min_cosine: 0.999,
        nms_iou: 0.5,
        max_objects: 100,
    };
    Report::new(about, tolerances)
}

fn picture() -> Picture {
    Picture { width: 64, height: 48, rgb: vec![128; 64 * 48 * 3] }
}

fn found(class: u32, score: f32, bbox: [f32; 4]) -> Found {
    Found { class, score, bbox, ..Found::default() }
}

fn add(report: &mut Report, name: &str, ours: Vec<Found>, theirs: Vec<Found>) {
    let answer = |objects| Answer { objects, ..Answer::default() };
    let (ours, theirs) = (answer(ours), answer(theirs));
    let comparison = compare(&ours, &theirs, &report.tolerances);
    report.add(name, &ours, &theirs, &comparison, &picture());
}

const BOX: [f32; 4] = [10.0, 10.0, 30.0, 40.0];

#[test]
fn figures_are_summed_up() {
    let mut report = report();
    add(&mut report, "a.png", vec![found(0, 0.9, BOX)], vec![found(0, 0.904, BOX)]);
    add(&mut report, "b.png", vec![found(1, 0.5, BOX)], vec![found(1, 0.5, [10.0, 10.0, 30.0, 40.2])]);
    assert!(report.within());
    let json = report.to_json();
    assert_eq!((&json["pictures"], &json["pairs"], &json["within"]), (&json!(2), &json!(2), &json!(true)));
    let close = |pointer: &str, expected: f64| {
        let value = json.pointer(pointer).and_then(Value::as_f64).unwrap();
        assert!((value - expected).abs() < 1e-5, "{pointer}: {value}");
    };
    close("/iou/worst", 30.0 / 30.2);
    close("/score/worst", 0.004);
    close("/score/mean", 0.002);
    let text = report.to_string();
    assert!(text.ends_with("result     within tolerance"), "{text}");
    assert!(text.contains("boxes      IoU at least 0.9934, mean 0.9967 (tolerance 0.99)"), "{text}");
    assert!(!text.contains("keypoints"), "{text}");
}

#[test]
fn differences_are_counted_told_and_shown() {
    let mut report = report();
    add(&mut report, "a.png", vec![found(0, 0.9, BOX)], vec![found(1, 0.9, BOX), found(0, 0.5, [0.0, 0.0, 5.0, 5.0])]);
    assert!(!report.within());
    let json = report.to_json();
    assert_eq!((&json["differences"]["class"], &json["differences"]["missing"]), (&json!(1), &json!(1)));
    let text = report.to_string();
    let class = "a.png: another class: person 0.900 at 10.0,10.0–30.0,40.0; the reference: car 0.900 at";
    let missing = "a.png: found by the reference only: person 0.500 at 0.0,0.0–5.0,5.0";
    assert!(text.contains(class) && text.contains(missing), "{text}");
    assert!(text.ends_with("result     NOT within tolerance"), "{text}");

    let page = report.to_html();
    assert!(page.contains("Parity of yard &lt;1&gt;") && !page.contains("<1>"), "{page}");
    assert_eq!(page.matches("<figure>").count(), 2);
    assert_eq!(page.matches("data:image/png;base64,").count(), 2);
    assert_eq!((page.matches("class='box ours'").count(), page.matches("class='box theirs'").count()), (1, 2));
    assert!(!page.contains("http"), "it needs nothing else");
}

#[test]
fn the_sides_have_the_names_that_they_are_given() {
    let mut report = report();
    report.about.sides = Sides { ours: "the new model".into(), theirs: "the old <1>".into() };
    add(&mut report, "a.png", vec![found(0, 0.9, BOX)], vec![found(1, 0.9, BOX), found(0, 0.5, [0.0, 0.0, 5.0, 5.0])]);
    let heading = Heading {
        title: "Old & new".into(),
        verdict: (true, "good enough".into()),
        lines: vec![("agreement".into(), "0.5".into())],
    };
    let page = report.to_page(&heading);
    for part in ["<h1>Old &amp; new</h1>", "<span class=good>good enough", "<tr><th>agreement<td>0.5", "the new model"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("found by the old &lt;1&gt; only") && page.contains("; the old &lt;1&gt;: car"), "{page}");
    assert!(!page.contains("reference") && !page.contains("Vigil"), "{page}");
}

#[test]
fn the_worst_are_shown_first_and_not_too_many() {
    let mut report = report();
    for i in 0..30 {
        let score = 0.31 + (i * 7 % 30) as f32 * 0.02;
        add(&mut report, &format!("{i}.png"), vec![], vec![found(0, score, BOX)]);
    }
    assert_eq!(report.shown.len(), SHOWN);
    assert!(report.shown.windows(2).all(|w| w[0].difference.weight >= w[1].difference.weight));
    assert!(report.shown[0].difference.value > 0.88);
    assert!(report.to_string().contains("\nand 20 more\n"));
}

#[test]
fn the_part_shown_lies_around_the_objects_and_in_the_picture() {
    let picture = picture();
    assert_eq!(around(&[None], &picture), [0, 0, 64, 48]);
    let small = found(0, 0.5, [30.0, 20.0, 34.0, 22.0]);
    assert_eq!(around(&[Some(&small), None], &picture), [14, 4, 36, 34]);
    let edge = found(0, 0.5, [60.0, 40.0, 64.0, 48.0]);
    assert_eq!(around(&[Some(&edge)], &picture), [44, 24, 20, 24]);
    let beyond = found(0, 0.5, [100.0, 100.0, 120.0, 120.0]);
    let [left, top, width, height] = around(&[Some(&beyond)], &picture);
    assert!(left + width <= 64 && top + height <= 48 && width > 0 && height > 0);
}
