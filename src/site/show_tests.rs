//! Launch lines and graphs.

use proptest::prelude::*;

use super::*;
use crate::site::plan::{Plan, TilePlan};
use crate::site::resolve::resolve;
use crate::site::resolve::tests::Few;

fn plan() -> Plan {
    let text = r#"
        format = 1
        name = "yard \"north\""
        [profile.people]
        stage = [{ element = "vigilinfer", model = "people" }, { element = "vigiloverlay" }]
        [camera.gate]
        uri = "test:"
        profile = "people"
        output = [{ kind = "rtsp", mount = "/gate" }]
        [camera.door]
        launch = 'filesrc location="a b" ! d\ e'
        enabled = false
        [tile.all]
        output = [{ kind = "display" }]
    "#;
    let (document, problems) = crate::site::read::read_text(text, "site.toml", std::path::Path::new("/etc"));
    assert_eq!(problems.to_string(), "");
    resolve(&document.unwrap(), &Few::new()).unwrap().0
}

#[test]
fn a_fragment_is_cut_where_the_parser_cuts_it() {
    let cut = |text| fragment_words(text).join("|");
    assert_eq!(cut("  a   b=c ! d "), "a|b=c|!|d");
    assert_eq!(cut("a b=\"c  d\" e='f \" g' h"), "a|b=\"c  d\"|e='f \" g'|h");
    assert_eq!(cut("a b=c\\ d \\\" e"), "a|b=c\\ d|\\\"|e");
    assert_eq!(cut(r#"a b="c \" d" e"#), r#"a|b="c \" d"|e"#);
    assert_eq!(cut(""), "");
}

#[test]
fn a_shell_gets_each_word_as_it_is() {
    let plan = plan();
    let line = shell_line(&plan.cameras["gate"]);
    assert!(
        line.starts_with("gst-launch-1.0 videotestsrc name=source is-live=true pattern=smpte ! capsfilter"),
        "{line}"
    );
    assert!(
        line.contains("! vigilwatchdog name=watchdog 'chain=\"vigilinfer name=infer model=people when-busy=hold\"' !"),
        "{line}"
    );
    assert_eq!(shell_word("it's"), "'it'\\''s'");
}

#[test]
fn a_graph_has_every_camera_stage_output_and_tile() {
    let plan = plan();
    let dot = graphviz(&plan);
    for part in [
        "digraph \"yard \\\"north\\\"\" {\n",
        "label=\"door (off)\\nlaunch:filesrc\";",
        "[label=\"filesrc location=\\\"a b\\\" ! d\\\\ e\"];",
        "subgraph cluster_w1 {\nlabel=\"vigilwatchdog\";\nc1_4 [label=\"infer\\nvigilinfer\"];\n}\n",
        "c1_3 -> c1_4;\nc1_4 -> c1_5;\nc1_5 -> c1_6;\n",
        "[label=\"rtsp /gate\"];",
        "t0 [label=\"tile all\\n1280x720, 15 frames/s\"];",
        "c1_6 -> t0;\n",
        "t0 -> t0_o0;\n",
    ] {
        assert!(dot.contains(part), "{part}\nis not in\n{dot}");
    }
    assert_eq!(dot.matches('{').count(), dot.matches('}').count());
    let mermaid = mermaid(&plan);
    for part in [
        "flowchart LR\nsubgraph gc0[\"door #40;off#41;<br>launch:filesrc\"]\n",
        "[\"filesrc location=#34;a b#34; #33; d#92; e\"]",
        "subgraph gw1[\"vigilwatchdog\"]\n  c1_4[\"infer<br>vigilinfer\"]\nend\n",
        "  c1_6 --> t0\n",
    ] {
        let part = part.replace("#40;", "(").replace("#41;", ")");
        assert!(mermaid.contains(&part), "{part}\nis not in\n{mermaid}");
    }
}

proptest! {
    /// Whatever stands in a label, it ends where it should: the rest of the line is as long as it must be.
    #[test]
    fn labels_hold_any_text(text in "\\PC*[\\\\\"'`#;<>\\[\\]\n]\\PC*") {
        let tile = TilePlan { cameras: Vec::new(), columns: 1, size: [1, 1], fps: 1, outputs: Vec::new() };
        let mut plan = plan();
        plan.cameras.clear();
        plan.tiles = [(text, tile)].into();
        let dot = graphviz(&plan);
        let line = dot.lines().find(|line| line.starts_with("t0 ")).unwrap();
        let label = line.strip_prefix("t0 [label=\"").and_then(|rest| rest.strip_suffix("\"];")).unwrap();
        prop_assert!(!label.replace("\\\\", "").replace("\\\"", "").contains('"'), "{}", line);
        let chart = mermaid(&plan);
        let line = chart.lines().find(|line| line.starts_with("  t0[")).unwrap();
        let label = line.strip_prefix("  t0[\"").and_then(|rest| rest.strip_suffix("\"]")).unwrap();
        prop_assert!(!label.contains(['"', '[', ']', '`']), "{}", line);
    }
}
