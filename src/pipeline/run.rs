//! Runs the stages of a build that belong to the calling thread: receives prepared documents, hands their chunks to the
//! devices, and writes rows in the order of the documents.

use std::collections::{HashSet, VecDeque};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use std::{thread, vec};

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded, never, select};

use super::account::Account;
use super::chunk_store::ChunkStore;
use super::emit::{emit_stale, finish};
use super::job::{Engine, Job};
use super::journal::Journal;
use super::origins::{VectorOrigins, told};
use super::pending::{Pending, PendingChunk, PendingDocument, PendingVectors};
use super::prepare::{self, PreparedChunk, PreparedDocument, Ready, VectorSource};
use super::queue::{Outcome, Queue};
use super::step::{Awaited, Devices, RowsState, State, Step};
use super::tally::Work;
use super::window::{Window, WindowSize};
use crate::console::{Reporter, debug, trace};
use crate::digest::Digest;
use crate::error::NoVector;
use crate::index::{Row, Vector};
use crate::interrupt;
use crate::text::tokenize::Encoding;
use crate::vector::batch::{Batch, ChunkKey, plan};
use crate::vector::embedder::Embedder;
use crate::vector::embedding::Embedding;

/// Limit on the groups of prepared documents that wait for the calling thread.
const QUEUE_GROUPS: usize = 2;

/// How often to check for an interrupt while waiting.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// Limit on the documents per write while devices work. Without this limit, compressing the rows of a whole window could take
/// longer than the devices need for their batches, and the devices would wait.
const EMITTED_DOCUMENTS: usize = 1024;

/// How long a dry run uses the model to measure the speed.
const TRIAL: Duration = Duration::from_secs(3);

/// Builds an index: passes every document below the roots through all stages. The sink receives the rows in the order in which
/// the documents were found. After all other rows, the sink receives the stale rows: rows of the old file for documents that
/// cannot be read in this run.
///
/// # Errors
/// The tokenizer, the engine or the sink failed; the run was interrupted; a root contains no documents, or too many documents of the old file
/// are gone, and the settings do not allow this. The failure of a single document is not an error: the run counts and reports the
/// failure, and continues.
pub fn run(job: &Arc<Job>, engine: Engine, reporter: &Arc<Reporter>) -> anyhow::Result<()> {
    debug(|| format!("documents are read by {} threads", rayon::current_num_threads()));
    let (sender, groups) = bounded(QUEUE_GROUPS);
    let producer = {
        let (job, reporter) = (job.clone(), reporter.clone());
        thread::spawn(move || prepare::prepare(&job, &reporter, &sender))
    };
    let mut run = Run::new(job, engine, reporter, groups);
    let done = run.run();
    if done.is_err() {
        run.stop();
    }
    // After an error, this function does not wait for the producer, because the producer may wait for standard input forever.
    done?;
    // The producer has closed the channel, so the producer is about to end. If the producer panicked, documents are missing, so
    // its panic is passed on.
    producer.join().unwrap_or_else(|panic| resume_unwind(panic));
    Ok(())
}

struct Run<'a> {
    job: &'a Job,
    reporter: &'a Reporter,
    load: &'a mut dyn FnMut() -> anyhow::Result<Vec<Box<dyn Embedder>>>,
    journal: &'a mut Journal,
    chunk_store: &'a mut ChunkStore,
    sink: &'a mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
    work: &'a mut Work,
    account: Account<'a>,
    groups: Receiver<anyhow::Result<Vec<PreparedDocument>>>,
    /// The documents of the latest group that are not in the window yet.
    arrived: vec::IntoIter<PreparedDocument>,
    /// Whether all groups have arrived.
    is_end: bool,
    window: Window,
    /// The batches of the latest plan that have not been handed to a device yet.
    batches: VecDeque<Batch>,
    /// The batches for the devices; `None` until a plan needs the model.
    queue: Option<Queue>,
    pending: Pending,
    are_rows_due: bool,
    /// In a dry run, the digests of the token ids of all chunks that were put into a window. Equal chunks are planned only once,
    /// as in a real run.
    planned: HashSet<Digest>,
    /// Where the vectors of all documents so far come from.
    origins: VectorOrigins,
}

impl<'a> Run<'a> {
    fn new<'e: 'a>(
        job: &'a Job,
        engine: Engine<'e>,
        reporter: &'a Reporter,
        groups: Receiver<anyhow::Result<Vec<PreparedDocument>>>,
    ) -> Self {
        let Engine { load, journal, chunk_store, sink, documents, work } = engine;
        Run {
            job,
            reporter,
            load,
            journal,
            chunk_store,
            sink,
            work,
            account: Account::new(job, reporter, documents),
            groups,
            arrived: Vec::new().into_iter(),
            is_end: false,
            window: Window::default(),
            batches: VecDeque::new(),
            queue: None,
            pending: Pending::default(),
            are_rows_due: false,
            planned: HashSet::new(),
            origins: VectorOrigins::default(),
        }
    }

    fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let state = self.state();
            match state.next() {
                Step::HandIn => self.hand_in(),
                Step::Plan => self.plan()?,
                Step::Fill => self.fill()?,
                Step::Emit => {
                    self.emit()?;
                    if let Some(awaited) = state.awaited() {
                        self.receive(awaited, Duration::ZERO)?;
                    }
                }
                Step::Wait(awaited) => self.receive(awaited, CHECK_EVERY)?,
                Step::Done => break,
            }
        }
        assert!(self.pending.is_empty(), "every document has come out");
        debug(|| format!("vectors of chunks: {}", self.origins));
        if let Some(stale) = self.account.stale()? {
            emit_stale(&stale, self.job, self.reporter, self.chunk_store, self.sink)?;
        }
        Ok(())
    }

    fn state(&self) -> State {
        State {
            has_arrived: self.arrived.len() > 0,
            is_end: self.is_end,
            window: self.window.state(),
            has_chunks: self.window.has_chunks(),
            has_batches: !self.batches.is_empty(),
            devices: self.queue.as_ref().map_or(Devices::NotStarted, Queue::state),
            rows: match self.pending.is_first_ready() {
                true if self.are_rows_due => RowsState::Due,
                true => RowsState::Ready,
                false => RowsState::NotReady,
            },
        }
    }

    /// Waits for the devices after an error, and writes their vectors to the journal, so that the next run need not make these
    /// vectors again.
    fn stop(&mut self) {
        for outcome in self.queue.take().map_or_else(Vec::new, Queue::stop) {
            for (key, vector) in outcome.embedded.into_iter().flatten() {
                // Errors are ignored, because the run already ends with its first error. The next run makes the lost vectors
                // again.
                let _ = vector.map(|vector| self.keep(key, &vector));
            }
        }
    }

    /// Receives one group or one outcome. Waits for at most `timeout`.
    fn receive(&mut self, awaited: Awaited, timeout: Duration) -> anyhow::Result<()> {
        let no_groups = never();
        let groups = if awaited == Awaited::Vectors { &no_groups } else { &self.groups };
        let outcomes = self.queue.as_ref().map_or_else(never, |queue| queue.outcomes().clone());
        select! {
            recv(groups) -> group => match group {
                Ok(group) => self.arrived = group?.into_iter(),
                Err(_) => self.is_end = true,
            },
            recv(outcomes) -> outcome => if let Ok(outcome) = outcome {
                self.take(outcome)?;
            },
            default(timeout) => {}
        }
        if let Some(queue) = &mut self.queue {
            queue.check();
        }
        Ok(interrupt::check()?)
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        while !self.window.is_full()
            && let Some(item) = self.arrived.next()
        {
            interrupt::check()?;
            if let Some(ready) = self.account.count(item)? {
                self.add(ready)?;
            }
        }
        Ok(())
    }

    /// Adds a document to the window. Looks for the vectors of the document's chunks, and lets the chunks without a vector wait
    /// for the model.
    fn add(&mut self, ready: Ready) -> anyhow::Result<()> {
        self.window.add_document(ready.tokens(), ready.bytes());
        let Ready { document, id, content, .. } = ready;
        let mut is_new = false;
        let mut origins = VectorOrigins::default();
        let vectors = match content {
            VectorSource::Old(row, size) => {
                origins.old_output += 1;
                self.account.has_text_of(row);
                PendingVectors::Old(row, size)
            }
            VectorSource::Chunks(prepared) => {
                let mut chunks = Vec::with_capacity(prepared.len());
                let mut missing = 0;
                for PreparedChunk { place, encoding, digest, old } in prepared {
                    let vector = self.find_vector(&digest, old, &mut origins)?;
                    if vector.is_some() {
                        self.reporter.not_needed(encoding.len());
                    } else if self.is_done_dry(&digest) {
                        origins.equal_text += 1;
                        self.reporter.not_needed(encoding.len());
                    } else {
                        let key = ChunkKey { document: self.pending.next_number(), chunk: chunks.len() };
                        let is_first = self.want(key, digest, encoding);
                        *(if is_first { &mut origins.model } else { &mut origins.equal_text }) += 1;
                        is_new |= is_first;
                        missing += 1;
                    }
                    chunks.push(PendingChunk { place, digest, vector: vector.map(Ok) });
                }
                PendingVectors::Chunks { chunks, missing }
            }
        };
        self.origins += origins;
        trace(|| told(&document, &vectors, origins, self.account.not_reused(id)));
        let has_all = self.pending.push(PendingDocument { document, id, vectors, is_new });
        self.reporter.documents_done(usize::from(has_all));
        Ok(())
    }

    /// Returns the vector of a chunk if the old file, the journal or the chunk store has the vector, and counts its origin.
    fn find_vector(
        &mut self,
        digest: &Digest,
        old: Option<u32>,
        origins: &mut VectorOrigins,
    ) -> anyhow::Result<Option<Vector>> {
        if let Some(row) = old {
            origins.old_output += 1;
            self.account.has_text_of(row);
            return Ok(Some(Vector::Old(row)));
        }
        if let Some(vector) = self.journal.get(digest).map_err(|e| self.journal.cannot_read(&e))? {
            let is_resumed = self.journal.is_resumed(digest);
            *(if is_resumed { &mut origins.interrupted_run } else { &mut origins.equal_text }) += 1;
            return Ok(Some(Vector::New(vector)));
        }
        let found = self.chunk_store.get(digest);
        origins.chunk_store += u64::from(found.is_some());
        Ok(found.map(Vector::New))
    }

    /// Returns whether a dry run has already planned and completed a chunk with these token ids. The journal does not have the
    /// vector, because a dry run writes no vectors to the journal.
    fn is_done_dry(&self, digest: &Digest) -> bool {
        self.planned.contains(digest) && !self.pending.is_awaited(digest)
    }

    /// Lets a chunk wait for a vector of the model. Returns whether this chunk is the first that waits for this vector.
    fn want(&mut self, key: ChunkKey, digest: Digest, encoding: Encoding) -> bool {
        let is_first = self.pending.wait(key, digest);
        if is_first {
            if self.job.is_dry {
                self.planned.insert(digest);
            }
            self.window.add_chunk(key, encoding);
        } else {
            self.reporter.not_needed(encoding.len());
        }
        is_first
    }

    fn plan(&mut self) -> anyhow::Result<()> {
        self.are_rows_due = self.pending.is_first_ready();
        let chunks = self.window.take();
        if chunks.is_empty() {
            return Ok(());
        }
        let queue = match self.queue.take() {
            Some(queue) => queue,
            None => Queue::start((self.load)()?),
        };
        let batch_tokens = self.job.batch_tokens.unwrap_or(queue.batch_tokens);
        self.window.resize(WindowSize::for_batches(batch_tokens));
        self.batches = plan(chunks, queue.batching, batch_tokens).into();
        self.queue = Some(queue);
        Ok(())
    }

    fn hand_in(&mut self) {
        while let Some(queue) = self.queue.as_mut().filter(|queue| !queue.is_full())
            && let Some(batch) = self.batches.pop_front()
        {
            self.work.chunks += batch.len() as u64;
            self.work.tokens += batch.tokens() as u64;
            if self.job.is_dry && self.work.embedding >= TRIAL {
                // A dry run makes no rows, so any result completes the chunk.
                for key in batch.keys() {
                    let completed = self.pending.fill(key, Err(NoVector::NotFinite));
                    self.reporter.documents_done(completed);
                }
            } else {
                queue.push(batch);
            }
        }
    }

    /// Processes the outcome of a batch: writes the vectors to the journal, passes them to the waiting chunks, and updates the
    /// counts.
    fn take(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        let devices = self.queue.as_mut().map_or(1, |queue| {
            queue.count_taken();
            queue.devices()
        });
        let Outcome { first, chunks, tokens, time, embedded, batch_limit } = outcome;
        let embedded = embedded.with_context(|| {
            let place = self.pending.place(first.document);
            match chunks {
                1 => format!("{place}: cannot be embedded"),
                _ => format!("{place} and {} more texts: cannot be embedded", chunks - 1),
            }
        })?;
        self.work.embedding += time.div_f64(devices as f64);
        self.work.tokens_timed += tokens as u64;
        for (key, vector) in embedded {
            if let Ok(vector) = &vector {
                self.keep(key, vector)?;
            }
            let completed = self.pending.fill(key, vector);
            self.reporter.documents_done(completed);
        }
        self.reporter.embedded(tokens);
        if let Some(tokens) = batch_limit {
            self.reporter.warn(&format!(
                "a batch of this size is too large for the device: from now on, a batch has at most {tokens} tokens"
            ));
        }
        Ok(())
    }

    /// Writes a vector to the journal, so that no later run has to make the vector again.
    fn keep(&mut self, key: ChunkKey, vector: &Embedding) -> anyhow::Result<()> {
        if self.job.is_dry {
            return Ok(());
        }
        let digest = self.pending.digest(key);
        self.journal.push(digest, vector).map_err(|e| self.journal.cannot_write(&e))
    }

    /// Writes the rows of the first pending documents, up to the first document that still lacks a vector. Writes many rows at a
    /// time, because each read of vectors from the old file reads whole pages.
    fn emit(&mut self) -> anyhow::Result<()> {
        let most = if self.state().devices.are_working() { EMITTED_DOCUMENTS } else { usize::MAX };
        let mut rows = Vec::new();
        for _ in 0..most {
            let Some(document) = self.pending.pop_ready() else { break };
            rows.extend(finish(document, self.job, self.chunk_store, &mut self.account));
        }
        self.are_rows_due &= self.pending.is_first_ready();
        (self.sink)(rows)
    }
}
