use super::super::tests::bundle;
use super::*;

const OBJECT: &str = r#"{"class": 0, "label": "thing", "score": 0.5, "box": [1, 2, 3, 4]}"#;

fn of_entries(entries: &str) -> String {
    format!(r#"{{"format": 1, "pictures": [{entries}]}}"#)
}

fn of_object(object: &str) -> String {
    of_entries(&format!(r#"{{"file": "reference/a.png", "objects": [{object}]}}"#))
}

fn error(json: &str) -> String {
    let text = read(&bundle(&[0, 0], json, ""), "reference/expected.json").unwrap_err();
    text.strip_prefix("things/reference/expected.json: ").expect("the file is named").to_owned()
}

/// The answers of a bundle that is read with another task.
fn of_task(json: &str, task: Task) -> Result<Expected, String> {
    let mut bundle = bundle(&[0], json, "");
    bundle.task = task;
    read(&bundle, "reference/expected.json")
}

#[test]
fn what_is_written_reads_back_equal() {
    let keypoints = vec![[1.25, 2.5, 0.875], [3.0, 4.0, 0.0]];
    let object = Found { score: 0.8125, bbox: [1.5, 2.25, 30.75, 40.0], keypoints, ..Found::default() };
    let pictures = [
        ("reference/a.png".to_owned(), Answer { objects: vec![object.clone(), object], ..Answer::default() }),
        ("reference/b.png".to_owned(), Answer::default()),
    ];
    let text = write(&pictures, &vec!["thing".into()]);
    assert_eq!(text.lines().filter(|line| line.contains("\"box\"")).count(), 2, "a line for each object: {text}");
    let back = read(&bundle(&[0, 0], &text, ""), "reference/expected.json").unwrap();
    assert_eq!(back, pictures.into());
}

#[test]
fn numbers_are_written_with_the_digits_that_mean_something() {
    let object = Found { score: 0.123_456_7, bbox: [1.0 / 3.0, 0.0, 99.999, 7.125], ..Found::default() };
    let text = write(&[("a".into(), Answer { objects: vec![object], ..Answer::default() })], &vec!["thing".into()]);
    assert!(text.contains(r#""score":0.1235,"box":[0.33,0.0,100.0,7.13]"#), "{text}");
}

#[test]
fn classes_corners_and_embeddings_are_read_and_written() {
    let one = |answer: Answer| write(&[("reference/a.png".into(), answer)], &vec!["thing".into()]);
    let classes = Answer { classes: vec![(0, 0.75)], ..Answer::default() };
    assert_eq!(of_task(&one(classes.clone()), Task::Classify).unwrap()["reference/a.png"], classes);
    let vector = Answer { embedding: vec![0.6, -0.8], ..Answer::default() };
    assert_eq!(of_task(&one(vector.clone()), Task::Embed).unwrap()["reference/a.png"], vector);
    let corners = Some([[0.0, 1.0], [2.0, 0.0], [3.0, 1.5], [1.0, 2.5]]);
    let turned = Found { score: 0.5, bbox: [0.0, 0.0, 3.0, 2.5], corners, ..Found::default() };
    let turned = Answer { objects: vec![turned], ..Answer::default() };
    assert_eq!(of_task(&one(turned.clone()), Task::Obb).unwrap()["reference/a.png"], turned);
}

#[test]
fn broken_json_and_unknown_keys_are_told_with_line_and_column() {
    let text = error("{\"format\": 1,\n \"pictures\": [}");
    assert!(text.contains("line 2 column"), "{text}");
    let text = error("{\"format\": 1,\n \"pictures\": [], \"images\": []}");
    assert!(text.contains("unknown field `images`") && text.contains("line 2"), "{text}");
    let text = error(&of_object(&OBJECT.replace("score", "confidence")));
    assert!(text.contains("unknown field `confidence`"), "{text}");
    let text = error(&of_object(r#"{"class": 0, "label": "thing", "box": [1, 2, 3, 4]}"#));
    assert!(text.contains("missing field `score`"), "{text}");
    assert_eq!(error(r#"{"format": 2, "images": []}"#), "format 2 is not known; this version of Vigil reads format 1");
}

#[test]
fn pictures_and_entries_must_be_the_same() {
    let entry = |file: &str| format!(r#"{{"file": "reference/{file}"}}"#);
    let text = error(&of_entries(&entry("a.png")));
    assert_eq!(text, "there is no entry for the picture reference/b.png");
    let text = error(&of_entries(&[entry("a.png"), entry("b.png"), entry("c.png")].join(", ")));
    assert!(text.starts_with("there is an entry for reference/c.png, which is none of the bundle's"), "{text}");
    let text = error(&of_entries(&[entry("a.png"), entry("b.png"), entry("a.png")].join(", ")));
    assert_eq!(text, "pictures[2] (reference/a.png): there is another entry for this picture");
}

#[test]
fn values_that_cannot_be_are_told_with_their_place() {
    let place = "pictures[0] (reference/a.png): objects[1].";
    let cases = [
        ("\"class\": 0", "\"class\": 1", "class: 1, but the bundle has 1 labels, counted from 0"),
        ("\"thing\"", "\"think\"", "label: class 0 is \"thing\" in the bundle's labels, not \"think\""),
        ("0.5", "1.5", "score: 1.5 is not a number from 0 to 1"),
        ("0.5", "1e39", "score: inf is not a number from 0 to 1"),
        ("[1, 2", "[3, 2", "box: [3.0, 2.0, 3.0, 4.0] is not left, top, right, bottom of a box with an area"),
        ("3, 4]", "1e39, 4]", "box: [1.0, 2.0, inf, 4.0] is not left, top, right, bottom of a box with an area"),
        ("3, 4]", "3, 4], \"keypoints\": [[0, 0, 1e39]]", "keypoints: not all are finite numbers"),
        ("3, 4]", "3, 4], \"corners\": [[0, 0], [1, 0], [1, 1], [0, 1]]", "corners: only oriented boxes have them"),
    ];
    for (from, to, why) in cases {
        let changed = OBJECT.replacen(from, to, 1);
        assert_ne!(changed, OBJECT, "{from}");
        assert_eq!(error(&of_object(&format!("{OBJECT}, {changed}"))), format!("{place}{why}"));
    }
    assert!(of_task(&of_object(OBJECT), Task::Obb).unwrap_err().ends_with("corners: an oriented box needs them"));
}

#[test]
fn what_the_task_does_not_answer_is_refused() {
    let entry = |key: &str| of_entries(&format!(r#"{{"file": "reference/a.png"{key}}}"#));
    let refused = |key: &str, task| of_task(&entry(key), task).unwrap_err();
    let class = r#", "classes": [{"class": 0, "label": "thing", "score": 0.5}]"#;
    assert!(refused(class, Task::Detect).ends_with("classes: a model of the bundle's task has none"));
    assert!(refused(class, Task::Embed).ends_with("classes: a model of the bundle's task has none"));
    assert!(refused(&format!(r#", "objects": [{OBJECT}]"#), Task::Classify).contains("objects: a model"));
    assert!(refused("", Task::Classify).ends_with("classes are missing: without them nothing would be proven"));
    assert!(refused("", Task::Embed).contains("values of the embedding are missing"));
    assert!(refused(r#", "embedding": [0.5, 0.5]"#, Task::Embed).contains("its length is 0.70710677, and not 1"));
    assert!(refused(r#", "embedding": [1e39]"#, Task::Embed).contains("its length is inf, and not 1"));
    assert!(refused(&class.replace("0.5", "-1"), Task::Classify).contains("classes[0].score: -1 is not a number"));
}
