//! A file that several threads can read at the same time, and that need not stay open between reads.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};
use rustix::process::{Resource, getrlimit};

use crate::storage::place::{Identity, identity};

/// A file that stays open, or is opened again for each use.
pub struct SharedFile {
    path: PathBuf,
    identity: Identity,
    /// The open file; `None` after [`SharedFile::close`].
    open: Option<OpenFile>,
}

impl SharedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = identity(&file.metadata()?);
        Ok(SharedFile { path: path.to_owned(), identity, open: Some(OpenFile::new(file)) })
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
        let file = File::open(&self.path)?;
        if identity(&file.metadata()?) != self.identity {
            return Err(io::Error::other("another program wrote this file during the run; run again"));
        }
        Ok(OpenFile::new(file))
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
pub struct OpenFile(Arc<File>);

impl OpenFile {
    pub fn new(file: File) -> Self {
        OpenFile(Arc::new(file))
    }
}

impl Length for OpenFile {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for OpenFile {
    type T = BufReader<ReaderAt>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<BufReader<ReaderAt>> {
        Ok(BufReader::new(ReaderAt { file: self.0.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A reader of a shared file. Each reader has its own position.
pub struct ReaderAt {
    file: Arc<File>,
    position: u64,
}

impl Read for ReaderAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
