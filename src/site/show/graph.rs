//! A plan as a graph, for Graphviz and Mermaid.

use super::words::output;
use crate::site::plan::{CameraPlan, Node, Plan, Step};

/// A box of the graph.
struct Place {
    id: String,
    label: String,
}

/// Boxes that stand together, with what is within.
struct Group {
    id: String,
    label: String,
    places: Vec<Place>,
    inner: Option<Box<Group>>,
}

/// The plan as boxes and arrows, the same for all languages.
struct Graph {
    groups: Vec<Group>,
    arrows: Vec<(String, String)>,
    free: Vec<Place>,
}

fn node_label(node: &Node) -> String {
    if node.name == node.factory { node.factory.clone() } else { format!("{}\n{}", node.name, node.factory) }
}

fn step_label(step: &Step) -> String {
    match step {
        Step::Element(node) => node_label(node),
        Step::Caps(caps) => caps.clone(),
        Step::Launch(fragment) => fragment.clone(),
    }
}

impl Graph {
    fn of(plan: &Plan) -> Self {
        let mut graph = Self { groups: Vec::new(), arrows: Vec::new(), free: Vec::new() };
        let feeds: Vec<_> =
            (0..).zip(&plan.cameras).map(|(n, (id, camera))| (id, graph.camera(n, id, camera))).collect();
        for (n, (name, tile)) in (0..).zip(&plan.tiles) {
            let id = format!("t{n}");
            let [width, height] = tile.size;
            let label = format!("tile {name}\n{width}x{height}, {} frames/s", tile.fps);
            let from = feeds.iter().filter(|(camera, _)| tile.cameras.contains(camera));
            graph.arrows.extend(from.map(|(_, feed)| (feed.clone(), id.clone())));
            graph.free.push(Place { id: id.clone(), label });
            graph.outputs(&id, &tile.outputs);
        }
        graph
    }

    /// Adds a camera; gives the box where its pictures come out.
    fn camera(&mut self, n: usize, id: &str, camera: &CameraPlan) -> String {
        let mut count = 0;
        let mut place = |label: String| {
            count += 1;
            Place { id: format!("c{n}_{count}"), label }
        };
        let source: Vec<_> = camera.source.iter().map(|step| place(step_label(step))).collect();
        let guarded: Vec<_> = camera.guarded.iter().map(|node| place(node_label(node))).collect();
        let open: Vec<_> = camera.open.iter().map(|node| place(node_label(node))).collect();
        let feed = place("feed".into());
        let feed_id = feed.id.clone();
        let way: Vec<_> =
            source.iter().chain(&guarded).chain(&open).chain([&feed]).map(|place| place.id.clone()).collect();
        self.arrows.extend(way.iter().zip(way.iter().skip(1)).map(|(from, to)| (from.clone(), to.clone())));
        let (mut places, mut inner) = (source, None);
        match &camera.watchdog {
            Some(watchdog) if !guarded.is_empty() => {
                let (id, label) = (format!("w{n}"), watchdog.factory.clone());
                inner = Some(Box::new(Group { id, label, places: guarded, inner: None }));
            }
            _ => places.extend(guarded),
        }
        places.extend(open);
        places.push(feed);
        let off = if camera.enabled { "" } else { " (off)" };
        let label = format!("{id}{off}\n{}", camera.shown_uri);
        self.groups.push(Group { id: format!("c{n}"), label, places, inner });
        self.outputs(&feed_id, &camera.outputs);
        feed_id
    }

    fn outputs(&mut self, from: &str, outputs: &[crate::site::output::Output]) {
        for (n, goes) in (0..).zip(outputs) {
            let id = format!("{from}_o{n}");
            self.arrows.push((from.into(), id.clone()));
            self.free.push(Place { id, label: output(goes) });
        }
    }
}

/// The plan for Graphviz' `dot`.
pub fn graphviz(plan: &Plan) -> String {
    let quote =
        |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], "\\n"));
    let graph = Graph::of(plan);
    let place = |place: &Place| format!("{} [label={}];\n", place.id, quote(&place.label));
    let mut text = format!("digraph {} {{\nrankdir=LR;\nnode [shape=box];\n", quote(&plan.name));
    for group in &graph.groups {
        text += &format!("subgraph cluster_{} {{\nlabel={};\n", group.id, quote(&group.label));
        if let Some(inner) = &group.inner {
            text += &format!("subgraph cluster_{} {{\nlabel={};\n", inner.id, quote(&inner.label));
            text.extend(inner.places.iter().map(place));
            text += "}\n";
        }
        text.extend(group.places.iter().map(place));
        text += "}\n";
    }
    text.extend(graph.free.iter().map(place));
    text.extend(graph.arrows.iter().map(|(from, to)| format!("{from} -> {to};\n")));
    text + "}\n"
}

/// The plan as a Mermaid flow chart.
pub fn mermaid(plan: &Plan) -> String {
    let graph = Graph::of(plan);
    let place = |place: &Place| format!("  {}[\"{}\"]\n", place.id, entities(&place.label));
    let mut text = String::from("flowchart LR\n");
    for group in &graph.groups {
        text += &format!("subgraph g{}[\"{}\"]\n", group.id, entities(&group.label));
        if let Some(inner) = &group.inner {
            text += &format!("subgraph g{}[\"{}\"]\n", inner.id, entities(&inner.label));
            text.extend(inner.places.iter().map(place));
            text += "end\n";
        }
        text.extend(group.places.iter().map(place));
        text += "end\n";
    }
    text.extend(graph.free.iter().map(place));
    text.extend(graph.arrows.iter().map(|(from, to)| format!("  {from} --> {to}\n")));
    text
}

/// A label for Mermaid: what it would take for its own is written as it demands, by the character's number.
fn entities(text: &str) -> String {
    let one = |c: char| match c {
        '\n' | '\r' => "<br>".into(),
        c if c.is_alphanumeric() || " _-./:,=()+".contains(c) => c.to_string(),
        c => format!("#{};", u32::from(c)),
    };
    text.chars().map(one).collect()
}
