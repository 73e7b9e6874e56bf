//! Reads a file that is open as standard input.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use bytes::Bytes;
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};
use rustix::fs::fstat;
use rustix::io::pread;

/// A file that is open as standard input. Reading at explicit offsets needs no other descriptor, and a worker can open none.
pub struct StdinFile {
    bytes: u64,
}

impl StdinFile {
    pub fn new() -> io::Result<Self> {
        Ok(StdinFile { bytes: fstat(io::stdin())?.st_size.unsigned_abs() })
    }
}

impl Length for StdinFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for StdinFile {
    type T = BufReader<StdinAt>;

    fn get_read(&self, start: u64) -> Result<BufReader<StdinAt>> {
        Ok(BufReader::new(StdinAt { position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = vec![0; length];
        StdinAt { position: start }.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl StdinFile {
    /// Returns the size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.bytes
    }

    /// Returns a reader of the whole file.
    pub fn reader(self) -> BufReader<StdinAt> {
        BufReader::with_capacity(1 << 16, StdinAt { position: 0 })
    }
}

/// Reads standard input from a position on.
pub struct StdinAt {
    position: u64,
}

impl Read for StdinAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = pread(io::stdin(), buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for StdinAt {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => StdinFile::new()?.bytes.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
