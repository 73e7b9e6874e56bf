//! An open file that several threads can read at the same time.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

/// An open file that is read at explicit offsets. Clones of a [`File`] would share one position, and each thread would move this
/// position for all other threads.
#[derive(Clone)]
pub struct SharedFile(Arc<Opened>);

struct Opened {
    file: File,
    /// The length when the file was opened, in bytes.
    length: u64,
    /// The error of the first read that failed. The Parquet library turns it into text, so its caller could not tell a failed read
    /// from wrong content.
    failure: OnceLock<io::Error>,
}

impl SharedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(SharedFile(Arc::new(Opened { file, length, failure: OnceLock::new() })))
    }

    /// Returns the error of the first read that failed. If there is none, every byte came as it is in the file, and an error of the
    /// Parquet library is about the content.
    pub fn failure(&self) -> Option<&io::Error> {
        self.0.failure.get()
    }

    /// Reads at most `buffer.len()` bytes. Returns 0 only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        let is_inside = start < self.0.length && !buffer.is_empty();
        let read = match self.0.file.read_at(buffer, start) {
            Ok(0) if is_inside => Err(io::Error::new(ErrorKind::UnexpectedEof, "the file ended early")),
            read => read,
        };
        if let Err(e) = &read
            && e.kind() != ErrorKind::Interrupted
        {
            let copy = e
                .raw_os_error()
                .map_or_else(|| io::Error::new(e.kind(), e.to_string()), io::Error::from_raw_os_error);
            let _ = self.0.failure.set(copy);
        }
        read
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.0.length
    }
}

impl ChunkReader for SharedFile {
    type T = BufReader<ReaderAt>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<BufReader<ReaderAt>> {
        Ok(BufReader::new(ReaderAt { file: self.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        // A damaged footer may name a length for which there is no memory.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF(format!("it has no {length} bytes at offset {start}")));
        }
        let mut bytes = vec![0; length];
        ReaderAt { file: self.clone(), position: start }.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// A reader of a shared file. Each reader has its own position.
pub struct ReaderAt {
    file: SharedFile,
    position: u64,
}

impl Read for ReaderAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
