//! From roots to clean documents, each with an id that no other has: finding and reading, of which a thread and rayon take
//! care. What a run is about to do with them is not known here.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::ahead::Ahead;
use crate::digest::Digest;
use crate::error::{DocumentError, Failure, Lost};
use crate::shard::Shard;
use crate::source::{Document, Found, LeftOut, Origin, Raw, Reading, Roots};
use crate::text::clean::clean;

/// What is read side by side.
const GROUP_DOCUMENTS: usize = 256;
const GROUP_BYTES: u64 = 4 << 20;

/// Groups that wait to be read.
const FOUND_GROUPS: usize = 1;

/// Which documents there are, and how they are read.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub roots: &'a Roots,
    pub reading: &'a Reading,
    /// Which of them are taken; `None` for all.
    pub shard: Option<Shard>,
}

/// What became of something found.
pub enum ReadDocument {
    /// A document with a clean text, which may be empty, and the digest of its id.
    Document(Document, Digest),
    /// What should have been one.
    Failed(Failure),
    /// A failure that does not say of which document, and that the first shard counts.
    Unassigned(Failure),
    /// No document by rule.
    LeftOut(LeftOut),
    /// A root without documents.
    Nothing(String),
}

/// Reads all documents below the roots that are the shard's, group by group and in their order. Those with texts have
/// different ids.
pub fn read(roots: Roots, reading: Reading, shard: Option<Shard>) -> Ahead<Vec<ReadDocument>> {
    Ahead::start(move |sender| {
        let inputs = Inputs { roots: &roots, reading: &reading, shard };
        groups(inputs, |groups| read_groups(inputs, groups, sender));
    })
}

fn read_groups(inputs: Inputs, groups: Receiver<Vec<Found>>, sender: &Sender<Vec<ReadDocument>>) {
    let mut ids = SeenIds::of_about(0);
    for group in groups {
        let mut read: Vec<ReadDocument> =
            group.into_par_iter().filter_map(|found| read_one(found, inputs)).collect();
        for item in &mut read {
            if let ReadDocument::Document(document, id) = item
                && !document.text.is_empty()
                && let Some(doubled) = ids.check(document, *id)
            {
                *item = ReadDocument::Failed(doubled);
            }
        }
        if sender.send(read).is_err() {
            return;
        }
    }
}

/// Finds until there is no more, or nobody takes it. While a group is read, the next is found.
pub(super) fn groups(inputs: Inputs, take: impl FnOnce(Receiver<Vec<Found>>)) {
    let (found, groups) = bounded(FOUND_GROUPS);
    thread::scope(|scope| {
        scope.spawn(move || find(inputs, &found));
        take(groups);
    });
}

fn find(inputs: Inputs, groups: &Sender<Vec<Found>>) {
    let mut found = inputs.roots.documents(inputs.reading);
    loop {
        let mut group = group(&mut found);
        for item in &mut group {
            if let Found::Raw(raw) = item
                && raw.id().is_none_or(|id| inputs.have(Digest::of(id)))
            {
                raw.begin();
            }
        }
        if group.is_empty() || groups.send(group).is_err() {
            return;
        }
    }
}

fn group(found: &mut impl Iterator<Item = Found>) -> Vec<Found> {
    let mut group = Vec::new();
    let mut bytes = 0;
    while group.len() < GROUP_DOCUMENTS && bytes < GROUP_BYTES {
        let Some(next) = found.next() else { break };
        bytes += if let Found::Raw(raw) = &next { raw.size() } else { 0 };
        group.push(next);
    }
    group
}

/// `None` for what is another shard's business. What has no id is the first one's.
pub(super) fn read_one(found: Found, inputs: Inputs) -> Option<ReadDocument> {
    let is_first = inputs.shard.is_none_or(|shard| shard.index() == 0);
    match found {
        Found::LeftOut(why) => is_first.then_some(ReadDocument::LeftOut(why)),
        Found::Failed(failure) => failed(failure, inputs),
        Found::Nothing(root) => Some(ReadDocument::Nothing(root)),
        Found::Raw(raw) => read_raw(raw, inputs).unwrap_or_else(|failure| failed(failure, inputs)),
    }
}

fn read_raw(raw: Raw, inputs: Inputs) -> Result<Option<ReadDocument>, Failure> {
    if raw.id().is_some_and(|id| !inputs.have(Digest::of(id))) {
        return Ok(None);
    }
    let mut document = raw.read(inputs.reading)?;
    let id = Digest::of(&document.id);
    if !inputs.have(id) {
        return Ok(None);
    }
    document.text = clean(&document.text);
    Ok(Some(ReadDocument::Document(document, id)))
}

fn failed(failure: Failure, inputs: Inputs) -> Option<ReadDocument> {
    match (&failure.lost, inputs.shard) {
        (Lost::Document(id), _) if !inputs.have(Digest::of(id.as_bytes())) => None,
        (Lost::Below(_) | Lost::Unknown, Some(shard)) if shard.index() > 0 => {
            Some(ReadDocument::Unassigned(failure))
        }
        _ => Some(ReadDocument::Failed(failure)),
    }
}

impl Inputs<'_> {
    fn have(&self, id: Digest) -> bool {
        self.shard.is_none_or(|shard| shard.has(id))
    }
}

/// Ids that have been given away, and where: for each document the digest of its id, and its origin in 8 bytes.
pub(super) struct SeenIds {
    places: HashMap<Digest, FirstUse>,
    files: Vec<Arc<Path>>,
}

/// An [`Origin`] whose file is one of [`SeenIds::files`]. Line 0 stands for none.
#[derive(Clone, Copy)]
struct FirstUse {
    file: u32,
    line: u32,
}

impl SeenIds {
    /// None yet. A map that grows has two tables for a while, so it is good to know how many there will be.
    pub fn of_about(documents: usize) -> Self {
        SeenIds { places: HashMap::with_capacity(documents), files: Vec::new() }
    }

    /// A document with a doubled id is a failure.
    pub fn check(&mut self, document: &Document, id: Digest) -> Option<Failure> {
        let place = self.place(&document.origin);
        let first = self.places.insert(id, place)?;
        self.places.insert(id, first);
        let first = self.origin(first).place(&document.id);
        let cause = DocumentError::DuplicateId { id: document.id.clone(), first };
        Some(Failure { place: document.place(), cause, lost: Lost::Nothing })
    }

    fn place(&mut self, origin: &Origin) -> FirstUse {
        // Documents of one file, or below one root, come one after the other.
        if !self.files.last().is_some_and(|file| Arc::ptr_eq(file, &origin.file)) {
            self.files.push(origin.file.clone());
        }
        let line = origin.line.map_or(0, |line| u32::try_from(line).unwrap_or(u32::MAX));
        FirstUse { file: self.files.len() as u32 - 1, line }
    }

    fn origin(&self, place: FirstUse) -> Origin {
        let line = (place.line > 0).then_some(u64::from(place.line));
        Origin { file: self.files[place.file as usize].clone(), line }
    }
}
