//! A folder of sampled frames that never grows beyond its limit: the oldest go.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::whole;

/// The folder. One process writes it.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    bytes: u64,
}

impl Ring {
    /// Makes the folder if it is missing. `bytes` is the most that its samples take.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path, bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_path_buf(), bytes })
    }

    /// Puts a sample into the folder: `NAME.jpg` and `NAME.json`. The oldest samples are removed until both have room. Names that
    /// begin with the time sort by age.
    ///
    /// # Errors
    /// The system's; also if the sample alone is larger than the ring.
    pub fn put(&self, name: &str, jpeg: &[u8], record: &[u8]) -> io::Result<()> {
        let need = (jpeg.len() + record.len()) as u64;
        if need > self.bytes {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a sample is larger than all samples may be"));
        }
        let mut samples = self.samples()?;
        let mut taken: u64 = samples.values().map(|sample| sample.bytes).sum();
        while taken + need > self.bytes
            && let Some((_, oldest)) = samples.pop_first()
        {
            oldest.files.iter().try_for_each(|file| remove(file))?;
            taken -= oldest.bytes;
        }
        // The picture comes last: who finds it finds its record too.
        whole::write(&self.folder.join(format!("{name}.json")), record)?;
        whole::write(&self.folder.join(format!("{name}.jpg")), jpeg)
    }

    /// All samples by their names; other files are nobody's business.
    fn samples(&self) -> io::Result<BTreeMap<OsString, Sample>> {
        let mut found: BTreeMap<OsString, Sample> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let path = entry.path();
            if is_sample(&path)
                && let Some(name) = path.file_stem()
            {
                let sample = found.entry(name.to_owned()).or_default();
                sample.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                sample.files.push(path);
            }
        }
        Ok(found)
    }
}

/// A picture and its record.
#[derive(Default)]
struct Sample {
    files: Vec<PathBuf>,
    bytes: u64,
}

/// Whether a file is called as samples are: a UTC time, a reason, an ending.
fn is_sample(path: &Path) -> bool {
    let ending = path.extension().is_some_and(|ending| ending == "jpg" || ending == "json");
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let shape: String = name.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    ending && shape == "00000000T000000.000"
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_samples_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/ring");
        let ring = Ring::open(&path, 100).unwrap();
        fs::write(path.join("notes.json"), [0; 500]).unwrap();
        for second in 0..9 {
            ring.put(&format!("20261126T10000{second}.000-drift"), &[1; 30], &[2; 10]).unwrap();
        }
        let left = names(&path);
        assert_eq!(
            left,
            [
                "20261126T100007.000-drift.jpg",
                "20261126T100007.000-drift.json",
                "20261126T100008.000-drift.jpg",
                "20261126T100008.000-drift.json",
                "notes.json"
            ]
        );
        assert_eq!(fs::read(path.join(&left[0])).unwrap(), [1; 30]);
    }

    #[test]
    fn a_sample_that_is_too_large_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ring = Ring::open(folder.path(), 100).unwrap();
        ring.put("20261126T100000.000-drift", &[1; 30], &[2; 10]).unwrap();
        assert!(ring.put("20261126T100001.000-drift", &[1; 99], &[2; 10]).is_err());
        assert_eq!(names(folder.path()).len(), 2);
    }
}
