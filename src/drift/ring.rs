//! A folder of sampled frames that never grows beyond its limit: the oldest go.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::whole;

/// The folder. One element writes it.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    bytes: u64,
    /// Names of the samples of this run that are there, in the order in which they were written: the clock may have been wrong.
    written: Vec<OsString>,
}

impl Ring {
    /// Makes the folder if it is missing, and removes what a crash has left half written in it. `bytes` is the most that its
    /// samples take.
    ///
    /// # Errors
    /// The system's.
    pub fn open(folder: &Path, bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            if part_of(&name).is_some_and(|whole| sample_of(OsStr::new(whole)).is_some()) {
                remove(&folder.join(&name))?;
            }
        }
        Ok(Self { folder: folder.to_path_buf(), bytes, written: Vec::new() })
    }

    /// Puts a sample into the folder: `NAME.jpg` and `NAME.json`, where NAME begins with the UTC time
    /// (`20261126T100007.000`). The oldest samples are removed until both have room: first those of earlier runs by their
    /// names, then those of this one in the order in which they came.
    ///
    /// # Errors
    /// The system's; also if the sample alone is larger than the ring.
    pub fn put(&mut self, name: &str, jpeg: &[u8], record: &[u8]) -> io::Result<()> {
        let need = (jpeg.len() + record.len()) as u64;
        if need > self.bytes {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a sample is larger than all samples may be"));
        }
        let mut earlier = self.samples()?;
        let mut taken: u64 = earlier.values().map(|sample| sample.bytes).sum();
        // Some may have been taken away by somebody else.
        self.written.retain(|name| earlier.contains_key(name));
        let mut own: Vec<Sample> = self.written.iter().filter_map(|name| earlier.remove(name)).rev().collect();
        while taken + need > self.bytes
            && let Some(oldest) = earlier.pop_first().map(|(_, sample)| sample).or_else(|| own.pop())
        {
            oldest.files.iter().try_for_each(|file| remove(file))?;
            taken -= oldest.bytes;
        }
        self.written.retain(|written| written != name);
        self.written.push(name.into());
        // The picture comes last: who finds it finds its record too.
        whole::write(&self.folder.join(format!("{name}.json")), record)?;
        whole::write(&self.folder.join(format!("{name}.jpg")), jpeg)
    }

    /// All samples by their names; other files are nobody's business.
    fn samples(&self) -> io::Result<BTreeMap<OsString, Sample>> {
        let mut found: BTreeMap<OsString, Sample> = BTreeMap::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if let Some(name) = sample_of(&entry.file_name()) {
                let sample = found.entry(name.into()).or_default();
                sample.bytes += entry.metadata().map_or(0, |metadata| metadata.len());
                sample.files.push(entry.path());
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

/// The sample's name, if a file is called as those of samples are: a UTC time, a reason, an ending.
fn sample_of(file: &OsStr) -> Option<&str> {
    let (name, ending) = file.to_str()?.rsplit_once('.')?;
    let shape: String = name.chars().take(19).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    (["jpg", "json"].contains(&ending) && shape == "00000000T000000.000").then_some(name)
}

/// The name of the file that this one was to become, if it is one that [`whole::write`] was at.
fn part_of(file: &OsStr) -> Option<&str> {
    file.to_str()?.strip_prefix('.')?.strip_suffix(".part")
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
        let mut ring = Ring::open(&path, 100).unwrap();
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
        let mut ring = Ring::open(folder.path(), 100).unwrap();
        ring.put("20261126T100000.000-drift", &[1; 30], &[2; 10]).unwrap();
        assert!(ring.put("20261126T100001.000-drift", &[1; 99], &[2; 10]).is_err());
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn what_a_crash_has_left_half_written_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ours = [".20261126T100007.000-drift.jpg.part", ".20261126T100007.000-drift.json.part"];
        let others = [".notes.jpg.part", "20261126T100007.000-drift.jpg.part", ".20261126T100007.000-drift.txt.part"];
        ours.iter().chain(&others).for_each(|name| fs::write(folder.path().join(name), [0; 10]).unwrap());
        Ring::open(folder.path(), 100).unwrap();
        let mut left = others.map(str::to_owned);
        left.sort();
        assert_eq!(names(folder.path()), left);
    }

    #[test]
    fn a_clock_that_was_wrong_removes_no_new_sample_before_an_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let earlier = |n| format!("20261126T10000{n}.000-drift");
        let mut before = Ring::open(folder.path(), 200).unwrap();
        (0..4).for_each(|n| before.put(&earlier(n), &[1; 30], &[2; 10]).unwrap());
        // A machine without a battery for its clock, before it has heard what time it is.
        let mut ring = Ring::open(folder.path(), 200).unwrap();
        let early = |n| format!("19700101T00000{n}.000-drift");
        (0..3).for_each(|n| ring.put(&early(n), &[1; 30], &[2; 10]).unwrap());
        let stems = || {
            let mut stems: Vec<String> =
                names(folder.path()).iter().filter_map(|name| Some(name.strip_suffix(".jpg")?.to_owned())).collect();
            stems.sort();
            stems
        };
        assert_eq!(stems(), [early(0), early(1), early(2), earlier(2), earlier(3)]);
        // It hears of it, and the clock steps back again later.
        let now = "20261127T100000.000-drift";
        ring.put(now, &[1; 30], &[2; 10]).unwrap();
        (3..6).for_each(|n| ring.put(&early(n), &[1; 30], &[2; 10]).unwrap());
        assert_eq!(stems(), [early(2), early(3), early(4), early(5), now.to_owned()]);
        fs::remove_file(folder.path().join(format!("{}.jpg", early(2)))).unwrap();
        fs::remove_file(folder.path().join(format!("{}.json", early(2)))).unwrap();
        ring.put(&early(6), &[1; 30], &[2; 10]).unwrap();
        assert_eq!(stems(), [early(3), early(4), early(5), early(6), now.to_owned()]);
    }
}
