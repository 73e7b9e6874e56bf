//! The one place that knows the order of the stages, the threads and the bounds.
//!
//! ```text
//! thread "find" │ thread "prepare"                       │ calling thread
//! found ─ group ─► read, clean ─┬─► in the old file ─────┼─► window ─┬─► in the journal ─┬─► merge ─► rows
//!       256     │    (rayon)    └─► chunk, tokenize ─────┼─►         └─► plan ─► embed ──┘
//!   documents   │                              2 groups  │   64 Ki tokens, 1,024 documents
//!   or 4 MiB    │                                        │   or 64 MiB
//! ```
//!
//! Every bound is on documents in memory; none depends on how many there are.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::ops::Range;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rayon::prelude::*;
use serde_json::Value;

use crate::batch::{Batch, ChunkKey, plan};
use crate::chunk::{Chunk, chunk};
use crate::clean::clean;
use crate::digest::Digest;
use crate::embed::{Embedder, Embedding, embed};
use crate::error::{DocumentError, Failure, Lost};
use crate::index::{Old, Row, RowId, RowKind, Vector};
use crate::interrupt;
use crate::journal::Journal;
use crate::merge;
use crate::report::{Documents, Reporter, Work};
use crate::source::{Document, Found, LeftOut, Origin, Raw, Reading, Roots};
use crate::stale::Missing;
use crate::tokenize::{Encoding, Tokenizer};

/// What is read and tokenized side by side.
const GROUP_DOCUMENTS: usize = 256;
const GROUP_BYTES: u64 = 4 << 20;

/// Groups that wait to be read, and to be embedded.
const FOUND_GROUPS: usize = 1;
const QUEUE_GROUPS: usize = 2;

/// What batches are planned over: enough for texts of equal length to meet, and no more, since rows
/// come out when their window is done.
const WINDOW_TOKENS: usize = 64 << 10;
const WINDOW_DOCUMENTS: usize = 1024;

/// And no more in memory than this, of texts and of what is kept with them.
const WINDOW_BYTES: usize = 64 << 20;

/// While nothing comes, so often is looked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A dry run tries for so long how fast the model is.
const TRIAL: Duration = Duration::from_secs(3);

/// Rows of the old file that are taken over together.
const STALE_ROWS: usize = 1024;

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
    /// Most tokens of a batch.
    pub batch_tokens: usize,
    /// What a row stands for.
    pub rows: RowKind,
    /// Length of the vectors written.
    pub dim: usize,
    /// What is in place already.
    pub old: Option<Old>,
    /// Whether that has documents, as far as can be known: it may be damaged.
    pub has_output: bool,
    /// Whether a root may be without documents where the old file has some.
    pub allow_empty: bool,
    /// Whether more than half of the old file's documents may be gone.
    pub allow_shrink: bool,
    /// Whether nothing is to be embedded, beside a trial, or written.
    pub is_dry: bool,
}

/// What the second half of the stages works with.
pub struct Engine<'a> {
    /// Loads the model; called once, and only where something has to be embedded.
    pub load: &'a mut dyn FnMut() -> anyhow::Result<Box<dyn Embedder>>,
    /// Vectors made before.
    pub journal: &'a mut Journal,
    /// Takes rows, in the order of the documents.
    pub sink: &'a mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
    /// What became of the documents so far.
    pub documents: &'a mut Documents,
    /// What the model has done so far.
    pub work: &'a mut Work,
}

/// Takes every document below the roots through all stages; rows go to the sink in the order in which
/// the documents were found, and behind them those of the old file that stand for what cannot be read today.
///
/// # Errors
/// The engine or the sink failed, a root is empty that may not be, or the run was interrupted. What is wrong with one
/// document is counted and told instead.
pub fn run(job: &Arc<Job>, engine: Engine, reporter: &Arc<Reporter>) -> anyhow::Result<()> {
    let (sender, receiver) = sync_channel(QUEUE_GROUPS);
    let producer = {
        let (job, reporter) = (job.clone(), reporter.clone());
        thread::spawn(move || prepare(&job, &reporter, &sender))
    };
    let missing = job.old.as_ref().map_or(Missing::new(0, 0), |old| {
        Missing::new(old.file.documents(), old.file.metadata().map_or(0, |metadata| metadata.stale))
    });
    let run = Run { job, engine, reporter, embedder: None, missing, planned: HashSet::new() };
    // After an error the producer is left behind: it may wait for standard input, for as long as it takes.
    run.consume(&receiver)?;
    // It has hung up, so it is done; if by a panic, then not all documents have come.
    producer.join().unwrap_or_else(|panic| resume_unwind(panic));
    Ok(())
}

/// A clean document, and how it comes to its vector.
struct Ready {
    document: Document,
    /// Of its id.
    id: Digest,
    content: Content,
}

enum Content {
    /// The old file has its text.
    Old(u32),
    /// At least one.
    Chunks(Vec<Part>),
}

/// A chunk.
struct Part {
    span: Range<usize>,
    encoding: Encoding,
    /// Of its token ids: what its vector depends on beside the model.
    key: Digest,
    /// The row of the old file that has its text, where rows are chunks.
    old: Option<u32>,
}

impl Ready {
    fn tokens(&self) -> usize {
        match &self.content {
            Content::Old(_) => 0,
            Content::Chunks(parts) => parts.iter().map(|part| part.encoding.len()).sum(),
        }
    }

    fn bytes(&self) -> usize {
        let kept = self.document.kept.iter().filter_map(Value::as_str).map(str::len);
        self.document.text.len() + kept.sum::<usize>()
    }
}

/// What the first half of the stages made of something found.
enum Prepared {
    Ready(Ready),
    /// With the digest of its id.
    Empty(Digest),
    Failed(Failure),
    LeftOut(LeftOut),
    /// A root without documents.
    Nothing(String),
}

/// Finds and prepares until there is no more, or nobody listens.
fn prepare(job: &Job, reporter: &Reporter, sender: &SyncSender<Vec<Prepared>>) {
    let (found, groups) = sync_channel(FOUND_GROUPS);
    thread::scope(|scope| {
        scope.spawn(move || find(job, &found));
        prepare_groups(job, reporter, groups, sender);
    });
}

/// Finds until there is no more, or nobody listens. While a group is read, the next is found.
fn find(job: &Job, groups: &SyncSender<Vec<Found>>) {
    let mut found = job.roots.documents(&job.reading);
    loop {
        let group = group(&mut found);
        if group.is_empty() || groups.send(group).is_err() {
            return;
        }
    }
}

fn prepare_groups(
    job: &Job,
    reporter: &Reporter,
    groups: Receiver<Vec<Found>>,
    sender: &SyncSender<Vec<Prepared>>,
) {
    // About as many as the last time: a map that grows has two tables for a while.
    let documents = job.old.as_ref().map_or(0, |old| old.file.documents());
    let mut ids = SeenIds { places: HashMap::with_capacity(documents as usize), files: Vec::new() };
    for group in groups {
        let bytes = group.iter().map(progress).sum();
        let mut prepared: Vec<Prepared> =
            group.into_par_iter().map(|found| prepare_one(found, job)).collect();
        for item in &mut prepared {
            ids.check(item);
        }
        let tokens = prepared
            .iter()
            .map(|item| if let Prepared::Ready(ready) = item { ready.tokens() } else { 0 })
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
        Found::Nothing(root) => Prepared::Nothing(root),
        Found::Raw(raw) => read_and_chunk(raw, job).unwrap_or_else(Prepared::Failed),
    }
}

fn read_and_chunk(raw: Raw, job: &Job) -> Result<Prepared, Failure> {
    let mut document = raw.read(&job.reading)?;
    let id = Digest::of(&document.id);
    document.text = clean(&document.text);
    if document.text.is_empty() {
        return Ok(Prepared::Empty(id));
    }
    let old = job.old.as_ref().filter(|old| old.is_reused).map(|old| &old.file);
    let document_there = old.and_then(|old| old.document(id));
    let row_of = |text: &str| old?.row_of_text(Digest::of(text), document_there);
    if job.rows == RowKind::Documents
        && let Some(row) = row_of(&document.text)
    {
        return Ok(Prepared::Ready(Ready { document, id, content: Content::Old(row) }));
    }
    let chunks = match chunk(&document.text, job.max_tokens, &job.tokenizer) {
        Ok(chunks) => chunks,
        Err(cause) => {
            let place = document.place();
            return Err(Failure { place, cause, lost: Lost::Document(document.id.into()) });
        }
    };
    let part = |Chunk { span, encoding }| {
        let old = if job.rows == RowKind::Chunks { row_of(&document.text[span.clone()]) } else { None };
        Part { key: key(&encoding), span, encoding, old }
    };
    let content = Content::Chunks(chunks.into_iter().map(part).collect());
    Ok(Prepared::Ready(Ready { document, id, content }))
}

fn key(encoding: &Encoding) -> Digest {
    let bytes: Vec<u8> = encoding.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
    Digest::of(bytes)
}

/// Ids that have been given away, and where: for each document the digest of its id, and its origin in 8 bytes.
struct SeenIds {
    places: HashMap<Digest, Place>,
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
        let Prepared::Ready(Ready { document, id, .. }) = item else { return };
        let place = self.place(&document.origin);
        if let Some(first) = self.places.insert(*id, place) {
            self.places.insert(*id, first);
            let first = self.origin(first).place(&document.id);
            let cause = DocumentError::DuplicateId { id: document.id.clone(), first };
            *item = Prepared::Failed(Failure { place: document.place(), cause, lost: Lost::Nothing });
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
struct Run<'a, 'e> {
    job: &'a Job,
    engine: Engine<'e>,
    reporter: &'a Reporter,
    embedder: Option<Box<dyn Embedder>>,
    missing: Missing,
    /// In a dry run, chunks that would have been embedded.
    planned: HashSet<Digest>,
}

impl Run<'_, '_> {
    fn consume(mut self, groups: &Receiver<Vec<Prepared>>) -> anyhow::Result<()> {
        let mut window = Vec::new();
        let (mut tokens, mut bytes) = (0, 0);
        while let Some(group) = next(groups)? {
            for item in group {
                interrupt::check()?;
                if let Some(ready) = self.count(item)? {
                    tokens += ready.tokens();
                    bytes += ready.bytes();
                    window.push(ready);
                }
                if tokens >= WINDOW_TOKENS || bytes >= WINDOW_BYTES || window.len() >= WINDOW_DOCUMENTS {
                    self.embed(mem::take(&mut window))?;
                    (tokens, bytes) = (0, 0);
                }
            }
        }
        self.embed(window)?;
        let documents = &self.engine.documents;
        assert!(documents.add_up(), "every document is accounted for: {documents:?}");
        self.take_over_stale()
    }

    /// Counts what was found, and gives back what is to be embedded.
    fn count(&mut self, item: Prepared) -> anyhow::Result<Option<Ready>> {
        match item {
            Prepared::Ready(ready) => {
                self.engine.documents.seen += 1;
                if let Some(encoding) = ready.document.encoding {
                    *self.engine.documents.decoded.entry(encoding).or_default() += 1;
                }
                if let Some(document) = self.old_document(ready.id) {
                    self.missing.found(document);
                }
                return Ok(Some(ready));
            }
            Prepared::Empty(id) => {
                self.engine.documents.seen += 1;
                self.engine.documents.empty += 1;
                if let Some(document) = self.old_document(id) {
                    self.missing.empty(document);
                }
            }
            Prepared::Failed(failure) => {
                self.engine.documents.seen += 1;
                match &failure.lost {
                    Lost::Document(id) => {
                        if let Some(document) = self.old_document(Digest::of(id.as_bytes())) {
                            self.missing.unreadable(document);
                        }
                    }
                    Lost::Below(path) => self.missing.lost(Some(path)),
                    Lost::Unknown => self.missing.lost(None),
                    Lost::Nothing => {}
                }
                self.fail(&failure);
            }
            Prepared::LeftOut(why) => *self.engine.documents.left_out.entry(why).or_default() += 1,
            Prepared::Nothing(root) => {
                ensure!(
                    !self.job.has_output || self.job.allow_empty,
                    "input {root}: no documents in it, while the old output has some; see that it is mounted and filled, or allow it with --allow-empty (the old output is untouched)"
                );
                self.reporter.warn(&format!("input {root}: no documents in it"));
            }
        }
        Ok(None)
    }

    fn old_document(&self, id: Digest) -> Option<u32> {
        self.job.old.as_ref()?.file.document(id)
    }

    fn fail(&mut self, failure: &Failure) {
        self.engine.documents.failed += 1;
        self.reporter.failed(failure);
    }

    fn embed(&mut self, ready: Vec<Ready>) -> anyhow::Result<()> {
        let mut window = Window::default();
        for ready in ready {
            self.add(ready, &mut window)?;
        }
        let chunks = mem::take(&mut window.chunks);
        if !chunks.is_empty() {
            let batching = self.embedder()?.batching();
            for batch in plan(chunks, batching, self.job.batch_tokens) {
                interrupt::check()?;
                self.embed_batch(batch, &mut window)?;
            }
        }
        self.finish(window)
    }

    /// Finds out where the vectors of a document are to come from.
    fn add(&mut self, ready: Ready, window: &mut Window) -> anyhow::Result<()> {
        let Ready { document, id, content } = ready;
        let mut is_new = false;
        let pieces = match content {
            Content::Old(row) => Pieces::Old(row),
            Content::Chunks(parts) => {
                let mut pieces = Vec::new();
                for part in parts {
                    let vector = self.look_up(&part)?;
                    if vector.is_none() {
                        let key = ChunkKey { document: window.documents.len(), chunk: pieces.len() };
                        is_new |= self.want(key, &part, window);
                    } else {
                        self.reporter.not_needed(part.encoding.len());
                    }
                    pieces.push(Piece { span: part.span, vector: vector.map(Ok) });
                }
                Pieces::Chunks(pieces)
            }
        };
        for row in pieces.old_rows() {
            if let Some(old) = &self.job.old {
                self.missing.moved(old.file.document_of(row));
            }
        }
        window.documents.push(Pending { document, id, pieces, is_new });
        Ok(())
    }

    fn look_up(&mut self, part: &Part) -> anyhow::Result<Option<Vector>> {
        if let Some(row) = part.old {
            return Ok(Some(Vector::Old(row)));
        }
        let found = self.engine.journal.get(&part.key);
        let found =
            found.context("a vector made before cannot be read any more; check the disk and run again")?;
        Ok(found.map(Vector::New))
    }

    /// Whether nobody has wanted this chunk before.
    fn want(&mut self, key: ChunkKey, part: &Part, window: &mut Window) -> bool {
        let takers = window.takers.entry(part.key).or_default();
        takers.push(key);
        let is_first = takers.len() == 1 && (!self.job.is_dry || self.planned.insert(part.key));
        if is_first {
            window.keys.insert(key, part.key);
            window.chunks.push((key, part.encoding.clone()));
        } else {
            self.reporter.not_needed(part.encoding.len());
        }
        is_first
    }

    fn embedder(&mut self) -> anyhow::Result<&mut dyn Embedder> {
        let embedder = match self.embedder.take() {
            Some(embedder) => embedder,
            None => (self.engine.load)()?,
        };
        Ok(self.embedder.insert(embedder).as_mut())
    }

    fn embed_batch(&mut self, batch: Batch, window: &mut Window) -> anyhow::Result<()> {
        self.engine.work.chunks += batch.len() as u64;
        self.engine.work.tokens += batch.tokens() as u64;
        if self.job.is_dry && self.engine.work.embedding >= TRIAL {
            return Ok(());
        }
        let started = Instant::now();
        let embedded = embed(self.embedder()?, &batch).with_context(|| {
            let first = batch.keys().next().map(|key| window.documents[key.document].document.place());
            format!("at {} and {} more texts", first.unwrap_or_default(), batch.len() - 1)
        })?;
        self.engine.work.embedding += started.elapsed();
        self.engine.work.tokens_timed += batch.tokens() as u64;
        for (key, vector) in embedded {
            let chunk = window.keys[&key];
            if let (Ok(vector), false) = (&vector, self.job.is_dry) {
                let written = self.engine.journal.push(chunk, vector);
                written.map_err(|e| self.engine.journal.cannot_write(&e))?;
            }
            for key in window.takers.remove(&chunk).unwrap_or_default() {
                window.fill(key, vector.as_ref().ok());
            }
        }
        self.reporter.embedded(batch.tokens());
        Ok(())
    }

    fn finish(&mut self, window: Window) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for Pending { document, id, pieces, is_new } in window.documents {
            let place = document.place();
            let made = if self.job.is_dry { Ok(Vec::new()) } else { pieces.rows(document, self.job) };
            match made {
                Ok(made) => {
                    let counts = &mut self.engine.documents;
                    *(if is_new { &mut counts.embedded } else { &mut counts.reused }) += 1;
                    rows.extend(made);
                }
                Err(cause) => {
                    if let Some(document) = self.old_document(id) {
                        self.missing.failed(document);
                    }
                    self.fail(&Failure { place, cause, lost: Lost::Nothing });
                }
            }
            self.reporter.document_done();
        }
        (self.engine.sink)(rows)
    }

    /// Rows of the old file that stand for what cannot be read today.
    fn take_over_stale(&mut self) -> anyhow::Result<()> {
        let Some(old) = &self.job.old else { return Ok(()) };
        let ids = |documents: &[u32]| old.file.document_ids(documents);
        let stale = if old.has_vectors { self.missing.stale(ids)? } else { Vec::new() };
        let (removed, documents) = (self.missing.removed(&stale), old.file.documents());
        ensure!(
            removed * 2 <= documents as usize || self.job.allow_shrink || self.engine.documents.seen == 0,
            "{removed} of the {documents} documents of the old output are gone; see that the inputs are what they should be, or allow it with --allow-shrink (the old output is untouched)"
        );
        self.engine.documents.stale = stale.len() as u64;
        self.engine.documents.gone = removed as u64;
        let rows: Vec<u32> = stale.iter().flat_map(|&document| old.file.rows_of(document)).collect();
        let keep: Vec<&str> = self.job.reading.fields.keep.iter().map(String::as_str).collect();
        for rows in rows.chunks(STALE_ROWS) {
            let rows = old.file.rows_with(rows, &keep)?;
            for row in rows.iter().filter(|row| row.id.chunk.unwrap_or(0) == 0) {
                self.reporter.stale(&row.id.document);
            }
            if !self.job.is_dry {
                (self.engine.sink)(rows)?;
            }
        }
        Ok(())
    }
}

fn next(groups: &Receiver<Vec<Prepared>>) -> anyhow::Result<Option<Vec<Prepared>>> {
    loop {
        match groups.recv_timeout(LOOK_EVERY) {
            Ok(group) => return Ok(Some(group)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => interrupt::check()?,
        }
    }
}

/// Documents on their way through the model, and who waits for what.
#[derive(Default)]
struct Window {
    documents: Vec<Pending>,
    /// One of each.
    chunks: Vec<(ChunkKey, Encoding)>,
    keys: HashMap<ChunkKey, Digest>,
    takers: HashMap<Digest, Vec<ChunkKey>>,
}

impl Window {
    /// `None` for a vector that is not finite.
    fn fill(&mut self, key: ChunkKey, vector: Option<&Embedding>) {
        let Pieces::Chunks(pieces) = &mut self.documents[key.document].pieces else {
            panic!("a document that is embedded has chunks: {key:?}")
        };
        let slot = &mut pieces[key.chunk].vector;
        assert!(slot.is_none(), "one vector a chunk: {key:?}");
        *slot = Some(vector.cloned().map(Vector::New).ok_or(DocumentError::NotFinite));
    }
}

struct Pending {
    document: Document,
    /// Of its id.
    id: Digest,
    pieces: Pieces,
    /// Whether it is the first that wants one of its chunks embedded.
    is_new: bool,
}

enum Pieces {
    /// A row of the old file has its vector.
    Old(u32),
    Chunks(Vec<Piece>),
}

struct Piece {
    /// In bytes of the document's text.
    span: Range<usize>,
    /// Once it is known.
    vector: Option<Result<Vector, DocumentError>>,
}

impl Pieces {
    fn old_rows(&self) -> Vec<u32> {
        match self {
            Pieces::Old(row) => vec![*row],
            Pieces::Chunks(pieces) => {
                let old = |piece: &Piece| match piece.vector {
                    Some(Ok(Vector::Old(row))) => Some(row),
                    _ => None,
                };
                pieces.iter().filter_map(old).collect()
            }
        }
    }

    /// One row, the vectors of the chunks merged; or a row a chunk. One chunk that failed fails the
    /// document: the mean of the others would be a vector of another text.
    fn rows(self, document: Document, job: &Job) -> Result<Vec<Row>, DocumentError> {
        let Document { id, text, kept, .. } = document;
        let row = |chunk, text, vector| {
            let id = RowId { document: id.clone(), chunk };
            Row { id, text, vector, kept: kept.clone() }
        };
        let pieces = match self {
            Pieces::Old(old) => return Ok(vec![row(None, text, Vector::Old(old))]),
            Pieces::Chunks(pieces) => pieces,
        };
        let mut vectors = Vec::new();
        let mut spans = Vec::new();
        for piece in pieces {
            vectors.push(piece.vector.unwrap_or_else(|| panic!("a vector for each chunk of {id}"))?);
            spans.push(piece.span);
        }
        match job.rows {
            RowKind::Documents => {
                let merged = merge::mean(&vectors.into_iter().map(Vector::made).collect::<Vec<_>>())?;
                Ok(vec![row(None, text, Vector::New(merged.cut(job.dim)?))])
            }
            RowKind::Chunks => spans
                .into_iter()
                .zip(vectors)
                .zip(0..)
                .map(|((span, vector), chunk)| {
                    Ok(row(Some(chunk), text[span].to_owned(), vector.cut(job.dim)?))
                })
                .collect(),
        }
    }
}
