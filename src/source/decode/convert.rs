//! A reader that converts bytes while they are read.

use std::io::{self, Read};

/// How many bytes are read and converted at once.
const BLOCK_BYTES: u64 = 64 << 10;

/// A reader that returns the bytes of another reader in a converted form.
///
/// `convert` takes the bytes that it can convert out of its argument and returns them in their new form. The bytes that it leaves
/// come again, in front of the bytes that follow. Its second argument says whether no more bytes follow.
pub struct Converted<R, F> {
    inner: R,
    convert: F,
    given: Vec<u8>,
    converted: io::Cursor<Vec<u8>>,
    is_end: bool,
}

impl<R: Read, F: FnMut(&mut Vec<u8>, bool) -> Vec<u8>> Converted<R, F> {
    pub fn new(inner: R, convert: F) -> Self {
        Converted { inner, convert, given: Vec::new(), converted: io::Cursor::default(), is_end: false }
    }
}

impl<R: Read, F: FnMut(&mut Vec<u8>, bool) -> Vec<u8>> Read for Converted<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.converted.read(buffer)?;
            if read > 0 || self.is_end || buffer.is_empty() {
                return Ok(read);
            }
            self.is_end = self.inner.by_ref().take(BLOCK_BYTES).read_to_end(&mut self.given)? == 0;
            self.converted = io::Cursor::new((self.convert)(&mut self.given, self.is_end));
        }
    }
}
