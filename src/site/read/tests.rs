use super::*;
use crate::secret::Secret;

fn told_of(text: &str, file: &str) -> String {
    let mut problems = read_text(text, file, Path::new("/etc/vigil")).1;
    problems.sort();
    problems.to_string()
}

fn told(text: &str) -> String {
    told_of(text, "site.toml")
}

const GOOD: &str = "format = 1\nname = \"yard\"\n";

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_place() {
    let text = r#"format = 1
name = 5
shiny = true

[api]
listen = ["127.0.0.1:1"]

[defaults]
latncy = "200ms"
transport = "upd"
max-fps = 0

[profile.people]
stage = [{ element = "vigilinfer", interval = [1] }, { model = "x" }]

[camera.gate]
uri = 7
silent-after = 5
reconnect = { first = "soon", most = "1m" }
decode.threads = 1.5
output = [
  { kind = "file" },
  { path = "x" },
  { kind = "fle", path = "x" },
  { kind = "rtsp", mount = "/g", path = "y" },
]

[tile.all]
size = [1280]
fps = 1000
"#;
    let expected = r#"site.toml:2:8: `name`: a text in quotes is expected, this is a whole number
site.toml:3:1: `shiny`: unknown key; known here: api, camera, defaults, format, include, name, profile, rtsp, telemetry, tile
site.toml:6:10: `api.listen`: a text in quotes is expected, this is a list
site.toml:9:1: `defaults.latncy`: unknown key; did you mean `latency`?
site.toml:10:13: `defaults.transport`: unknown value "upd"; did you mean "udp"? It is one of: auto, tcp, udp, multicast, http
site.toml:11:11: `defaults.max-fps`: it is a number over 0, this is 0
site.toml:14:47: `profile.people.stage.0.interval`: a text, a number, or true or false is expected, this is a list
site.toml:14:54: `profile.people.stage.1`: the key `element` is missing
site.toml:17:7: `camera.gate.uri`: a text in quotes is expected, this is a whole number
site.toml:18:16: `camera.gate.silent-after`: a duration is a text with its unit, such as "300ms" or "5s"; this is a whole number
site.toml:19:23: `camera.gate.reconnect.first`: "soon" is no duration: it is a number with a unit (ms, s, m or min, h, d), such as "300ms", "5s" or "1h 30m"
site.toml:20:18: `camera.gate.decode.threads`: a whole number is expected, this is a number
site.toml:22:3: `camera.gate.output.0`: the key `path` is missing
site.toml:23:3: `camera.gate.output.1`: the key `kind` is missing; it is one of: file, rtsp, hls, snapshot, display
site.toml:24:12: `camera.gate.output.2.kind`: unknown value "fle"; did you mean "file"? It is one of: file, rtsp, hls, snapshot, display
site.toml:25:34: `camera.gate.output.3.path`: unknown key; known here: encode, kind, mount
site.toml:29:8: `tile.all.size`: a list of 2 items is expected, this one has 1
site.toml:30:7: `tile.all.fps`: it is a number of 1 to 120, this is 1000
"#;
    assert_eq!(told(text), expected);
    // What is good of it is there, so that a check can find more.
    let document = read_text(text, "site.toml", Path::new("/etc/vigil")).0.unwrap();
    assert_eq!(document.description.camera["gate"].output, None);
    assert_eq!(document.places.0["camera.gate.output.1"].line, 23);
    assert_eq!(document.places.find("camera.gate.nothing.more").unwrap().line, 16);
}

#[test]
fn what_is_missing_at_the_top_is_named() {
    assert_eq!(
        told(""),
        "site.toml:1:1: the key `format` is missing; write format = 1\n\
         site.toml:1:1: the key `name` is missing; give the site a name\n"
    );
    assert_eq!(
        told("format = 2\nshiny = 1"),
        "site.toml:1:10: `format`: this version of vigil reads format 1, this is 2\n"
    );
}

#[test]
fn a_secret_is_never_written_nor_repeated() {
    let text =
        format!("{GOOD}[camera.gate]\npassword = \"geheim\"\nuser = \"admin\"\n[api.token]\nvalue = \"geheim\"\n");
    let told = told(&text);
    assert_eq!(
        told,
        "site.toml:4:12: `camera.gate.password`: a secret is not written in a description, only where it is to be found: \
         { env = \"NAME\" } for a variable of the environment, or { file = \"PATH\" }\n\
         site.toml:7:1: `api.token.value`: unknown key; a secret is { env = \"NAME\" } for a variable of the environment, or \
         { file = \"PATH\" }\n"
    );
    assert!(!told.contains("geheim"));
    let both = format!("{GOOD}[camera.gate]\npassword = {{ env = \"A\", file = \"b\" }}");
    assert!(told_of(&both, "a.toml").contains("a secret has one key"));
    let json = "{\"format\": 1, \"name\": \"a\", \"camera\": {\"g\": {\"password\": \"geheim\"}}}";
    assert!(told_of(json, "a.json").contains("{\"env\": \"NAME\"}"));
    let good =
        format!("{GOOD}[camera.gate]\nuser = {{ env = \"USER_OF_GATE\" }}\npassword = {{ file = \"gate.secret\" }}");
    let document = read_text(&good, "a.toml", Path::new("/etc")).0.unwrap();
    assert_eq!(document.description.camera["gate"].password, Some(Secret::File("gate.secret".into())));
}

#[test]
fn a_camera_that_is_there_twice_is_told_with_both_places() {
    let text = format!("{GOOD}[camera.gate]\nuri = \"test:\"\n[camera.\"gate\"]\nuri = \"test:ball\"\nloop = 1\n");
    let told = told(&text);
    assert_eq!(
        told,
        "site.toml:5:9: `camera.gate`: two cameras cannot have one id; the first is at site.toml:3:1\n\
         site.toml:7:8: `camera.gate.loop`: true or false is expected, this is a whole number\n"
    );
    let key = format!("{GOOD}[camera.gate]\nuri = \"test:\"\nuri = \"test:\"\n");
    assert_eq!(
        told_of(&key, "site.toml"),
        "site.toml:5:1: `camera.gate.uri`: it is written twice; the first is at site.toml:4:1\n"
    );
    let json = "{\"format\": 1, \"name\": \"a\", \"camera\": {\n\"gate\": {},\n\"gate\": {}}}";
    assert_eq!(told_of(json, "a.json"), "a.json:3:1: `camera.gate`: it is written twice; the first is at a.json:2:1\n");
}

#[test]
fn bad_syntax_is_told_with_its_place_and_nothing_more() {
    let toml = told(&format!("{GOOD}[camera.gate\nuri = 7\n"));
    assert!(toml.starts_with("site.toml:3:"), "{toml}");
    assert_eq!(read_text("a = [", "site.toml", Path::new("/")).0, None);
    for (text, place) in
        [("{\"a\": 1,}", "1:8"), ("{'a': 1}", "1:2"), ("// x\n{}", "1:1"), ("{} {}", "1:4"), ("", "1:1")]
    {
        let json = told_of(text, "site.json");
        assert!(json.starts_with(&format!("site.json:{place}: ")), "{text}: {json}");
    }
    assert!(told_of(&"[".repeat(100_000), "a.json").contains("nesting"));
    assert!(!told_of(&format!("a = {}", "[".repeat(100_000)), "a.toml").is_empty());
    assert_eq!(
        told_of("[1]", "a.json"),
        "a.json:1:1: a table is expected, this is a list\n\
        a.json:1:1: the key `format` is missing; write format = 1\na.json:1:1: the key `name` is missing; give the site a name\n"
    );
}

#[test]
fn json_says_the_same_as_toml() {
    let json = r#"{
        "format": 1, "name": "yard",
        "camera": { "gate": { "uri": "test:", "latency": null, "max-fps": 10, "latncy": 3 } },
        "profile": { "p": { "stage": [ { "element": "vigilinfer", "interval": 2, "confidence": 0.5 } ] } }
    }"#;
    assert_eq!(told_of(json, "s.json"), "s.json:3:79: `camera.gate.latncy`: unknown key; did you mean `latency`?\n");
    let toml = "format = 1\nname = \"yard\"\n[camera.gate]\nuri = \"test:\"\nmax-fps = 10\n[[profile.p.stage]]\n\
                element = \"vigilinfer\"\ninterval = 2\nconfidence = 0.5\n";
    let description = |text: &str, file: &str| read_text(text, file, Path::new("/")).0.unwrap().description;
    assert_eq!(description(json, "s.json"), description(toml, "s.toml"));
    assert_eq!(
        told_of("{\"format\": 1, \"name\": \"a\", \"tile\": {\"t\": {\"fps\": 99999999999999999999}}}", "a.json"),
        "a.json:1:50: `tile.t.fps`: a whole number is expected, this is a number that is too large\n"
    );
}

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[test]
fn includes_bring_cameras_profiles_and_tiles() {
    let main = format!(
        "{GOOD}include = [\"more.toml\", \"site.d/*.toml\", \"*.toml\", \"none.d/*\"]\n[camera.gate]\nuri = \"test:\"\n"
    );
    let folder = folder(&[
        ("site.toml", &main),
        ("more.toml", "[profile.people]\n[tile.all]\n"),
        ("site.d/a.toml", "format = 1\n[camera.a]\nuri = \"test:\"\n"),
        ("site.d/b.toml", "[camera.b]\nuri = \"test:\"\nprofile = \"people\""),
        ("site.d/.hidden.toml", "[camera.c]\n"),
        ("site.d/c.txt", "nonsense"),
    ]);
    let (document, problems) = read(&folder.path().join("site.toml"));
    assert_eq!(problems.to_string(), "");
    let document = document.unwrap();
    assert_eq!(document.description.camera.keys().collect::<Vec<_>>(), ["a", "b", "gate"]);
    assert_eq!((document.description.profile.len(), document.description.tile.len()), (1, 1));
    let files = ["site.toml", "more.toml", "site.d/a.toml", "site.d/b.toml"].map(|name| folder.path().join(name));
    assert_eq!(document.files, files, "each once, and none that is hidden");
    assert_eq!(document.folder, folder.path());
    let place = &document.places.0["camera.b.profile"];
    assert_eq!((place.file.as_str(), place.line), (files[3].to_str().unwrap(), 3));
}

#[test]
fn mistakes_in_includes_are_told_with_their_file() {
    let main = format!("{GOOD}include = [\"a.toml\", \"b.json\", \"gone.toml\", \"[\"]\n[camera.gate]\n");
    let folder = folder(&[
        ("conf/site.toml", &main),
        ("conf/a.toml", "include = [\"x\"]\n[camera.gate]\nuri = \"test:\"\n[camera.east]\n[defaults]\n"),
        ("conf/b.json", "{\"camera\": {\n  \"east\": {\"uri\": 5}}}"),
    ]);
    let (document, mut problems) = read(&folder.path().join("conf/site.toml"));
    problems.sort();
    let text = problems.to_string().replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(
        text,
        "conf/a.toml:1:1: `include`: unknown key; known here: camera, format, profile, tile\n\
         conf/a.toml:2:9: `camera.gate`: a camera of this name is there already; the first is at conf/site.toml:4:9\n\
         conf/a.toml:5:2: `defaults`: unknown key; known here: camera, format, profile, tile\n\
         conf/b.json:2:3: `camera.east`: a camera of this name is there already; the first is at conf/a.toml:4:9\n\
         conf/b.json:2:19: `camera.east.uri`: a text in quotes is expected, this is a whole number\n\
         conf/site.toml:3:32: `include.2`: conf/gone.toml: no such file\n\
         conf/site.toml:3:45: `include.3`: \"[\" is no pattern of files: invalid range pattern\n"
    );
    assert_eq!(document.unwrap().description.camera["gate"].uri, None, "the first one is kept");
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let folder = folder(&[("latin.toml", "x")]);
    std::fs::write(folder.path().join("latin.toml"), b"format = 1\nname = \"\xe4\"").unwrap();
    let told = |name: &str| read(&folder.path().join(name)).1.to_string();
    assert!(told("gone.toml").ends_with("gone.toml: no such file\n"));
    assert!(told("latin.toml").ends_with("latin.toml: line 2 is not UTF-8; save the file in that encoding\n"));
    assert!(told("").ends_with(": is not a file\n"));
}
