//! A thread that writes, so that no one else waits for whoever reads.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

/// Batches that wait, at most: with batches of 16 KiB about 16 MiB.
const WAITING: usize = 1024;
/// How long [`Output::finish`] waits for a reader that has stopped reading.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);

/// The near end of the writing thread.
#[derive(Debug)]
pub(in crate::cli) struct Output {
    /// `None` once finished.
    batches: Option<SyncSender<String>>,
    /// Gets its end when the thread does.
    ended: Receiver<()>,
    closed: Arc<AtomicBool>,
    dropped: u64,
}

impl Output {
    pub(in crate::cli) fn start(writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (batches, received) = mpsc::sync_channel(WAITING);
        let (end, ended) = mpsc::sync_channel(0);
        let closed = Arc::new(AtomicBool::new(false));
        let closing = Arc::clone(&closed);
        thread::Builder::new().name("print".into()).spawn(move || {
            if let Err(error) = write_all(writer, &received) {
                closing.store(true, Ordering::Relaxed);
                if error.kind() != io::ErrorKind::BrokenPipe {
                    tracing::error!(%error, "cannot write to standard output: nothing more is printed");
                }
            }
            drop(end);
        })?;
        Ok(Self {
            batches: Some(batches),
            ended,
            closed,
            dropped: 0,
        })
    }

    /// Hands a batch of `spans` lines over, or drops and counts it.
    pub(in crate::cli) fn send(&mut self, batch: String, spans: u64) {
        let Some(batches) = &self.batches else { return };
        match batches.try_send(batch) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.dropped += spans,
            // The reader went away on its own: that is no loss.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    pub(in crate::cli) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(in crate::cli) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Waits until everything is written, at most [`LONGEST_DRAIN`].
    pub(in crate::cli) fn finish(&mut self) {
        if self.batches.take().is_some() {
            let late =
                self.ended.recv_timeout(LONGEST_DRAIN) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                tracing::warn!(
                    "standard output is not being read: the last spans were not printed"
                );
            }
            if self.dropped > 0 {
                tracing::warn!(
                    spans = self.dropped,
                    "standard output was read too slowly: spans were not printed"
                );
            }
        }
    }
}

fn write_all(mut writer: impl Write, batches: &Receiver<String>) -> io::Result<()> {
    for batch in batches {
        writer.write_all(batch.as_bytes())?;
        writer.flush()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn finish_waits_until_everything_is_written() {
        let page = Page::default();
        let mut output = Output::start(page.clone()).unwrap();
        for number in 0..500 {
            output.send(format!("{number}\n"), 1);
        }
        output.finish();
        assert_eq!(
            page.0.lock().unwrap().split(|byte| *byte == b'\n').count(),
            501
        );
        assert_eq!(output.dropped(), 0);
    }

    #[test]
    fn a_closed_pipe_ends_printing_quietly() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut output = Output::start(writer).unwrap();
        output.send("lost\n".into(), 1);
        output.finish();
        assert!(output.is_closed());
        output.send("lost\n".into(), 1);
        assert_eq!(output.dropped(), 0);
    }

    #[test]
    fn a_reader_that_does_not_read_costs_counted_spans_and_no_time() {
        let page = Page::default();
        let stuck = page.0.lock().unwrap();
        let mut output = Output::start(page.clone()).unwrap();
        for _ in 0..WAITING + 10 {
            output.send("x".repeat(10), 3);
        }
        // The thread holds one batch, the channel its bound.
        assert!(output.dropped() >= 9 * 3, "{}", output.dropped());
        drop(stuck);
        output.finish();
        let written = page.0.lock().unwrap().len() as u64 / 10;
        assert_eq!(written + output.dropped() / 3, WAITING as u64 + 10);
    }
}
