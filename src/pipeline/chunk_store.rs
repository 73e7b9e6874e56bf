//! Keeps the vectors of the chunks of long documents from run to run, in a hidden file beside an output with one row per document.
//!
//! The output has only the mean of a document's chunks. When a paragraph of a long document has changed, the run finds the
//! vectors of all other chunks here, and embeds only the chunks around the paragraph. The file is a cache: without it, the
//! document is embedded as a whole, with the same vector.
//!
//! The first line is JSON and identifies the model. Records of equal length follow: the digest of a document's text, the digest of
//! a chunk's token ids, the vector before truncation, and a checksum. A record with a wrong checksum ends the file.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::journal::Journal;
use super::record::{RecordFormat, is_whole};
use crate::console::{counted, debug};
use crate::digest::Digest;
use crate::model::ModelFingerprint;
use crate::vector::embedding::Embedding;

/// Limit on the bytes of the first line.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// The first line of the file.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreHeader {
    /// Version of the format of the records.
    format: u32,
    model: ModelFingerprint,
}

impl StoreHeader {
    fn records(&self) -> RecordFormat {
        RecordFormat { digests: 2, width: self.model.width }
    }
}

/// The vectors of the chunks of long documents.
pub struct ChunkStore {
    path: PathBuf,
    header: StoreHeader,
    file: StoreFile,
    /// The texts of documents that this run has not split, which may have records.
    seen: HashSet<Digest>,
    /// The texts of documents that this run has split into several chunks, with the token ids of the chunks.
    split: Vec<(Digest, Vec<Digest>)>,
}

enum StoreFile {
    /// The file is read when the first vector is looked up.
    Unread,
    Read(Records),
    /// There is no file, or this run must not use it.
    Absent,
}

struct Records {
    file: File,
    header_bytes: u64,
    /// The text and the chunk of each record.
    keys: Vec<(Digest, Digest)>,
    /// The index of a record with the vector of a chunk.
    by_chunk: HashMap<Digest, usize>,
}

impl ChunkStore {
    /// Returns the store at `path`. Reads the file only if `is_used`, and only when a vector is looked up.
    pub fn new(path: PathBuf, model: ModelFingerprint, is_used: bool) -> Self {
        let file = if is_used { StoreFile::Unread } else { StoreFile::Absent };
        let header = StoreHeader { format: 1, model };
        ChunkStore { path, header, file, seen: HashSet::new(), split: Vec::new() }
    }

    /// Returns the vector for this digest of a chunk's token ids. A file that cannot be read has no vectors.
    pub fn get(&mut self, chunk: &Digest) -> Option<Embedding> {
        let format = self.header.records();
        let records = self.records()?;
        let number = *records.by_chunk.get(chunk)?;
        records.read(number, format).ok().map(|record| format.vector(&record))
    }

    /// Notes a document that keeps its vector. Its records stay in the file.
    pub fn saw(&mut self, text: &str) {
        self.seen.insert(Digest::of(text));
    }

    /// Notes a document of several chunks.
    pub fn split(&mut self, text: &str, chunks: Vec<Digest>) {
        self.split.push((Digest::of(text), chunks));
    }

    /// Writes the file again if a document of several chunks is new, with the vectors of the documents that were noted. The vectors
    /// of this run come from the journal. `temporary` makes a file in the folder of the output.
    ///
    /// # Errors
    /// The file cannot be written. The old file is untouched.
    pub fn write(
        mut self,
        journal: &mut Journal,
        temporary: impl FnOnce() -> anyhow::Result<NamedTempFile>,
    ) -> anyhow::Result<()> {
        debug(|| {
            let what = match self.split.len() as u64 {
                0 => "unchanged, because no document was split into several chunks".to_owned(),
                count => format!("written, because of {} in several chunks", counted(count, "document")),
            };
            format!("chunk store {}: {what}", self.path.display())
        });
        if self.split.is_empty() {
            return Ok(());
        }
        let format = self.header.records();
        let file = temporary()?;
        let mut output = BufWriter::new(file.as_file());
        output.write_all((serde_json::to_string(&self.header)? + "\n").as_bytes())?;
        for (text, chunks) in std::mem::take(&mut self.split) {
            for chunk in chunks {
                if let Some(vector) = journal.get(&chunk)?.or_else(|| self.get(&chunk)) {
                    output.write_all(&format.record(&[text, chunk], &vector))?;
                }
            }
            self.seen.remove(&text);
        }
        if let StoreFile::Read(records) = &mut self.file {
            for number in 0..records.keys.len() {
                if self.seen.contains(&records.keys[number].0) {
                    output.write_all(&records.read(number, format)?)?;
                }
            }
        }
        output.flush()?;
        drop(output);
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    fn records(&mut self) -> Option<&mut Records> {
        if let StoreFile::Unread = self.file {
            let records = File::open(&self.path).and_then(|file| Records::new(file, &self.header));
            debug(|| {
                let found = match &records {
                    Ok(Some(records)) => counted(records.keys.len() as u64, "vector"),
                    Ok(None) => "not used, because another model made its vectors".to_owned(),
                    Err(e) if e.kind() == ErrorKind::NotFound => "does not exist".to_owned(),
                    Err(e) => format!("not used, because it cannot be read: {e}"),
                };
                format!("chunk store {}: {found}", self.path.display())
            });
            self.file = records.ok().flatten().map_or(StoreFile::Absent, StoreFile::Read);
        }
        if let StoreFile::Read(records) = &mut self.file { Some(records) } else { None }
    }
}

impl Records {
    /// Reads the keys of all records before the first wrong checksum. Returns `None` if the file has another header.
    fn new(file: File, header: &StoreHeader) -> io::Result<Option<Self>> {
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut line = Vec::new();
        reader.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
        if !serde_json::from_slice::<StoreHeader>(&line).is_ok_and(|there| there == *header) {
            return Ok(None);
        }
        let mut keys = Vec::new();
        let format = header.records();
        let mut record = vec![0; format.bytes()];
        while reader.read_exact(&mut record).is_ok() && is_whole(&record) {
            keys.push((format.digest(&record, 0), format.digest(&record, 1)));
        }
        let by_chunk = keys.iter().enumerate().map(|(number, &(_, chunk))| (chunk, number)).collect();
        Ok(Some(Records { file: reader.into_inner(), header_bytes: line.len() as u64, keys, by_chunk }))
    }

    fn read(&mut self, number: usize, format: RecordFormat) -> io::Result<Vec<u8>> {
        let mut record = vec![0; format.bytes()];
        self.file.seek(SeekFrom::Start(self.header_bytes + (number * record.len()) as u64))?;
        self.file.read_exact(&mut record)?;
        if is_whole(&record) {
            Ok(record)
        } else {
            Err(io::Error::other("the checksum of a vector is wrong"))
        }
    }
}
