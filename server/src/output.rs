//! Standard output, for the commands that print. Who reads it may leave before the end (`| head`): that ends the command,
//! quietly, and is no error.

use std::io::{self, Stdout, Write};

/// Nobody reads any longer.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any longer")]
struct ReaderGone;

/// Standard output. Once its reader is gone every write fails, with an error that [`ended`] knows.
#[derive(Debug)]
pub struct Output(Stdout);

impl Default for Output {
    fn default() -> Self {
        Self(io::stdout())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(known)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(known)
    }
}

fn known(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::new(error.kind(), ReaderGone) } else { error }
}

/// Whether a command ended only because nobody reads its output any longer.
pub fn ended(error: &anyhow::Error) -> bool {
    let mut inner = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref());
    inner.any(|inner| inner.downcast_ref::<ReaderGone>().is_some())
}
