//! Writes each vector to disk as soon as the model has made the vector. After an interruption, the next run reads these vectors
//! instead of making them again.
//!
//! The first line of the file is JSON and identifies the model. Records of equal length follow. Each record contains the digest
//! of a chunk's token ids, the vector before truncation, and a checksum. A wrong checksum means that the machine stopped while
//! the record was being written. The next run removes that record and all records after it.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use super::flush::FlushedFile;
use super::record::{RecordFormat, is_whole};
use crate::digest::Digest;
use crate::model::ModelFingerprint;
use crate::vector::embedding::Embedding;

/// Limit on the bytes of the first line.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the format of the records.
    pub format: u32,
    /// The model that made the vectors. A vector depends only on the model and on the token ids.
    pub model: ModelFingerprint,
    /// Whether the run was started with `--rebuild`.
    pub rebuild: bool,
}

impl Header {
    /// Returns the header for a run with this model.
    pub fn new(model: ModelFingerprint, rebuild: bool) -> Self {
        Header { format: 1, model, rebuild }
    }

    /// Returns why a run with the header `now` cannot use the vectors of a journal with this header; `None` if it can. A run with
    /// `--rebuild` does not use the vectors of a run without `--rebuild`.
    fn useless(&self, now: &Header) -> Option<Useless> {
        if (self.format, &self.model) != (now.format, &now.model) {
            Some(Useless::OfAnotherModel)
        } else if now.rebuild && !self.rebuild {
            Some(Useless::BeforeRebuild)
        } else {
            None
        }
    }
}

/// Why the vectors of an interrupted run cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Useless {
    /// Another model made them.
    OfAnotherModel,
    /// This run has `--rebuild`, and that run had not.
    BeforeRebuild,
}

/// The vectors of this run, and of interrupted runs before this run.
pub struct Journal {
    path: PathBuf,
    format: RecordFormat,
    /// The file to read vectors from; `None` if no file has vectors that this run can use.
    stored: Option<Stored>,
    /// Maps the digest of a chunk's token ids to the index of the chunk's record in the file. An entry needs 24 to 48 bytes.
    records: HashMap<Digest, u32>,
    /// Number of records in the file. Two records may have the same digest.
    count: u32,
    resumed: usize,
    /// Number of records that interrupted runs have written.
    count_before: u32,
    /// How many vectors of an interrupted run the file has that this run cannot use, and why.
    useless: Option<(u64, Useless)>,
    output: Output,
}

/// The file, opened to read records.
struct Stored {
    file: File,
    header_bytes: u64,
}

/// The place where new vectors are written.
enum Output {
    /// New vectors cannot be written, because [`Journal::look`] opened the journal.
    ReadOnly,
    /// The file will be opened when the first vector is written.
    Later(Header, OpenOptions),
    Open(FlushedFile),
    /// A write failed, so no more vectors are written. The file may end with an incomplete record, and no run could
    /// read a record after an incomplete record.
    Failed,
}

impl Journal {
    /// Opens the journal of an earlier run if this run can use the vectors. Otherwise, opens an empty journal. Nothing on disk
    /// changes before the first vector is written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path, header: &Header, options: OpenOptions) -> io::Result<Self> {
        let mut journal = Journal::look(path, header)?;
        journal.output = Output::Later(header.clone(), options);
        Ok(journal)
    }

    /// Opens the journal read-only. The journal is empty if the file has no vectors that this run can use.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn look(path: &Path, header: &Header) -> io::Result<Self> {
        let mut journal = Journal {
            path: path.to_owned(),
            format: RecordFormat { digests: 1, width: header.model.width },
            stored: None,
            records: HashMap::new(),
            count: 0,
            resumed: 0,
            count_before: 0,
            useless: None,
            output: Output::ReadOnly,
        };
        match File::open(path) {
            Ok(file) => journal.read(file, header)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        Ok(journal)
    }

    /// Returns how many vectors of the journal were made by interrupted runs.
    pub fn resumed(&self) -> usize {
        self.resumed
    }

    /// Returns whether an interrupted run has made the vector for this digest of a chunk's token ids.
    pub fn is_resumed(&self, chunk: &Digest) -> bool {
        self.records.get(chunk).is_some_and(|&number| number < self.count_before)
    }

    /// Returns how many vectors of an interrupted run the file has that this run cannot use, and why. They are removed when this run
    /// writes its first vector.
    pub fn useless(&self) -> Option<(u64, Useless)> {
        self.useless
    }

    /// Returns the vector for this digest of a chunk's token ids, if the journal has the vector.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn get(&mut self, chunk: &Digest) -> io::Result<Option<Embedding>> {
        let (Some(&number), Some(stored)) = (self.records.get(chunk), &mut self.stored) else {
            return Ok(None);
        };
        let mut record = vec![0; self.format.bytes()];
        stored.file.seek(SeekFrom::Start(stored.offset(number, self.format)))?;
        stored.file.read_exact(&mut record)?;
        if !is_whole(&record) {
            return Err(io::Error::other("the checksum of a vector is wrong"));
        }
        Ok(Some(self.format.vector(&record)))
    }

    /// Adds a vector. If this process dies, the vector survives. If the power fails, the vector survives only if the file was
    /// flushed before. The file is flushed at most [`FLUSH_EVERY`](super::flush::FLUSH_EVERY) later.
    ///
    /// # Errors
    /// The file cannot be written, or an earlier vector could not be flushed.
    ///
    /// # Panics
    /// If the vector does not have the dimensions of the model, or if the journal was opened by [`Journal::look`].
    pub fn push(&mut self, chunk: Digest, vector: &Embedding) -> io::Result<()> {
        assert_eq!(vector.values().len(), self.format.width, "a vector of the model's width");
        if self.records.contains_key(&chunk) {
            return Ok(());
        }
        let count = next(self.count)?;
        self.write(&self.format.record(&[chunk], vector))?;
        self.records.insert(chunk, self.count);
        self.count = count;
        Ok(())
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let mut file = match mem::replace(&mut self.output, Output::Failed) {
            Output::Open(file) => file,
            Output::Later(header, options) => self.start(&header, options)?,
            Output::Failed => return Err(io::Error::other("an earlier write failed")),
            Output::ReadOnly => panic!("a journal that was opened to be written"),
        };
        file.write(record)?;
        self.output = Output::Open(file);
        Ok(())
    }

    /// Opens the file for writing. Keeps the records if this run can use them. Otherwise, empties the file and writes a new first
    /// line.
    fn start(&mut self, header: &Header, mut options: OpenOptions) -> io::Result<FlushedFile> {
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&self.path)?;
        let header_bytes = match &self.stored {
            Some(stored) => stored.header_bytes,
            None => {
                file.set_len(0)?;
                let line = serde_json::to_string(header)? + "\n";
                file.write_all(line.as_bytes())?;
                line.len() as u64
            }
        };
        let stored = self.stored.insert(Stored { file: File::open(&self.path)?, header_bytes });
        let end = stored.offset(self.count, self.format);
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.sync_all()?;
        // A new file survives a power failure only if the folder is flushed too.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        FlushedFile::start(file)
    }

    /// Returns the error for a journal that cannot be written.
    pub fn cannot_write(&self, e: &io::Error) -> anyhow::Error {
        anyhow!(
            "{}: cannot be written: {e}; make room and run again (this file keeps the vectors until the run is done; the old output is untouched)",
            self.path.display()
        )
    }

    /// Returns the error for a journal from which a vector cannot be read.
    pub fn cannot_read(&self, e: &io::Error) -> anyhow::Error {
        anyhow!("{}: cannot be read: {e}; check the disk and run again", self.path.display())
    }

    /// Removes the file. Must be called only when the run is done.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Reads the digests of all records before the first wrong checksum, if this run can use the vectors.
    fn read(&mut self, file: File, header: &Header) -> io::Result<()> {
        let length = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut line = Vec::new();
        reader.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
        let parsed = line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Header>(line).ok());
        let Some(there) = parsed else { return Ok(()) };
        if let Some(why) = there.useless(header) {
            let vectors = (length - line.len() as u64)
                / RecordFormat { digests: 1, width: there.model.width }.bytes() as u64;
            self.useless = Some((vectors, why)).filter(|_| vectors > 0);
            return Ok(());
        }
        let mut record = vec![0; self.format.bytes()];
        loop {
            let end = line.len() as u64 + (u64::from(self.count) + 1) * record.len() as u64;
            match reader.read_exact(&mut record) {
                Ok(()) if is_whole(&record) => {}
                // An incomplete record at the end was not written in full. A file that seems to end before its length could not be
                // read, and its other records are still there.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && end > length => break,
                Err(e) => return Err(e),
                Ok(()) => break,
            }
            self.records.insert(self.format.digest(&record, 0), self.count);
            self.count = next(self.count)?;
        }
        (self.resumed, self.count_before) = (self.records.len(), self.count);
        self.stored = Some(Stored { file: reader.into_inner(), header_bytes: line.len() as u64 });
        Ok(())
    }
}

impl Stored {
    /// Returns the offset of the record with this index, in bytes.
    fn offset(&self, number: u32, format: RecordFormat) -> u64 {
        self.header_bytes + u64::from(number) * format.bytes() as u64
    }
}

fn next(count: u32) -> io::Result<u32> {
    let full = || io::Error::other("it has room for at most 2^32 vectors, so build in shards");
    count.checked_add(1).ok_or_else(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 3;
    const BYTES: usize = Digest::BYTES + 4 * WIDTH + 8;

    fn open(path: &Path) -> Journal {
        let model = ModelFingerprint { width: WIDTH, ..ModelFingerprint::default() };
        Journal::open(path, &Header::new(model, false), OpenOptions::new()).unwrap()
    }

    fn vector_of(number: u8) -> Embedding {
        Embedding::normalized([1.0, f32::from(number), 0.0]).unwrap()
    }

    fn push(journal: &mut Journal, numbers: impl IntoIterator<Item = u8>) {
        numbers
            .into_iter()
            .for_each(|number| journal.push(Digest::of([number]), &vector_of(number)).unwrap());
    }

    /// Asserts that for each number, the journal has either the right vector or no vector.
    fn check(journal: &mut Journal, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            let found = journal.get(&Digest::of([number])).unwrap();
            assert!(
                found.is_none_or(|found| found == vector_of(number)),
                "the vector of another number for {number}"
            );
        }
    }

    #[test]
    fn vectors_come_back_in_the_next_run_and_an_empty_journal_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        drop(open(&path));
        assert!(!path.exists());
        push(&mut open(&path), 0..5);
        let mut journal = open(&path);
        assert_eq!(journal.resumed(), 5);
        push(&mut journal, 3..8);
        assert_eq!(journal.get(&Digest::of([7])).unwrap(), Some(vector_of(7)));
        assert_eq!(journal.get(&Digest::of([8])).unwrap(), None);
        drop(journal);
        let mut journal = open(&path);
        assert_eq!(journal.resumed(), 8);
        check(&mut journal, 0..9);
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    /// If the file system has no locks, two simultaneous runs can write a record twice.
    #[test]
    fn a_record_that_is_there_twice_does_not_shift_those_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        push(&mut open(&path), 0..3);
        let bytes = fs::read(&path).unwrap();
        let records = bytes.len() - 3 * BYTES;
        let [a, b, c] = [0, 1, 2].map(|at| &bytes[records + at * BYTES..][..BYTES]);
        fs::write(&path, [&bytes[..records], a, b, a, c].concat()).unwrap();
        check(&mut open(&path), 0..3);
    }

    #[test]
    fn a_header_without_its_line_end_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        push(&mut open(&path), 0..3);
        let header = fs::read(&path).unwrap().len() - 3 * BYTES;
        File::options().write(true).open(&path).unwrap().set_len(header as u64 - 1).unwrap();
        push(&mut open(&path), 0..4);
        assert_eq!(open(&path).resumed(), 4);
    }
}
