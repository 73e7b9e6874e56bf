//! A file that several threads can read at the same time, and that need not stay open between reads.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use rustix::process::{Resource, getrlimit};

use crate::storage::place::{Identity, identity};

/// A file that stays open, or is opened again for each use.
pub struct SharedFile {
    path: PathBuf,
    identity: Identity,
    /// The open file; `None` after [`SharedFile::close`].
    open: Option<OpenFile>,
    failure: FirstFailure,
}

/// The error of the first read of a file that failed. The Parquet library turns it into text, so its caller could not tell a
/// failed read from wrong content.
#[derive(Clone, Default)]
struct FirstFailure(Arc<OnceLock<io::Error>>);

impl SharedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = identity(&file.metadata()?);
        let failure = FirstFailure::default();
        let open = Some(OpenFile::new(file, failure.clone())?);
        Ok(SharedFile { path: path.to_owned(), identity, open, failure })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        let (_, _, length, _) = self.identity;
        length == 0
    }

    /// Closes the file. From now on, [`SharedFile::get`] opens the file again.
    pub fn close(&mut self) {
        self.open = None;
    }

    /// Returns the open file.
    ///
    /// # Errors
    /// The file cannot be opened again, or another file has its path.
    pub fn get(&self) -> io::Result<OpenFile> {
        if let Some(open) = &self.open {
            return Ok(open.clone());
        }
        self.open_again().inspect_err(|e| self.failure.remember(e))
    }

    fn open_again(&self) -> io::Result<OpenFile> {
        let file = File::open(&self.path)?;
        if identity(&file.metadata()?) != self.identity {
            return Err(io::Error::other("another program wrote this file during the run; run again"));
        }
        OpenFile::new(file, self.failure.clone())
    }

    /// Returns the error of the first read that failed. Without one, all bytes read are those of the file, and an error of
    /// the Parquet library is about the content.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.0.get()
    }
}

impl FirstFailure {
    fn remember(&self, error: &io::Error) {
        if error.kind() == ErrorKind::Interrupted {
            return;
        }
        let copy = error
            .raw_os_error()
            .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error);
        let _ = self.0.set(copy);
    }
}

/// Returns how many files may stay open: half of the files that the process may open. The other half is for the model, and for
/// the files that threads open for one read.
pub fn open_files_max() -> usize {
    let limit = getrlimit(Resource::Nofile).current.map(|limit| limit / 2);
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// An open file that is read at explicit offsets. Clones of a [`File`] would share one position, and each thread would move this
/// position for all other threads.
#[derive(Clone)]
pub struct OpenFile {
    file: Arc<File>,
    /// The length when the file was opened, in bytes.
    length: u64,
    failure: FirstFailure,
}

impl OpenFile {
    fn new(file: File, failure: FirstFailure) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(OpenFile { file: Arc::new(file), length, failure })
    }

    /// Reads at most `buffer.len()` bytes. Returns 0 only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], start: u64) -> io::Result<usize> {
        let is_inside = start < self.length && !buffer.is_empty();
        let read = match self.file.read_at(buffer, start) {
            Ok(0) if is_inside => Err(io::Error::new(ErrorKind::UnexpectedEof, "the file ended early")),
            read => read,
        };
        read.inspect_err(|e| self.failure.remember(e))
    }
}

impl Length for OpenFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for OpenFile {
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

/// A reader of an open file. Each reader has its own position.
pub struct ReaderAt {
    file: OpenFile,
    position: u64,
}

impl Read for ReaderAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
