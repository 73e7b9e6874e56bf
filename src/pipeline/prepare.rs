//! The first half of the stages: from roots to clean, tokenized documents. It knows nothing of the model.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;
use serde_json::Value;

use super::Job;
use crate::chunk::{Chunk, chunk};
use crate::clean::clean;
use crate::digest::Digest;
use crate::error::{DocumentError, Failure, Lost};
use crate::index::RowKind;
use crate::report::Reporter;
use crate::source::{Document, Found, LeftOut, Origin, Raw};
use crate::tokenize::Encoding;

/// What is read and tokenized side by side.
const GROUP_DOCUMENTS: usize = 256;
const GROUP_BYTES: u64 = 4 << 20;

/// Groups that wait to be read.
const FOUND_GROUPS: usize = 1;

/// A clean document, and how it comes to its vector.
pub(super) struct Ready {
    pub document: Document,
    /// Of its id.
    pub id: Digest,
    pub content: Content,
}

pub(super) enum Content {
    /// The old file has its text.
    Old(u32),
    /// At least one.
    Chunks(Vec<Part>),
}

/// A chunk.
pub(super) struct Part {
    pub span: Range<usize>,
    pub encoding: Encoding,
    /// Of its token ids: what its vector depends on beside the model.
    pub key: Digest,
    /// The row of the old file that has its text, where rows are chunks.
    pub old: Option<u32>,
}

impl Ready {
    pub fn tokens(&self) -> usize {
        match &self.content {
            Content::Old(_) => 0,
            Content::Chunks(parts) => parts.iter().map(|part| part.encoding.len()).sum(),
        }
    }

    pub fn bytes(&self) -> usize {
        let kept = self.document.kept.iter().filter_map(Value::as_str).map(str::len);
        self.document.text.len() + kept.sum::<usize>()
    }
}

/// What the first half of the stages made of something found.
pub(super) enum Prepared {
    Ready(Ready),
    /// With the digest of its id.
    Empty(Digest),
    Failed(Failure),
    /// A failure that does not say of which document, and that the first shard tells.
    Lost(Lost),
    LeftOut(LeftOut),
    /// A root without documents.
    Nothing(String),
}

/// Finds and prepares until there is no more, or nobody listens.
pub(super) fn prepare(job: &Job, reporter: &Reporter, sender: &Sender<Vec<Prepared>>) {
    let (found, groups) = bounded(FOUND_GROUPS);
    thread::scope(|scope| {
        scope.spawn(move || find(job, &found));
        prepare_groups(job, reporter, groups, sender);
    });
}

/// Finds until there is no more, or nobody listens. While a group is read, the next is found.
fn find(job: &Job, groups: &Sender<Vec<Found>>) {
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
    sender: &Sender<Vec<Prepared>>,
) {
    // About as many as the last time: a map that grows has two tables for a while.
    let documents = job.old.as_ref().map_or(0, |old| old.file.documents());
    let mut ids = SeenIds { places: HashMap::with_capacity(documents as usize), files: Vec::new() };
    for group in groups {
        let bytes = group.iter().map(progress).sum();
        let mut prepared: Vec<Prepared> =
            group.into_par_iter().filter_map(|found| prepare_one(found, job)).collect();
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

/// `None` for what is another shard's business. What has no id is the first one's.
fn prepare_one(found: Found, job: &Job) -> Option<Prepared> {
    let is_first = job.shard.is_none_or(|shard| shard.index() == 0);
    match found {
        Found::LeftOut(why) => is_first.then_some(Prepared::LeftOut(why)),
        Found::Failed(failure) => failed(failure, job),
        Found::Nothing(root) => Some(Prepared::Nothing(root)),
        Found::Raw(raw) => read_and_chunk(raw, job).unwrap_or_else(|failure| failed(failure, job)),
    }
}

fn failed(failure: Failure, job: &Job) -> Option<Prepared> {
    match (&failure.lost, job.shard) {
        (Lost::Document(id), _) if !is_own(id, job) => None,
        (Lost::Below(_) | Lost::Unknown, Some(shard)) if shard.index() > 0 => {
            Some(Prepared::Lost(failure.lost))
        }
        _ => Some(Prepared::Failed(failure)),
    }
}

fn is_own(id: &str, job: &Job) -> bool {
    job.shard.is_none_or(|shard| shard.has(Digest::of(id)))
}

fn read_and_chunk(raw: Raw, job: &Job) -> Result<Option<Prepared>, Failure> {
    if raw.id().is_some_and(|id| !is_own(id, job)) {
        return Ok(None);
    }
    let mut document = raw.read(&job.reading)?;
    if !is_own(&document.id, job) {
        return Ok(None);
    }
    let id = Digest::of(&document.id);
    document.text = clean(&document.text);
    if document.text.is_empty() {
        return Ok(Some(Prepared::Empty(id)));
    }
    let old = job.old.as_ref().filter(|old| old.is_reused).map(|old| &old.file);
    let document_there = old.and_then(|old| old.document(id));
    let row_of = |text: &str| old?.row_of_text(Digest::of(text), document_there);
    if job.rows == RowKind::Documents
        && let Some(row) = row_of(&document.text)
    {
        return Ok(Some(Prepared::Ready(Ready { document, id, content: Content::Old(row) })));
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
    Ok(Some(Prepared::Ready(Ready { document, id, content })))
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
