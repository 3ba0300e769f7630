//! The report as one page that needs nothing else.

use std::fmt::Write;

use super::{Heading, Report, Row, Shown};
use crate::parity::Found;

const STYLE: &str = "
:root { --ours: #0a7d33; --theirs: #c2185b; --line: #d8dce2; --soft: #5b6472 }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 1040px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin-bottom: .3rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.good, .bad { padding: .15rem .6rem; border-radius: 1rem; color: #fff; font-size: .9rem }
.good { background: #0a7d33 } .bad { background: #b3261e }
table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
th { color: var(--soft); font-weight: 500 } .rows td, .rows th { border-bottom: 1px solid var(--line) }
.number { text-align: right; font-variant-numeric: tabular-nums }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem }
figure { margin: 0; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden }
figure svg { display: block; width: 100%; max-height: 360px; background: #eef0f3 }
figcaption { padding: .5rem .7rem; font-size: .85rem } figcaption b { display: block }
.ours { stroke: var(--ours) } .theirs { stroke: var(--theirs); stroke-dasharray: 6 4 }
.box { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke }
.key span { display: inline-block; width: 1.6rem; border-top: 3px solid; margin: 0 .3rem .25rem 1rem }
";

impl Report {
    /// The page: figures, the worst differences as pictures with both boxes, and a line for each picture that differs.
    pub fn to_html(&self) -> String {
        let word = if self.within() { "within tolerance" } else { "not within tolerance" };
        self.to_page(&Heading {
            title: format!("Parity of {}", self.about.model),
            verdict: (self.within(), word.into()),
            lines: self.lines().into_iter().map(|(label, text)| (label.to_owned(), text)).collect(),
        })
    }

    /// As [`to_html`](Self::to_html), with other figures at its head.
    pub fn to_page(&self, heading: &Heading) -> String {
        let mut page = String::new();
        let _ = self.write_page(heading, &mut page);
        page
    }

    fn write_page(&self, heading: &Heading, page: &mut String) -> std::fmt::Result {
        let (good, word) = &heading.verdict;
        let (class, word) = (if *good { "good" } else { "bad" }, escaped(word));
        let title = escaped(&heading.title);
        writeln!(page, "<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>")?;
        writeln!(page, "<meta name=viewport content='width=device-width'><style>{STYLE}</style>")?;
        writeln!(page, "<h1>{title}</h1><p><span class={class}>{word}</span></p><table>")?;
        for (label, text) in &heading.lines {
            writeln!(page, "<tr><th>{}<td>{}", escaped(label), escaped(text))?;
        }
        writeln!(page, "</table>")?;
        if !self.shown.is_empty() {
            let sides = &self.about.sides;
            writeln!(page, "<h2>The worst differences</h2><p class=key><span style='color:var(--ours)'></span>")?;
            writeln!(
                page,
                "{}<span style='color:var(--theirs); border-top-style: dashed'></span>",
                escaped(&sides.ours)
            )?;
            writeln!(page, "{}</p><div class=grid>", escaped(&sides.theirs))?;
            for shown in &self.shown {
                self.figure(page, shown)?;
            }
            writeln!(page, "</div>")?;
        }
        self.table(page)
    }

    fn figure(&self, page: &mut String, shown: &Shown) -> std::fmt::Result {
        let [x, y, w, h] = shown.part;
        writeln!(page, "<figure><svg viewBox='{x} {y} {w} {h}' role=img>")?;
        writeln!(page, "<image href='{}' x={x} y={y} width={w} height={h} preserveAspectRatio=none />", shown.uri)?;
        for (object, class) in [(&shown.ours, "ours"), (&shown.theirs, "theirs")] {
            if let Some(object) = object {
                outline(page, object, class)?;
            }
        }
        let text = self.row_of(&shown.picture).and_then(|row| {
            let same = row.differences.iter().find(|(d, _)| *d == shown.difference);
            same.map(|(_, text)| text.as_str())
        });
        let (picture, text) = (escaped(&shown.picture), escaped(text.unwrap_or_default()));
        writeln!(page, "</svg><figcaption><b>{picture}</b>{text}</figcaption></figure>")
    }

    fn row_of(&self, picture: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.picture == picture)
    }

    fn table(&self, page: &mut String) -> std::fmt::Result {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| !row.differences.is_empty()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let (ours, theirs) = (escaped(&self.about.sides.ours), escaped(&self.about.sides.theirs));
        let head = [ours.as_str(), &theirs, "least IoU", "score apart"];
        let head = head.map(|h| format!("<th class=number>{h}")).concat();
        writeln!(page, "<h2>Pictures that differ</h2><table class=rows><tr><th>picture{head}<th>differences")?;
        for row in rows {
            let texts: Vec<String> = row.differences.iter().map(|(_, text)| escaped(text)).collect();
            let (ours, theirs) = (row.ours, row.theirs);
            write!(page, "<tr><td>{}<td class=number>{ours}<td class=number>{theirs}", escaped(&row.picture))?;
            write!(page, "<td class=number>{:.4}<td class=number>{:.4}", row.least_iou, row.most_score)?;
            writeln!(page, "<td>{}", texts.join("<br>"))?;
        }
        writeln!(page, "</table>")
    }
}

/// An object's box (or its corners) and keypoints.
fn outline(page: &mut String, object: &Found, class: &str) -> std::fmt::Result {
    let [x1, y1, x2, y2] = object.bbox;
    let corners = object.corners.unwrap_or([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]);
    let points = corners.map(|[x, y]| format!("{x:.2},{y:.2}")).join(" ");
    writeln!(page, "<polygon class='box {class}' points='{points}'/>")?;
    let radius = ((x2 - x1) + (y2 - y1)) * 0.006;
    for [x, y, _] in object.keypoints.iter().filter(|k| k[2] > 0.2) {
        writeln!(page, "<circle class='box {class}' cx={x:.2} cy={y:.2} r={radius:.2} />")?;
    }
    Ok(())
}

/// Text without characters that mean something to HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
