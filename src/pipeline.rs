//! The one place that knows the order of the stages, the threads and the bounds.
//!
//! ```text
//! thread "prepare"                                         │ calling thread
//! found ─ group ─► read, clean, chunk, tokenize (rayon) ───┼─► window ─ plan ─► embed ─ merge ─► row
//!         256 documents or 4 MiB                   2 groups│   64 Ki tokens, 1,024 documents or 64 MiB
//! ```
//!
//! Every bound is on documents in memory; none depends on how many there are.

use std::collections::HashMap;
use std::mem;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::Context;
use rayon::prelude::*;
use serde_json::Value;

use crate::batch::{Batching, ChunkKey, plan};
use crate::chunk::{Chunk, chunk};
use crate::clean::clean;
use crate::embed::{Embedder, Embedding, embed};
use crate::error::{DocumentError, Failure};
use crate::index::{Row, RowKind};
use crate::merge;
use crate::report::{Counts, Reporter};
use crate::source::{Document, Found, LeftOut, Origin, Raw, Reading, Roots};
use crate::tokenize::Tokenizer;

/// What is read and tokenized side by side.
const GROUP_DOCUMENTS: usize = 256;
const GROUP_BYTES: u64 = 4 << 20;

/// Groups that wait between the threads.
const QUEUE_GROUPS: usize = 2;

/// What batches are planned over: enough for texts of equal length to meet, and no more, since rows
/// come out when their window is done.
const WINDOW_TOKENS: usize = 64 << 10;
const WINDOW_DOCUMENTS: usize = 1024;

/// And no more in memory than this, of texts and of what is kept with them.
const WINDOW_BYTES: usize = 64 << 20;

/// What is to be done, as settled by the command.
pub struct Job {
    /// Where the documents are.
    pub roots: Roots,
    /// How they are read.
    pub reading: Reading,
    /// The model's, with the instruction.
    pub tokenizer: Tokenizer,
    /// Most tokens of a chunk.
    pub max_tokens: usize,
    /// What the model bears.
    pub batching: Batching,
    /// Most tokens of a batch.
    pub batch_tokens: usize,
    /// What a row stands for.
    pub rows: RowKind,
    /// Length of the vectors written.
    pub dim: usize,
}

/// Takes every document below the roots through all stages; rows go to `sink` in the order in which
/// the documents were found.
///
/// # Errors
/// The engine or the sink failed. What is wrong with one document is counted and told instead.
pub fn run(
    job: &Arc<Job>,
    embedder: &mut dyn Embedder,
    reporter: &Arc<Reporter>,
    sink: &mut dyn FnMut(Row) -> anyhow::Result<()>,
) -> anyhow::Result<Counts> {
    let (sender, receiver) = sync_channel(QUEUE_GROUPS);
    let producer = {
        let (job, reporter) = (job.clone(), reporter.clone());
        thread::spawn(move || prepare(&job, &reporter, &sender))
    };
    // After an error the producer is left behind: it may wait for standard input, for as long as it takes.
    let counts = Run { job, embedder, reporter, sink, counts: Counts::default() }.consume(&receiver)?;
    // It has hung up, so it is done; if by a panic, then not all documents have come.
    producer.join().unwrap_or_else(|panic| resume_unwind(panic));
    Ok(counts)
}

/// A clean document in its chunks; there is at least one.
struct Chunked {
    document: Document,
    chunks: Vec<Chunk>,
}

impl Chunked {
    fn tokens(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.encoding.len()).sum()
    }

    fn bytes(&self) -> usize {
        let kept = self.document.kept.iter().filter_map(Value::as_str).map(str::len);
        self.document.text.len() + kept.sum::<usize>()
    }
}

/// What the first half of the stages made of something found.
enum Prepared {
    Chunked(Chunked),
    Empty,
    Failed(Failure),
    LeftOut(LeftOut),
}

/// Finds and prepares until there is no more, or nobody listens.
fn prepare(job: &Job, reporter: &Reporter, sender: &SyncSender<Vec<Prepared>>) {
    let mut ids = SeenIds::default();
    let mut found = job.roots.documents(&job.reading);
    loop {
        let group = group(&mut found);
        if group.is_empty() {
            return;
        }
        let bytes = group.iter().map(progress).sum();
        let mut prepared: Vec<Prepared> =
            group.into_par_iter().map(|found| prepare_one(found, job)).collect();
        for item in &mut prepared {
            ids.check(item);
        }
        let tokens = prepared
            .iter()
            .map(|item| if let Prepared::Chunked(chunked) = item { chunked.tokens() } else { 0 })
            .sum();
        reporter.prepared(bytes, tokens);
        if sender.send(prepared).is_err() {
            return;
        }
    }
}

fn size(found: &Found) -> u64 {
    if let Found::Raw(raw) = found { raw.size() } else { 0 }
}

fn progress(found: &Found) -> u64 {
    if let Found::Raw(raw) = found { raw.progress() } else { 0 }
}

fn group(found: &mut impl Iterator<Item = Found>) -> Vec<Found> {
    let mut group = Vec::new();
    let mut bytes = 0;
    while group.len() < GROUP_DOCUMENTS && bytes < GROUP_BYTES {
        let Some(next) = found.next() else { break };
        bytes += size(&next);
        group.push(next);
    }
    group
}

fn prepare_one(found: Found, job: &Job) -> Prepared {
    match found {
        Found::LeftOut(why) => Prepared::LeftOut(why),
        Found::Failed(failure) => Prepared::Failed(failure),
        Found::Raw(raw) => read_and_chunk(raw, job).unwrap_or_else(Prepared::Failed),
    }
}

fn read_and_chunk(raw: Raw, job: &Job) -> Result<Prepared, Failure> {
    let mut document = raw.read(&job.reading)?;
    document.text = clean(&document.text);
    if document.text.is_empty() {
        return Ok(Prepared::Empty);
    }
    match chunk(&document.text, job.max_tokens, &job.tokenizer) {
        Ok(chunks) => Ok(Prepared::Chunked(Chunked { document, chunks })),
        Err(cause) => Err(Failure { place: document.place(), cause }),
    }
}

/// Ids that have been given away, and where: for each document 16 bytes of its id's BLAKE3 digest, and
/// its origin in 8.
#[derive(Default)]
struct SeenIds {
    places: HashMap<[u8; 16], Place>,
    files: Vec<Arc<Path>>,
}

/// An [`Origin`] whose file is one of [`SeenIds::files`]. Line 0 stands for none.
#[derive(Clone, Copy)]
struct Place {
    file: u32,
    line: u32,
}

impl SeenIds {
    /// A document with a doubled id becomes a failure.
    fn check(&mut self, item: &mut Prepared) {
        let Prepared::Chunked(Chunked { document, .. }) = item else { return };
        let mut key = [0; 16];
        key.copy_from_slice(&blake3::hash(document.id.as_bytes()).as_bytes()[..16]);
        let place = self.place(&document.origin);
        if let Some(first) = self.places.insert(key, place) {
            self.places.insert(key, first);
            let first = self.origin(first).place(&document.id);
            let cause = DocumentError::DuplicateId { id: document.id.clone(), first };
            *item = Prepared::Failed(Failure { place: document.place(), cause });
        }
    }

    fn place(&mut self, origin: &Origin) -> Place {
        // Documents of one file, or below one root, come one after the other.
        if !self.files.last().is_some_and(|file| Arc::ptr_eq(file, &origin.file)) {
            self.files.push(origin.file.clone());
        }
        let line = origin.line.map_or(0, |line| u32::try_from(line).unwrap_or(u32::MAX));
        Place { file: self.files.len() as u32 - 1, line }
    }

    fn origin(&self, place: Place) -> Origin {
        let line = (place.line > 0).then_some(u64::from(place.line));
        Origin { file: self.files[place.file as usize].clone(), line }
    }
}

/// The second half of the stages.
struct Run<'a> {
    job: &'a Job,
    embedder: &'a mut dyn Embedder,
    reporter: &'a Reporter,
    sink: &'a mut dyn FnMut(Row) -> anyhow::Result<()>,
    counts: Counts,
}

impl Run<'_> {
    fn consume(mut self, groups: &Receiver<Vec<Prepared>>) -> anyhow::Result<Counts> {
        let mut window = Vec::new();
        let (mut tokens, mut bytes) = (0, 0);
        for item in groups.iter().flatten() {
            match item {
                Prepared::Chunked(chunked) => {
                    self.counts.seen += 1;
                    if let Some(encoding) = chunked.document.encoding {
                        *self.counts.decoded.entry(encoding).or_default() += 1;
                    }
                    tokens += chunked.tokens();
                    bytes += chunked.bytes();
                    window.push(chunked);
                }
                Prepared::Empty => {
                    self.counts.seen += 1;
                    self.counts.empty += 1;
                }
                Prepared::Failed(failure) => {
                    self.counts.seen += 1;
                    self.fail(&failure);
                }
                Prepared::LeftOut(why) => *self.counts.left_out.entry(why).or_default() += 1,
            }
            if tokens >= WINDOW_TOKENS || bytes >= WINDOW_BYTES || window.len() >= WINDOW_DOCUMENTS {
                self.embed(mem::take(&mut window))?;
                (tokens, bytes) = (0, 0);
            }
        }
        self.embed(window)?;
        assert!(self.counts.add_up(), "every document is accounted for: {:?}", self.counts);
        Ok(self.counts)
    }

    fn fail(&mut self, failure: &Failure) {
        self.counts.failed += 1;
        self.reporter.failed(failure);
    }

    fn embed(&mut self, window: Vec<Chunked>) -> anyhow::Result<()> {
        let mut chunks = Vec::new();
        let mut pending: Vec<Pending> = Vec::new();
        for Chunked { document, chunks: parts } in window {
            let mut spans = Vec::new();
            for (chunk, part) in parts.into_iter().enumerate() {
                chunks.push((ChunkKey { document: pending.len(), chunk }, part.encoding));
                spans.push(part.span);
            }
            let vectors = spans.iter().map(|_| None).collect();
            pending.push(Pending { document, spans, vectors });
        }
        for batch in plan(chunks, self.job.batching, self.job.batch_tokens) {
            let embedded = embed(self.embedder, &batch).with_context(|| {
                let first = batch.keys().next().map(|key| pending[key.document].document.place());
                format!("at {} and {} more texts", first.unwrap_or_default(), batch.len() - 1)
            })?;
            for (key, vector) in embedded {
                let slot = &mut pending[key.document].vectors[key.chunk];
                assert!(slot.is_none(), "one vector a chunk: {key:?}");
                *slot = Some(vector);
            }
            self.counts.chunks += batch.len() as u64;
            self.counts.tokens += batch.tokens() as u64;
            self.reporter.embedded(batch.tokens());
        }
        pending.into_iter().try_for_each(|document| self.finish(document))
    }

    fn finish(&mut self, pending: Pending) -> anyhow::Result<()> {
        let place = pending.document.place();
        match pending.rows(self.job) {
            Ok(rows) => {
                self.counts.embedded += 1;
                for row in rows {
                    (self.sink)(row)?;
                }
            }
            Err(cause) => self.fail(&Failure { place, cause }),
        }
        self.reporter.document_done();
        Ok(())
    }
}

/// A document whose chunks are on their way through the model.
struct Pending {
    document: Document,
    /// Of its chunks, in bytes of its text.
    spans: Vec<Range<usize>>,
    /// Of its chunks, as they come back.
    vectors: Vec<Option<Result<Embedding, DocumentError>>>,
}

impl Pending {
    /// One row, the vectors of the chunks merged; or a row a chunk. One chunk that failed fails the
    /// document: the mean of the others would be a vector of another text.
    fn rows(self, job: &Job) -> Result<Vec<Row>, DocumentError> {
        let Pending { document: Document { id, text, kept, .. }, spans, vectors } = self;
        let vectors = vectors
            .into_iter()
            .map(|vector| vector.unwrap_or_else(|| panic!("a vector for each chunk of {id}")));
        let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
        match job.rows {
            RowKind::Documents => {
                let vector = merge::mean(&vectors)?.cut(job.dim)?;
                Ok(vec![Row { id, text, vector, kept }])
            }
            RowKind::Chunks => spans
                .into_iter()
                .zip(vectors)
                .enumerate()
                .map(|(number, (span, vector))| {
                    Ok(Row {
                        id: format!("{id}#{number}"),
                        text: text[span].to_owned(),
                        vector: vector.cut(job.dim)?,
                        kept: kept.clone(),
                    })
                })
                .collect(),
        }
    }
}
