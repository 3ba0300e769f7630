//! `vigil bundle predictions`: how the model's answers are usually distributed, from records that it made where it was right.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gstvigil::bundle::Bundle;
use gstvigil::bundle::create::predictions;
use gstvigil::drift::Summary;
use gstvigil::export::Record;

/// Below so many analysed frames a distribution says nothing.
const LEAST_FRAMES: u64 = 1000;

/// What no record tells.
const TAKEN_FOR_GRANTED: &str = "\
This takes for granted that vigilexport wrote a record of every frame with all its objects (records=frames, without min-confidence and classes):
the records do not tell. If it left some out, write others: the model would seem to drift where it is as it was.";

/// A distribution to write.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Files of records (vigil/1, one a line) that this model made, as `vigilexport` writes them with records=frames, and without
    /// min-confidence and classes: the records do not tell what these leave out, and it would later look like drift
    #[arg(required = true)]
    records: Vec<PathBuf>,
}

/// Reads the records and writes what is usual into the bundle.
///
/// # Errors
/// If a file cannot be read, or holds too little of this bundle's model.
pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let bundle = Bundle::open(&arguments.bundle)?;
    let mut usual = Summary::default();
    let mut others = 0;
    for path in &arguments.records {
        others += read(path, &bundle, &mut usual)?;
    }
    if usual.frames() < LEAST_FRAMES {
        return Err(format!(
            "the records hold {} frames that a model of {} looked at ({others} are of other models or no frames' records); at least \
             {LEAST_FRAMES} are needed, better those of a whole day",
            usual.frames(),
            bundle.name
        )
        .into());
    }
    predictions::write(&bundle, &usual)?;
    println!("{}: {} frames, {} objects", arguments.bundle.display(), usual.frames(), usual.objects());
    for (label, count) in usual.classes() {
        println!("  {label}: {count}");
    }
    println!("{TAKEN_FOR_GRANTED}");
    Ok(ExitCode::SUCCESS)
}

/// Counts the records of a file; how many of its lines are of no use.
fn read(path: &Path, bundle: &Bundle, usual: &mut Summary) -> Result<u64, Box<dyn Error>> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| format!("{shown}: {error}"))?;
    let mut others = 0;
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|error| format!("{shown}: line {number}: {error}"))?;
        let ours = serde_json::from_str::<Record>(&line).ok().filter(|record| {
            record
                .model
                .as_ref()
                .is_some_and(|model| bundle.variants.iter().any(|variant| variant.sha256 == model.digest))
        });
        match ours {
            Some(record) => drop(usual.add(&record.to_result())),
            None => others += 1,
        }
    }
    Ok(others)
}
