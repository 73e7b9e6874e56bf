//! Vectors of chunks on disk as soon as they are made, so that a run that was killed goes on where it was.
//!
//! A line of JSON says what model they are of. Then follow records of equal length: the digest of a chunk's token
//! ids, the vector in full width, and a checksum. What is after the first wrong checksum was being written when
//! the power went, and is cut off.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::model::ModelFingerprint;
use crate::vector::embedding::Embedding;

/// So often what has been written is flushed to disk: what a loss of power can cost is less than half a minute.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// No first line is longer.
const HEADER_BYTES_MAX: u64 = 64 << 10;

/// Of each record.
const CHECKSUM_BYTES: usize = 8;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Of the records.
    pub format: u32,
    /// A vector depends on it and on the token ids alone.
    pub model: ModelFingerprint,
    /// Whether the run was told to make all vectors anew.
    pub rebuild: bool,
}

impl Header {
    /// For vectors of this model.
    pub fn new(model: ModelFingerprint, rebuild: bool) -> Self {
        Header { format: 1, model, rebuild }
    }

    /// Whether a run with the header `now` can go on with these vectors.
    fn serves(&self, now: &Header) -> bool {
        (self.format, &self.model) == (now.format, &now.model) && (self.rebuild || !now.rebuild)
    }
}

/// The vectors made so far, in this run and in those before it that did not come to an end.
pub struct Journal {
    path: PathBuf,
    width: usize,
    /// Bytes of the first line.
    start: u64,
    /// By place: 24 to 48 bytes a chunk.
    records: HashMap<Digest, u32>,
    /// How many have been written, whether twice or not.
    count: u32,
    resumed: usize,
    reader: Option<File>,
    /// Until there is something to write.
    begin: Option<(Header, OpenOptions)>,
    writer: Option<JournalWriter>,
    has_failed: bool,
}

impl Journal {
    /// Goes on with what another run left, if it serves, or begins anew; nothing is changed before there is something to
    /// write.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path, header: &Header, options: OpenOptions) -> io::Result<Self> {
        let mut journal = Journal::look(path, header)?;
        journal.begin = Some((header.clone(), options));
        Ok(journal)
    }

    /// Looks at what another run left, if anything, and changes nothing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(path: &Path, header: &Header) -> io::Result<Self> {
        match File::open(path) {
            Ok(file) => Journal::read(path, &file, header),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Journal::empty(path, header)),
            Err(e) => Err(e),
        }
    }

    /// Vectors that other runs left.
    pub fn resumed(&self) -> usize {
        self.resumed
    }

    /// The vector of the chunk with these token ids, if it has been made.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn get(&mut self, chunk: &Digest) -> io::Result<Option<Embedding>> {
        let Some(&number) = self.records.get(chunk) else { return Ok(None) };
        let mut record = vec![0; record_bytes(self.width)];
        let offset = self.offset(number);
        let reader = self.reader.as_mut().ok_or(io::ErrorKind::NotFound)?;
        reader.seek(SeekFrom::Start(offset))?;
        reader.read_exact(&mut record)?;
        if !is_whole(&record) {
            return Err(io::Error::other("it is not as it was written"));
        }
        Ok(Some(Embedding::stored(vector(&record))))
    }

    /// Adds a vector. It survives this process at once, and the machine's end within [`FLUSH_EVERY`].
    ///
    /// # Errors
    /// It cannot be written; or what was written before could not be flushed.
    ///
    /// # Panics
    /// If the vector has another width than the model, or the journal was only looked at.
    pub fn push(&mut self, chunk: Digest, vector: &Embedding) -> io::Result<()> {
        assert_eq!(vector.values().len(), self.width, "a vector of the model's width");
        if self.records.contains_key(&chunk) {
            return Ok(());
        }
        // Behind half a record, nothing would be found again.
        if self.has_failed {
            return Err(io::Error::other("it could not be written before"));
        }
        let written = self.write(&chunk, vector);
        self.has_failed = written.is_err();
        written?;
        self.records.insert(chunk, self.count);
        self.count += 1;
        Ok(())
    }

    fn write(&mut self, chunk: &Digest, vector: &Embedding) -> io::Result<()> {
        let mut record = Vec::with_capacity(record_bytes(self.width));
        record.extend(chunk.as_bytes());
        record.extend(vector.values().iter().flat_map(|number| number.to_le_bytes()));
        record.extend(checksum(&record));
        self.writer()?.write(&record)
    }

    fn writer(&mut self) -> io::Result<&mut JournalWriter> {
        if self.writer.is_none() {
            self.writer = Some(self.start()?);
        }
        self.writer.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn start(&mut self) -> io::Result<JournalWriter> {
        let (header, mut options) =
            self.begin.take().unwrap_or_else(|| panic!("a journal that is not only looked at"));
        let mut file = options.read(true).write(true).create(true).truncate(false).open(&self.path)?;
        if self.start == 0 {
            file.set_len(0)?;
            let line = serde_json::to_string(&header)? + "\n";
            file.write_all(line.as_bytes())?;
            self.start = line.len() as u64;
        }
        let end = self.offset(self.count);
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.sync_all()?;
        // A new file is on disk only when its folder is.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        self.reader = Some(File::open(&self.path)?);
        JournalWriter::start(file)
    }

    /// It cannot be written.
    pub fn cannot_write(&self, e: &io::Error) -> anyhow::Error {
        anyhow!(
            "{}, where vectors are kept until the run is done: {e}; make room (the old output is untouched)",
            self.path.display()
        )
    }

    /// It is of no use any more.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn empty(path: &Path, header: &Header) -> Self {
        Journal {
            path: path.to_owned(),
            width: header.model.width,
            start: 0,
            records: HashMap::new(),
            count: 0,
            resumed: 0,
            reader: None,
            begin: None,
            writer: None,
            has_failed: false,
        }
    }

    /// All records that are whole and serve; [`Journal::start`] is 0 where the file does not.
    fn read(path: &Path, file: &File, header: &Header) -> io::Result<Self> {
        let mut journal = Journal::empty(path, header);
        journal.reader = Some(File::open(path)?);
        let mut file = BufReader::with_capacity(1 << 20, file);
        let mut line = Vec::new();
        file.by_ref().take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
        let serves = |line| serde_json::from_slice::<Header>(line).is_ok_and(|there| there.serves(header));
        if !line.strip_suffix(b"\n").is_some_and(serves) {
            return Ok(journal);
        }
        journal.start = line.len() as u64;
        let mut record = vec![0; record_bytes(journal.width)];
        loop {
            match file.read_exact(&mut record) {
                Ok(()) if is_whole(&record) => {}
                Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => return Err(e),
                _ => break,
            }
            let mut digest = [0; Digest::BYTES];
            digest.copy_from_slice(&record[..Digest::BYTES]);
            journal.records.insert(Digest::from_bytes(digest), journal.count);
            journal.count += 1;
        }
        journal.resumed = journal.records.len();
        Ok(journal)
    }

    fn offset(&self, number: u32) -> u64 {
        self.start + u64::from(number) * record_bytes(self.width) as u64
    }
}

fn record_bytes(width: usize) -> usize {
    Digest::BYTES + size_of::<f32>() * width + CHECKSUM_BYTES
}

fn vector(record: &[u8]) -> Box<[f32]> {
    let bytes = &record[Digest::BYTES..record.len() - CHECKSUM_BYTES];
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
}

fn is_whole(record: &[u8]) -> bool {
    let (content, sum) = record.split_at(record.len() - CHECKSUM_BYTES);
    checksum(content) == sum
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// A file, and a thread that flushes it now and then.
struct JournalWriter {
    file: File,
    state: Arc<State>,
    /// Hung up, it ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    is_dirty: AtomicBool,
    has_failed: AtomicBool,
}

impl JournalWriter {
    fn start(file: File) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let state = Arc::<State>::default();
        let flush = {
            let (file, state) = (file.try_clone()?, state.clone());
            move || {
                while stopped.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
                    if state.is_dirty.swap(false, Relaxed) && file.sync_data().is_err() {
                        state.has_failed.store(true, Relaxed);
                    }
                }
            }
        };
        let thread = thread::Builder::new().spawn(flush)?;
        Ok(JournalWriter { file, state, stop: Some(stop), thread: Some(thread) })
    }

    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        if self.state.has_failed.load(Relaxed) {
            return Err(io::Error::other("what was written could not be flushed to disk"));
        }
        self.file.write_all(record)?;
        self.state.is_dirty.store(true, Relaxed);
        Ok(())
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
        // There is nobody left to tell; what is not on disk will be embedded again.
        let _ = self.file.sync_data();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 3;

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

    /// A vector in it is that of its text, or there is none.
    fn check(journal: &mut Journal, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            let found = journal.get(&Digest::of([number])).unwrap();
            assert!(found.is_none_or(|found| found == vector_of(number)), "another vector for {number}");
        }
    }

    #[test]
    fn what_is_in_it_comes_back_and_an_empty_one_goes() {
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

    /// As two runs write it where the file system has no locks.
    #[test]
    fn a_record_that_is_there_twice_gives_no_other_its_vector() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        push(&mut open(&path), 0..3);
        let bytes = fs::read(&path).unwrap();
        let records = bytes.len() - 3 * record_bytes(WIDTH);
        let [a, b, c] =
            [0, 1, 2].map(|at| &bytes[records + at * record_bytes(WIDTH)..][..record_bytes(WIDTH)]);
        fs::write(&path, [&bytes[..records], a, b, a, c].concat()).unwrap();
        check(&mut open(&path), 0..3);
    }

    #[test]
    fn what_is_added_to_a_header_without_its_end_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        push(&mut open(&path), 0..3);
        let header = fs::read(&path).unwrap().len() - 3 * record_bytes(WIDTH);
        File::options().write(true).open(&path).unwrap().set_len(header as u64 - 1).unwrap();
        push(&mut open(&path), 0..4);
        assert_eq!(open(&path).resumed(), 4);
    }
}
