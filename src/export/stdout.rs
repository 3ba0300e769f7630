//! Records on standard output, or into anything else that bytes can be written to.

use std::io::Write;
use std::path::Path;

use super::sink::{Now, Sink, SinkError};

/// Writes each record as a line and passes it on at once.
pub struct StreamSink<W> {
    out: W,
    /// A write stopped somewhere in a line.
    torn: bool,
}

impl StreamSink<std::io::Stdout> {
    /// The process's standard output.
    pub fn stdout() -> Self {
        Self::new(std::io::stdout())
    }
}

impl<W: Write + Send> StreamSink<W> {
    /// Lines into `out`.
    pub fn new(out: W) -> Self {
        Self { out, torn: false }
    }

    fn put(&mut self, line: &[u8]) -> std::io::Result<()> {
        if self.torn {
            self.out.write_all(b"\n")?;
        }
        self.torn = true;
        self.out.write_all(line)?;
        self.out.flush()?;
        self.torn = false;
        Ok(())
    }
}

impl<W: Write + Send> Sink for StreamSink<W> {
    fn write(&mut self, line: &[u8], _now: Now) -> Result<(), SinkError> {
        self.put(line).map_err(|e| SinkError::from_io("write to", Path::new("standard output"), e))
    }

    fn tick(&mut self, _now: Now) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, _now: Now) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;

    const NOW: Now = Now { monotonic: Duration::ZERO, utc_ns: 0 };

    /// Fails once after `room` bytes.
    struct Narrow {
        got: Vec<u8>,
        room: Option<usize>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.room {
                Some(0) => {
                    self.room = None;
                    Err(io::ErrorKind::BrokenPipe.into())
                }
                Some(room) => {
                    let n = room.min(bytes.len());
                    self.got.extend_from_slice(&bytes[..n]);
                    self.room = Some(room - n);
                    Ok(n)
                }
                None => {
                    self.got.extend_from_slice(bytes);
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_after_a_torn_one_starts_on_its_own() {
        let mut sink = StreamSink::new(Narrow { got: Vec::new(), room: Some(7) });
        sink.write(b"{1}\n", NOW).unwrap();
        let error = sink.write(b"{22}\n", NOW).unwrap_err().to_string();
        assert!(error.starts_with("cannot write to standard output: "), "{error}");
        sink.write(b"{22}\n", NOW).unwrap();
        assert_eq!(sink.out.got, b"{1}\n{22\n{22}\n");
    }
}
