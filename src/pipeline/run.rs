//! The second half of the stages: from prepared documents to rows, in the order in which they were found.

use super::prepare;
use crossbeam_channel::bounded;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use std::{mem, thread};

use anyhow::{Context, ensure};
use crossbeam_channel::{Receiver, never, select};

use super::job::{Engine, Job};
use super::prepare::{PreparedChunk, PreparedDocument, Ready, VectorSource};
use super::queue::{Outcome, Queue};
use super::stale::Missing;
use crate::console::Reporter;
use crate::digest::Digest;
use crate::error::{Failure, Lost, NoVector};
use crate::index::{Row, RowId, RowKind, Vector};
use crate::interrupt;
use crate::source::Document;
use crate::text::tokenize::Encoding;
use crate::vector::batch::{Batch, ChunkKey, plan};
use crate::vector::embedding::Embedding;
use crate::vector::mean::mean;

/// What batches are planned over: enough for texts of equal length to meet, and no more, since rows
/// come out when their window is done.
const WINDOW_TOKENS: usize = 64 << 10;
const WINDOW_DOCUMENTS: usize = 1024;

/// Where batches are large, the window is so many of them.
const WINDOW_BATCHES: usize = 32;

/// And no more than this, of texts and of what is kept with them. In memory are the window that is filled, the one before
/// it, and those that the batches at work came from.
const WINDOW_BYTES: usize = 64 << 20;

/// While nothing comes, so often is looked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// While devices are at work, rows of so many documents come out at a time: with vectors to be compressed, those of a
/// window can take longer than the batches that wait.
const EMITTED_DOCUMENTS: usize = 1024;

/// A dry run tries for so long how fast the model is.
const TRIAL: Duration = Duration::from_secs(3);

/// Rows of the old file that are taken over together.
const STALE_ROWS: usize = 1024;

/// The second half of the stages.
pub(super) struct Run<'a, 'e> {
    job: &'a Job,
    engine: Engine<'e>,
    reporter: &'a Reporter,
    missing: Missing,
    /// In a dry run, chunks that would have been embedded.
    planned: HashSet<Digest>,
    /// Documents whose rows have not come out, in the order in which they were found.
    pending: VecDeque<Pending>,
    /// Documents whose rows have come out: the number of the first that is pending.
    done: usize,
    window: Window,
    /// Of the window before, what has not been handed in.
    batches: VecDeque<Batch>,
    /// Who waits for the vector of a chunk.
    takers: HashMap<Digest, Vec<ChunkKey>>,
    /// Once there is something to embed.
    queue: Option<Queue>,
}

/// What will be planned together.
#[derive(Default)]
struct Window {
    documents: usize,
    tokens: usize,
    bytes: usize,
    /// One of each.
    chunks: Vec<(ChunkKey, Encoding)>,
}

struct Pending {
    document: Document,
    /// Of its id.
    id: Digest,
    pieces: Pieces,
    /// Pieces that have no vector yet.
    missing: usize,
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
    /// Of its token ids.
    key: Digest,
    /// Once it is known.
    vector: Option<Result<Vector, NoVector>>,
}

impl<'a, 'e> Run<'a, 'e> {
    pub fn new(job: &'a Job, engine: Engine<'e>, reporter: &'a Reporter, missing: Missing) -> Self {
        Run {
            job,
            engine,
            reporter,
            missing,
            planned: HashSet::new(),
            pending: VecDeque::new(),
            done: 0,
            window: Window::default(),
            batches: VecDeque::new(),
            takers: HashMap::new(),
            queue: None,
        }
    }

    /// Takes in what comes, from either side, until there is no more and all of it is done.
    pub fn consume(mut self, groups: &Receiver<Vec<PreparedDocument>>) -> anyhow::Result<()> {
        let done = self.take_all(groups);
        if done.is_err() {
            self.keep_at_work();
        }
        done
    }

    /// The next run is to go on from what the devices are doing now, too.
    fn keep_at_work(&mut self) {
        for outcome in self.queue.take().map_or_else(Vec::new, Queue::stop) {
            for (key, vector) in outcome.embedded.into_iter().flatten() {
                // The run ends with its first error; what cannot be kept is made again.
                let _ = vector.map(|vector| self.keep(key, &vector));
            }
        }
    }

    fn take_all(&mut self, groups: &Receiver<Vec<PreparedDocument>>) -> anyhow::Result<()> {
        let no_groups = never();
        let mut arrived = Vec::new().into_iter();
        let (mut is_end, mut may_emit) = (false, false);
        loop {
            while !self.is_window_full()
                && let Some(item) = arrived.next()
            {
                interrupt::check()?;
                if let Some(ready) = self.count(item)? {
                    self.add(ready)?;
                }
            }
            let is_idle = self.queue.as_ref().is_none_or(Queue::is_idle);
            // A window without chunks waits too, or documents behind one that is being embedded would pile up.
            let may_plan = self.batches.is_empty() && (is_idle || !self.window.chunks.is_empty());
            let plans = may_plan && (self.is_window_full() || is_end);
            if plans {
                self.plan()?;
            }
            self.hand_in();
            may_emit |= plans || self.queue.as_ref().is_some_and(Queue::is_idle);
            if may_emit {
                may_emit = self.emit()?;
            }
            let has_room = !self.is_window_full();
            if has_room && arrived.len() > 0 {
                continue;
            }
            if is_end && self.pending.is_empty() {
                break;
            }
            let groups = if has_room && !is_end { groups } else { &no_groups };
            let outcomes = self.queue.as_ref().map_or_else(never, |queue| queue.outcomes().clone());
            select! {
                recv(groups) -> group => match group {
                    Ok(group) => arrived = group.into_iter(),
                    Err(_) => is_end = true,
                },
                recv(outcomes) -> outcome => if let Ok(outcome) = outcome {
                    self.take(outcome)?;
                },
                default(if may_emit { Duration::ZERO } else { LOOK_EVERY }) => {}
            }
            self.check_queue();
            interrupt::check()?;
        }
        let documents = &self.engine.documents;
        assert!(documents.add_up(), "every document is accounted for: {documents:?}");
        self.take_over_stale()
    }

    fn is_window_full(&self) -> bool {
        let tokens = self.queue.as_ref().map_or(0, |queue| WINDOW_BATCHES * self.batch_tokens(queue));
        let times = (tokens / WINDOW_TOKENS).max(1);
        let Window { documents, tokens, bytes, .. } = self.window;
        tokens >= times * WINDOW_TOKENS || documents >= times * WINDOW_DOCUMENTS || bytes >= WINDOW_BYTES
    }

    fn batch_tokens(&self, queue: &Queue) -> usize {
        self.job.batch_tokens.unwrap_or(queue.batch_tokens)
    }

    /// Counts what was found, and gives back what is to be embedded.
    fn count(&mut self, item: PreparedDocument) -> anyhow::Result<Option<Ready>> {
        match item {
            PreparedDocument::Ready(ready) => {
                self.engine.documents.found(ready.document.encoding);
                if let Some(document) = self.old_document(ready.id) {
                    self.missing.found(document);
                }
                return Ok(Some(ready));
            }
            PreparedDocument::Empty(id) => {
                self.engine.documents.seen += 1;
                self.engine.documents.empty += 1;
                if let Some(document) = self.old_document(id) {
                    self.missing.empty(document);
                }
            }
            PreparedDocument::Failed(failure) => {
                self.engine.documents.seen += 1;
                self.lose(&failure)?;
                self.fail(&failure);
            }
            PreparedDocument::Unassigned(failure) => {
                self.engine.documents.unassigned += 1;
                self.lose(&failure)?;
                self.reporter.failed(&failure);
            }
            PreparedDocument::LeftOut(why) => *self.engine.documents.left_out.entry(why).or_default() += 1,
            PreparedDocument::Nothing(root) => {
                ensure!(
                    !self.job.has_output || self.job.allow_empty,
                    "input {root}: no documents in it, while the old output has some; see that it is mounted and filled, or allow it with --allow-empty (the old output is untouched)"
                );
                self.reporter.warn(&format!("input {root}: no documents in it"));
            }
        }
        Ok(None)
    }

    fn lose(&mut self, failure: &Failure) -> anyhow::Result<()> {
        ensure!(!failure.cause.ends_the_run(), "{}: {}", failure.place, failure.cause);
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
        Ok(())
    }

    fn old_document(&self, id: Digest) -> Option<u32> {
        self.job.old.as_ref()?.file.document(id)
    }

    fn fail(&mut self, failure: &Failure) {
        self.engine.documents.failed += 1;
        self.reporter.failed(failure);
    }

    /// Finds out where the vectors of a document are to come from.
    fn add(&mut self, ready: Ready) -> anyhow::Result<()> {
        self.window.documents += 1;
        self.window.tokens += ready.tokens();
        self.window.bytes += ready.bytes();
        let Ready { document, id, content } = ready;
        let (mut is_new, mut missing) = (false, 0);
        let pieces = match content {
            VectorSource::Old(row) => Pieces::Old(row),
            VectorSource::Chunks(parts) => {
                let mut pieces = Vec::with_capacity(parts.len());
                for part in parts {
                    let vector = self.look_up(&part)?;
                    // In a dry run, vectors are not kept.
                    let is_known = vector.is_some() || self.is_done_dry(&part);
                    if is_known {
                        self.reporter.not_needed(part.encoding.len());
                    } else {
                        let key = ChunkKey { document: self.done + self.pending.len(), chunk: pieces.len() };
                        is_new |= self.want(key, &part);
                        missing += 1;
                    }
                    pieces.push(Piece { span: part.span, key: part.key, vector: vector.map(Ok) });
                }
                Pieces::Chunks(pieces)
            }
        };
        for row in pieces.old_rows() {
            if let Some(old) = &self.job.old {
                self.missing.moved(old.file.document_of(row));
            }
        }
        self.pending.push_back(Pending { document, id, pieces, missing, is_new });
        Ok(())
    }

    fn look_up(&mut self, part: &PreparedChunk) -> anyhow::Result<Option<Vector>> {
        if let Some(row) = part.old {
            return Ok(Some(Vector::Old(row)));
        }
        let found = self.engine.journal.get(&part.key);
        let found =
            found.context("a vector made before cannot be read any more; check the disk and run again")?;
        Ok(found.map(Vector::New))
    }

    fn is_done_dry(&self, part: &PreparedChunk) -> bool {
        self.planned.contains(&part.key) && !self.takers.contains_key(&part.key)
    }

    /// Whether nobody has wanted this chunk before.
    fn want(&mut self, key: ChunkKey, part: &PreparedChunk) -> bool {
        let takers = self.takers.entry(part.key).or_default();
        takers.push(key);
        let is_first = takers.len() == 1;
        if is_first {
            if self.job.is_dry {
                self.planned.insert(part.key);
            }
            self.window.chunks.push((key, part.encoding.clone()));
        } else {
            self.reporter.not_needed(part.encoding.len());
        }
        is_first
    }

    /// Makes batches of the window.
    fn plan(&mut self) -> anyhow::Result<()> {
        let chunks = mem::take(&mut self.window).chunks;
        if chunks.is_empty() {
            return Ok(());
        }
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => Queue::start((self.engine.load)()?),
        };
        self.batches = plan(chunks, queue.batching, self.batch_tokens(&queue)).into();
        self.queue = Some(queue);
        Ok(())
    }

    /// Gives the devices what they can take.
    fn hand_in(&mut self) {
        while let Some(queue) = self.queue.as_mut().filter(|queue| !queue.is_full())
            && let Some(batch) = self.batches.pop_front()
        {
            self.engine.work.chunks += batch.len() as u64;
            self.engine.work.tokens += batch.tokens() as u64;
            if self.job.is_dry && self.engine.work.embedding >= TRIAL {
                batch.keys().for_each(|key| self.fill_all(key, Err(NoVector::NotFinite)));
            } else {
                queue.push(batch);
            }
        }
    }

    fn take(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        let devices = self.queue.as_mut().map_or(1, |queue| {
            queue.taken();
            queue.devices()
        });
        let Outcome { first, chunks, tokens, seconds, embedded, places_max } = outcome;
        let embedded = embedded.with_context(|| {
            let place = self.pending[first.document - self.done].document.place();
            format!("at {place} and {} more texts", chunks - 1)
        })?;
        self.engine.work.embedding += seconds / devices as u32;
        self.engine.work.tokens_timed += tokens as u64;
        for (key, vector) in embedded {
            if let Ok(vector) = &vector {
                self.keep(key, vector)?;
            }
            self.fill_all(key, vector);
        }
        self.reporter.embedded(tokens);
        if let Some(places) = places_max {
            self.reporter.warn(&format!(
                "the memory of the device is too small for such batches: from here on they have {places} tokens at most, as with --batch-tokens {places}"
            ));
        }
        Ok(())
    }

    /// Writes a vector down, so that no other run has to make it.
    fn keep(&mut self, key: ChunkKey, vector: &Embedding) -> anyhow::Result<()> {
        if self.job.is_dry {
            return Ok(());
        }
        let chunk = self.piece(key).key;
        self.engine.journal.push(chunk, vector).map_err(|e| self.engine.journal.cannot_write(&e))
    }

    fn check_queue(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.check();
        }
    }

    fn piece(&mut self, key: ChunkKey) -> &mut Piece {
        match &mut self.pending[key.document - self.done].pieces {
            Pieces::Chunks(pieces) => &mut pieces[key.chunk],
            Pieces::Old(_) => panic!("a document that is embedded has chunks: {key:?}"),
        }
    }

    /// Gives the vector of a chunk to all who wait for it.
    fn fill_all(&mut self, key: ChunkKey, vector: Result<Embedding, NoVector>) {
        let chunk = self.piece(key).key;
        for taker in self.takers.remove(&chunk).unwrap_or_default() {
            let slot = &mut self.piece(taker).vector;
            assert!(slot.is_none(), "one vector a chunk: {taker:?}");
            *slot = Some(vector.clone().map(Vector::New));
            self.pending[taker.document - self.done].missing -= 1;
        }
    }

    /// Lets rows out, up to the first document that waits for a vector: many at once, since vectors of the old file are
    /// read in pages. Says whether there are more.
    fn emit(&mut self) -> anyhow::Result<bool> {
        let is_ready = |pending: &Pending| pending.missing == 0;
        let most =
            if self.queue.as_ref().is_none_or(Queue::is_idle) { usize::MAX } else { EMITTED_DOCUMENTS };
        let mut rows = Vec::new();
        let done = self.done;
        while self.done - done < most
            && self.pending.front().is_some_and(is_ready)
            && let Some(pending) = self.pending.pop_front()
        {
            self.done += 1;
            rows.extend(self.finish(pending));
            self.reporter.document_done();
        }
        if self.done > done {
            (self.engine.sink)(rows)?;
        }
        Ok(self.pending.front().is_some_and(is_ready))
    }

    fn finish(&mut self, pending: Pending) -> Vec<Row> {
        let Pending { document, id, pieces, is_new, .. } = pending;
        let place = document.place();
        let made = if self.job.is_dry { Ok(Vec::new()) } else { pieces.rows(document, self.job) };
        match made {
            Ok(rows) => {
                let counts = &mut self.engine.documents;
                *(if is_new { &mut counts.embedded } else { &mut counts.reused }) += 1;
                rows
            }
            Err(cause) => {
                if let Some(document) = self.old_document(id) {
                    self.missing.failed(document);
                }
                self.fail(&Failure { place, cause: cause.into(), lost: Lost::Nothing });
                Vec::new()
            }
        }
    }

    /// Rows of the old file that stand for what cannot be read today.
    fn take_over_stale(&mut self) -> anyhow::Result<()> {
        let Some(old) = &self.job.old else { return Ok(()) };
        let ids = |documents: &[u32]| old.file.document_ids(documents);
        let stale = if old.has_vectors { self.missing.stale(ids)? } else { Vec::new() };
        let (removed, documents) = (self.missing.removed(&stale), old.file.documents());
        // Where nothing was found, that has been allowed.
        let is_empty = self.job.allow_empty && self.engine.documents.seen == 0;
        ensure!(
            removed * 2 <= documents as usize || self.job.allow_shrink || is_empty,
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
    fn rows(self, document: Document, job: &Job) -> Result<Vec<Row>, NoVector> {
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
                let merged = mean(&vectors.into_iter().map(Vector::made).collect::<Vec<_>>())?;
                Ok(vec![row(None, text, Vector::New(merged.cut(job.dim)?))])
            }
            RowKind::Chunks => spans
                .into_iter()
                .zip(vectors)
                .zip(0..)
                .map(|((span, vector), chunk)| {
                    Ok(row(Some(chunk), text[span].to_owned(), vector.truncate(job.dim)?))
                })
                .collect(),
        }
    }
}

/// Groups of documents that wait to be embedded.
const QUEUE_GROUPS: usize = 2;

/// Takes every document below the roots through all stages; rows go to the sink in the order in which
/// the documents were found, and behind them those of the old file that stand for what cannot be read today.
///
/// # Errors
/// The engine or the sink failed, a root is empty that may not be, or the run was interrupted. What is wrong with one
/// document is counted and told instead.
pub fn run(job: &Arc<Job>, engine: Engine, reporter: &Arc<Reporter>) -> anyhow::Result<()> {
    let (sender, receiver) = bounded(QUEUE_GROUPS);
    let producer = {
        let (job, reporter) = (job.clone(), reporter.clone());
        thread::spawn(move || prepare::prepare(&job, &reporter, &sender))
    };
    let missing = job.old.as_ref().map_or(Missing::new(0, 0), |old| {
        Missing::new(old.file.documents(), old.file.metadata().map_or(0, |metadata| metadata.stale))
    });
    let run = Run::new(job, engine, reporter, missing);
    // After an error the producer is left behind: it may wait for standard input, for as long as it takes.
    run.consume(&receiver)?;
    // It has hung up, so it is done; if by a panic, then not all documents have come.
    producer.join().unwrap_or_else(|panic| resume_unwind(panic));
    Ok(())
}
