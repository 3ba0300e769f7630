//! `kill -9` at random moments. The process that is killed is this test's own program, told by its environment what to do.

use super::*;

const FOLDER: &str = "VIGIL_SPOOL_CHILD";

/// A receiver that tells on standard output what it takes, and fails every third time.
struct Telling(u64);

impl Remote for Telling {
    fn send(&mut self, batch: &[Outgoing], _limit: Duration) -> Result<(), RemoteError> {
        self.0 += 1;
        if self.0.is_multiple_of(3) {
            return Err(RemoteError::Busy { after: None, text: "later".into() });
        }
        for record in batch {
            println!("got {}", number(&record.body));
        }
        Ok(())
    }

    fn tick(&mut self, _limit: Duration) -> Result<bool, RemoteError> {
        Ok(true)
    }

    fn close(&mut self, _limit: Duration) {}
}

/// What the process does that is killed: pushes, and says what is safe. Does nothing as a test.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let variable = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (from, ships) = (variable("VIGIL_SPOOL_FROM"), variable("VIGIL_SPOOL_SHIPS") == 1);
    // A process that ends costs nothing of what was committed, however sure a commit is; only a power cut does.
    let durability = if variable("VIGIL_SPOOL_RELAXED") == 1 { Durability::Relaxed } else { Durability::EveryCommit };
    let options = SpoolOptions { commit_interval: Duration::from_millis(5), durability, ..SpoolOptions::default() };
    let spool = Spool::open(Path::new(&folder), "killed", options, clock()).unwrap();
    let pace = Pace { replay_rate: 0, ..Pace::default() };
    let _shipper = ships
        .then(|| Shipper::start(spool.clone(), Box::new(Telling(0)), pace, fast_clock(), Box::new(|_| {})).unwrap());
    let mut random = Random(from.wrapping_mul(0x9e37_79b9) | 1);
    let mut number = from;
    loop {
        for _ in 0..=random.next(200) {
            spool.push(outgoing(Kind::Frame, "gate", number));
            number += 1;
        }
        assert!(spool.flush(LONG));
        println!("safe {}", number - 1);
    }
}

#[test]
fn what_was_confirmed_survives_a_kill_at_any_moment() {
    let kills: u64 = std::env::var("VIGIL_SPOOL_KILLS").map_or(20, |n| n.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.spool");
    let mut random = Random(0x1234_5678_9abc);
    let (mut safe, mut next) = (0, 1);
    let mut got = BTreeSet::new();
    let mut on_disk = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .env("VIGIL_SPOOL_FROM", next.to_string())
            .env("VIGIL_SPOOL_SHIPS", (kill % 3 % 2).to_string())
            .env("VIGIL_SPOOL_RELAXED", (kill % 2).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut left, mut killed) = (1 + random.next(40), false);
        for line in lines {
            // The test program writes "test crash::child ... " before the first one.
            let line = line.unwrap();
            let line = line.rsplit("... ").next().unwrap();
            if let Some(number) = line.strip_prefix("safe ").and_then(|n| n.parse().ok()) {
                safe = number;
            } else if let Some(number) = line.strip_prefix("got ").and_then(|n| n.parse::<u64>().ok()) {
                got.insert(number);
            }
            left = left.saturating_sub(1);
            if left == 0 && !std::mem::replace(&mut killed, true) {
                // A random moment; nothing is waited for.
                std::thread::sleep(Duration::from_micros(random.next(4000)));
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "it does not end by itself");
        let there: Vec<u64> = found(&path).iter().map(|record| number(&record.body)).collect();
        assert!(there.is_sorted_by(|a, b| a < b), "kill {kill}: in order, none twice");
        let have: BTreeSet<u64> = there.iter().chain(&got).copied().collect();
        let missing: Vec<_> = (1..=safe).filter(|n| !have.contains(n)).collect();
        assert_eq!(missing, [0; 0], "kill {kill}: lost of {safe}");
        on_disk = there.len();
        // Numbers that were pushed and are lost, which nobody was promised, are used again.
        next = have.last().copied().unwrap_or(0).max(safe) + 1;
    }
    let corrupt = list(folder.path()).unwrap()[0].set_aside.len();
    assert_eq!(corrupt, 0);
    println!(
        "{kills} kills: {safe} records confirmed, {} received, {on_disk} on the disk at the end; none lost",
        got.len()
    );
    assert!(safe > kills && !got.is_empty());
}
