//! What a change does, in words.

use crate::site::diff::Change;
use crate::site::output::Output;
use crate::site::resolve::without_secrets;

/// Each change on a line of its own, `+` for what comes, `-` for what goes, `~` for what becomes another; empty if nothing
/// changes.
pub fn changes(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{}\n", line(change))).collect()
}

fn line(change: &Change) -> String {
    match change {
        Change::Name(name) => format!("~ site: is now called {name:?}"),
        Change::Api(api) => {
            format!("~ api: listens on {}{}", api.listen, if api.token.is_some() { ", with a token" } else { "" })
        }
        Change::Telemetry(to) => match &to.uri {
            Some(uri) => format!("~ telemetry: every {} to {}", to.interval, without_secrets(uri)),
            None => "~ telemetry: not sent".to_owned(),
        },
        Change::Rtsp(rtsp) => format!(
            "~ rtsp: listens on {}{}",
            rtsp.listen,
            if rtsp.password.is_some() { ", with a password" } else { "" }
        ),
        Change::RemoveTile { name } => format!("- tile {name}"),
        Change::RemoveCamera { id } => format!("- camera {id}"),
        Change::AddCamera { id, plan } => {
            let profile =
                if plan.profile.is_empty() { "no profile".into() } else { format!("profile {}", plan.profile) };
            let off = if plan.enabled { "" } else { ", switched off" };
            format!("+ camera {id}: {}, {profile}, to {}{off}", plan.shown_uri, outputs(&plan.outputs))
        }
        Change::RebuildCamera { id, why, .. } => format!("~ camera {id}: built anew, with other {}", why.join(", ")),
        Change::SetProperty { id, stage, property, value } if property == "model" => {
            format!("~ camera {id}: {stage} swaps its model for {value}, while frames flow")
        }
        Change::SetProperty { id, stage, property, value } => {
            format!("~ camera {id}: {stage}.{property} = {value}, while frames flow")
        }
        Change::Enable { id, enabled: true } => format!("~ camera {id}: switched on"),
        Change::Enable { id, enabled: false } => format!("~ camera {id}: switched off"),
        Change::Outputs { id, outputs: to } => format!("~ camera {id}: goes to {}", outputs(to)),
        Change::AddTile { name, plan } => {
            format!("+ tile {name}: {}, to {}", plan.cameras.join(", "), outputs(&plan.outputs))
        }
        Change::ChangeTile { name, plan } => {
            format!("~ tile {name}: {}, to {}", plan.cameras.join(", "), outputs(&plan.outputs))
        }
    }
}

fn outputs(outputs: &[Output]) -> String {
    if outputs.is_empty() {
        return "no output".into();
    }
    outputs.iter().map(output).collect::<Vec<_>>().join(", ")
}

/// An output in a few words.
pub fn output(output: &Output) -> String {
    match output {
        Output::File { path, .. } => format!("file {}", path.display()),
        Output::Rtsp { mount, .. } => format!("rtsp {mount}"),
        Output::Hls { folder, .. } => format!("hls {}", folder.display()),
        Output::Snapshot { path, every, .. } => format!("snapshot {} every {every}", path.display()),
        Output::Display {} => "display".into(),
    }
}
