//! An open file that several threads can read at the same time.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};

/// An open file that is read at explicit offsets. Clones of a [`File`] would share one position, and each thread would move this
/// position for all other threads.
#[derive(Clone)]
pub struct SharedFile(Arc<File>);

impl SharedFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(SharedFile(Arc::new(File::open(path)?)))
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for SharedFile {
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
