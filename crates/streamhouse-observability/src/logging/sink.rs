//! Where lines go.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

/// Standard error, and whether it is a terminal.
///
/// It is a descriptor of our own: the standard library's handle takes a closed one for success,
/// and would hide lines that nobody gets. If there is none, every line counts as lost.
pub fn standard_error() -> (Box<dyn Write + Send>, bool) {
    let stderr = io::stderr();
    let terminal = stderr.is_terminal();
    match stderr.as_fd().try_clone_to_owned() {
        Ok(own) => (Box::new(File::from(own)), terminal),
        Err(error) => (Box::new(Gone(error.kind())), false),
    }
}

struct Gone(io::ErrorKind);

impl Write for Gone {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
