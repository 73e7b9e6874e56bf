//! Finds documents below the roots on a separate thread, reads them in parallel with rayon, cleans the texts, and refuses
//! duplicate ids.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::{iter, mem, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use rayon::prelude::*;

use super::ahead::Ahead;
use crate::console::counted;
use crate::digest::Digest;
use crate::error::{DocumentError, Failure, Lost};
use crate::shard::Shard;
use crate::source::{Document, Found, LeftOut, Origin, Raw, RawFile, Reading, Roots, documents};

/// Limit on the documents per group. The documents of a group are read in parallel.
const GROUP_DOCUMENTS: usize = 256;

/// A group is complete when its documents have at least this many bytes, as counted by [`Raw::size`].
const GROUP_BYTES: u64 = 4 << 20;

/// Limit on the groups that wait to be read.
const FOUND_GROUPS: usize = 1;

/// The places to find documents in, and the settings for reading them.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub roots: &'a Roots,
    pub reading: &'a Reading,
    /// The shard to read; `None` to read all documents.
    pub shard: Option<Shard>,
}

/// The outcome of reading one item that was found below the roots.
pub enum ReadDocument {
    /// A document with its clean text, which may be empty, and the digest of its id.
    Document(Document, Digest),
    /// A failure to read a file, folder or row.
    Failed(Failure),
    /// A failure that names no document, in a shard after the first shard. In the first shard, such a failure is `Failed`.
    Unassigned(Failure),
    /// A file or folder that was skipped.
    LeftOut(LeftOut),
    /// The digest of the path that a `.ignore` or `.gitignore` excludes. Every shard gets it, and the first one also gets the count.
    Ignored(Digest),
    /// A root that contains no documents.
    Nothing(String),
}

/// Reads the documents of the shard, group by group and in the order of the inputs. If two documents with text
/// have the same id, the second document is returned as a failure.
pub fn read(roots: Roots, reading: Reading, shard: Option<Shard>) -> Ahead<Vec<ReadDocument>> {
    Ahead::start(move |sender| {
        let inputs = Inputs { roots: &roots, reading: &reading, shard };
        groups(inputs, |groups| read_groups(inputs, groups, sender));
    })
}

fn read_groups(inputs: Inputs, groups: Receiver<Vec<Found>>, sender: &Sender<Vec<ReadDocument>>) {
    let mut ids = SeenIds::with_capacity(0);
    for group in groups {
        let mut read: Vec<ReadDocument> =
            group.into_par_iter().flat_map_iter(|found| read_all(found, inputs)).collect();
        for item in &mut read {
            if let ReadDocument::Document(document, id) = item
                && !document.content.text().is_empty()
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

/// Finds documents on a separate thread. Calls `take` with the receiver of the found documents, which arrive in groups. While
/// `take` works on one group, the thread finds the next group.
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

/// Reads one item that was found, and the files inside of it, such as the attachments of a mail. Leaves out documents of other
/// shards. In every shard after the first shard, leaves out skipped files, and returns [`ReadDocument::Unassigned`] for a failure
/// that names no document.
pub(super) fn read_all(found: Found, inputs: Inputs) -> Vec<ReadDocument> {
    let mut read = Vec::new();
    // The items that are left at each depth.
    let mut left: Vec<Box<dyn Iterator<Item = Found>>> = vec![Box::new(iter::once(found))];
    while let Some(items) = left.last_mut() {
        match items.next() {
            None => drop(left.pop()),
            Some(Found::Raw(raw)) => match read_raw(raw, inputs) {
                Ok((document, attached, unread)) => {
                    read.extend(document);
                    // A mail is read in every shard, a page in the shard of its file.
                    let counts = |why: &LeftOut| *why == LeftOut::Page || inputs.is_first();
                    read.extend(unread.into_iter().filter(counts).map(ReadDocument::LeftOut));
                    let open = |file| documents(file, false, inputs.reading);
                    left.push(Box::new(attached.into_iter().flat_map(open)));
                }
                Err(failure) => read.extend(failed(failure, inputs)),
            },
            Some(Found::LeftOut(why)) => {
                read.extend(inputs.is_first().then_some(ReadDocument::LeftOut(why)));
            }
            Some(Found::Ignored(path)) => {
                read.extend(inputs.is_first().then_some(ReadDocument::LeftOut(LeftOut::Excluded)));
                read.push(ReadDocument::Ignored(Digest::of(path.as_bytes())));
            }
            Some(Found::Failed(failure)) => read.extend(failed(failure, inputs)),
            Some(Found::Nothing(root)) => read.push(ReadDocument::Nothing(root)),
        }
    }
    read
}

/// A document, unless it belongs to another shard, the files inside of it, and why other parts of it are not read.
type Item = (Option<ReadDocument>, Vec<RawFile>, Vec<LeftOut>);

fn read_raw(raw: Raw, inputs: Inputs) -> Result<Item, Failure> {
    if raw.id().is_some_and(|id| !inputs.have(Digest::of(id))) {
        return Ok((None, Vec::new(), Vec::new()));
    }
    let mut document = raw.read(inputs.reading)?;
    let (attached, unread) = (mem::take(&mut document.attached), mem::take(&mut document.unread));
    let id = Digest::of(&document.id);
    if !inputs.have(id) {
        return Ok((None, attached, unread));
    }
    // All of them have the same reason, because no mail has pages.
    if let Some(why) = unread.first() {
        why.tell(|| {
            (document.place(), format!("{} ({})", counted(unread.len() as u64, "part"), why.reason()))
        });
    }
    document.content = document.content.clean();
    if inputs.reading.wants_title && document.title.as_ref().is_none_or(String::is_empty) {
        document.title = document.content.first_heading().map(str::to_owned);
    }
    Ok((Some(ReadDocument::Document(document, id)), attached, unread))
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
    fn is_first(&self) -> bool {
        self.shard.is_none_or(|shard| shard.index() == 0)
    }

    fn have(&self, id: Digest) -> bool {
        self.shard.is_none_or(|shard| shard.has(id))
    }
}

/// The ids of all documents so far, to find duplicate ids. The entry of an id has 24 bytes: 16 for the digest of the id, and 8
/// for the origin of the first document with this id.
pub(super) struct SeenIds {
    places: HashMap<Digest, FirstUse>,
    files: Vec<Arc<Path>>,
}

/// The origin of the first document with an id, in 8 bytes.
#[derive(Clone, Copy)]
struct FirstUse {
    /// An index into [`SeenIds::files`].
    file: u32,
    line: Option<NonZeroU32>,
}

impl SeenIds {
    /// Makes an empty set with room for the ids of `documents` documents. Without this room, the map would have to grow, and a
    /// map that grows needs memory for two tables at the same time.
    pub fn with_capacity(documents: usize) -> Self {
        SeenIds { places: HashMap::with_capacity(documents), files: Vec::new() }
    }

    /// Records the id of a document. Returns a failure if an earlier document has the same id.
    pub fn check(&mut self, document: &Document, id: Digest) -> Option<Failure> {
        let here = self.place(&document.origin);
        let first = match self.places.entry(id) {
            Entry::Occupied(first) => *first.get(),
            Entry::Vacant(place) => {
                place.insert(here);
                return None;
            }
        };
        let first = self.origin(first).place(&document.id);
        let cause = DocumentError::DuplicateId { id: document.id.clone(), first };
        Some(Failure { place: document.place(), cause, lost: Lost::Nothing })
    }

    // The index of a file fits into 32 bits, because 2^32 paths do not fit into memory.
    #[allow(clippy::cast_possible_truncation)]
    fn place(&mut self, origin: &Origin) -> FirstUse {
        // Documents of one file, or below one root, arrive directly after each other, so comparing with the latest file is
        // enough.
        if !self.files.last().is_some_and(|file| Arc::ptr_eq(file, &origin.file)) {
            self.files.push(origin.file.clone());
        }
        // Line numbers begin at 1.
        let line = origin.line.and_then(|line| NonZeroU32::new(u32::try_from(line).unwrap_or(u32::MAX)));
        FirstUse { file: self.files.len() as u32 - 1, line }
    }

    fn origin(&self, place: FirstUse) -> Origin {
        let line = place.line.map(|line| u64::from(line.get()));
        Origin { file: self.files[place.file as usize].clone(), line }
    }
}
