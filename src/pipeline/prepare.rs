//! Runs the stages before the model: reads and cleans documents, looks for vectors in the old file, and splits texts into
//! tokenized chunks. The documents of a group are prepared in parallel with rayon.

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;
use serde_json::Value;

use super::intake::{ReadDocument, SeenIds, groups, read_all};
use super::job::{DocumentSize, Job};
use crate::console::{Reporter, trace};
use crate::digest::Digest;
use crate::error::{Failure, Lost};
use crate::index::{IndexFile, RowKind};
use crate::source::{Document, Found, LeftOut};
use crate::text::chunk::{Chunk, ChunkPlace, chunk, context_text, heading_text};
use crate::text::tokenize::{Encoding, Tokenizer};

/// A document with a text that is not empty after cleaning.
pub(super) struct Ready {
    pub document: Document,
    /// The digest of the document's id.
    pub id: Digest,
    pub content: VectorSource,
    /// The rows of the old file that have the text of the document, or of its chunks. Only set if no vector of the old file may be
    /// used; otherwise `content` has such rows.
    pub same_text: Vec<u32>,
}

/// The source of a document's vector.
pub(super) enum VectorSource {
    /// The row of the old file that has the document's text, and the size of the document if the new file has it.
    Old(u32, DocumentSize),
    /// The chunks of the document's text, at least one.
    Chunks(Vec<PreparedChunk>),
}

pub(super) struct PreparedChunk {
    pub place: ChunkPlace,
    pub encoding: Encoding,
    /// The digest of the chunk's token ids. The vector depends only on the token ids and on the model.
    pub digest: Digest,
    /// The row of the old file that has the chunk's text; `None` if there is no such row, or if rows are documents.
    pub old: Option<u32>,
}

impl Ready {
    /// Returns the number of tokens in all chunks of the document.
    pub fn tokens(&self) -> usize {
        match &self.content {
            VectorSource::Old(..) => 0,
            VectorSource::Chunks(chunks) => chunks.iter().map(|chunk| chunk.encoding.len()).sum(),
        }
    }

    /// Returns the number of bytes of the document's text and kept strings.
    pub fn bytes(&self) -> usize {
        let kept = self.document.kept.iter().filter_map(Value::as_str).map(str::len);
        self.document.content.text().len() + kept.sum::<usize>()
    }
}

/// The outcome of preparing one item that was found below the roots.
pub(super) enum PreparedDocument {
    Ready(Ready),
    /// A document with a text that is empty after cleaning. Contains the digest of the document's id.
    Empty(Digest),
    Failed(Failure),
    /// A failure that names no document, in a shard after the first shard.
    Unassigned(Failure),
    LeftOut(LeftOut),
    /// The digest of the path that a `.ignore` or `.gitignore` excludes.
    Ignored(Digest),
    /// A root that contains no documents.
    Nothing(String),
}

/// An item that was found below the roots, after the search of the old file.
enum LookedUp {
    Prepared(PreparedDocument),
    /// A document whose text has to be split into chunks, and the digest of its id.
    Unsplit(Document, Digest),
}

impl LookedUp {
    fn split_with(self, tokenizer: &Tokenizer, job: &Job) -> PreparedDocument {
        match self {
            LookedUp::Prepared(prepared) => prepared,
            LookedUp::Unsplit(document, id) => split(document, id, job, tokenizer),
        }
    }
}

/// Finds and prepares documents, and sends them group by group. Returns when all groups have been sent, or when
/// the receiver has been dropped. Sends the error instead of a group, and returns, if the tokenizer cannot be loaded.
pub(super) fn prepare(
    job: &Job,
    reporter: &Reporter,
    sender: &Sender<anyhow::Result<Vec<PreparedDocument>>>,
) {
    groups(job.inputs(), |groups| prepare_groups(job, reporter, groups, sender));
    reporter.all_found();
}

fn prepare_groups(
    job: &Job,
    reporter: &Reporter,
    groups: Receiver<Vec<Found>>,
    sender: &Sender<anyhow::Result<Vec<PreparedDocument>>>,
) {
    // This run will probably find about as many documents as the old file has.
    let documents = job.old.index().map_or(0, |old| old.file.documents());
    let mut ids = SeenIds::with_capacity(documents as usize);
    let mut tokenizer = None;
    for group in groups {
        let bytes = group.iter().map(progress).sum();
        let mut prepared = match prepare_group(group, job, &mut tokenizer) {
            Ok(prepared) => prepared,
            Err(error) => {
                // Without a receiver, the run has ended already.
                let _ = sender.send(Err(error));
                return;
            }
        };
        for item in &mut prepared {
            if let PreparedDocument::Ready(Ready { document, id, .. }) = item
                && let Some(doubled) = ids.check(document, *id)
            {
                *item = PreparedDocument::Failed(doubled);
            }
        }
        let tokens = prepared
            .iter()
            .map(|item| if let PreparedDocument::Ready(ready) = item { ready.tokens() } else { 0 })
            .sum();
        reporter.found(prepared.iter().filter(|item| matches!(item, PreparedDocument::Ready(_))).count());
        reporter.prepared(bytes, tokens);
        if sender.send(Ok(prepared)).is_err() {
            return;
        }
    }
}

fn progress(found: &Found) -> u64 {
    if let Found::Raw(raw) = found { raw.progress() } else { 0 }
}

/// Prepares the documents of a group. Loads the tokenizer when it is needed for the first time. That happens in this thread, after
/// the documents of the group have been read, so that no thread of rayon waits for it.
fn prepare_group(
    group: Vec<Found>,
    job: &Job,
    tokenizer: &mut Option<Tokenizer>,
) -> anyhow::Result<Vec<PreparedDocument>> {
    let group = group
        .into_par_iter()
        .flat_map_iter(|found| read_all(found, job.inputs()).into_iter().map(|read| look_up(read, job)));
    if let Some(tokenizer) = tokenizer {
        return Ok(group.map(|item| item.split_with(tokenizer, job)).collect());
    }
    let group: Vec<LookedUp> = group.collect();
    if group.iter().any(|item| matches!(item, LookedUp::Unsplit(..))) {
        let tokenizer = tokenizer.insert((job.tokenizer)()?);
        return Ok(group.into_par_iter().map(|item| item.split_with(tokenizer, job)).collect());
    }
    let prepared = |item| if let LookedUp::Prepared(prepared) = item { Some(prepared) } else { None };
    Ok(group.into_iter().filter_map(prepared).collect())
}

/// If rows are documents, looks for the text of a document in the old file.
fn look_up(read: ReadDocument, job: &Job) -> LookedUp {
    let prepared = match read {
        ReadDocument::Document(document, id) => match row_of(&document, id, job) {
            _ if document.content.text().is_empty() => {
                trace(|| (format!("{}: {}; empty", document.place(), document.told()), document.details()));
                PreparedDocument::Empty(id)
            }
            Some(row) => match known_size(row, job) {
                Some(size) => of_old(document, id, row, size),
                None => return LookedUp::Unsplit(document, id),
            },
            None => return LookedUp::Unsplit(document, id),
        },
        ReadDocument::Failed(failure) => PreparedDocument::Failed(failure),
        ReadDocument::Unassigned(failure) => PreparedDocument::Unassigned(failure),
        ReadDocument::LeftOut(why) => PreparedDocument::LeftOut(why),
        ReadDocument::Ignored(path) => PreparedDocument::Ignored(path),
        ReadDocument::Nothing(root) => PreparedDocument::Nothing(root),
    };
    LookedUp::Prepared(prepared)
}

/// Returns the row of the old file that has the vector of a document; `None` if there is none, or if rows are chunks.
fn row_of(document: &Document, id: Digest, job: &Job) -> Option<u32> {
    let old = reusable(job).filter(|_| job.rows == RowKind::Documents)?;
    old.row_with_vector(Digest::of(document.content.text()), old.document(id))
}

/// Returns the size of the document in a row of the old file, or any size if the new file has no sizes. Returns `None` if the text has to
/// be split to know its size.
fn known_size(row: u32, job: &Job) -> Option<DocumentSize> {
    let known = job.old_sizes.as_ref().and_then(|sizes| sizes.get(row as usize)).copied();
    known.or_else(|| (!job.wants_sizes()).then(DocumentSize::default))
}

fn of_old(document: Document, id: Digest, row: u32, size: DocumentSize) -> PreparedDocument {
    PreparedDocument::Ready(Ready {
        document,
        id,
        content: VectorSource::Old(row, size),
        same_text: Vec::new(),
    })
}

/// Returns the old file, if its vectors may be used.
fn reusable(job: &Job) -> Option<&IndexFile> {
    job.old.index().filter(|old| old.has_vectors() && !job.is_rebuild).map(|old| &old.file)
}

/// Splits the text of a document into chunks. If rows are chunks, looks for the text of each chunk in the old file.
fn split(document: Document, id: Digest, job: &Job, tokenizer: &Tokenizer) -> PreparedDocument {
    let old = reusable(job);
    let old_document = old.and_then(|old| old.document(id));
    let row_of_chunk = |text: &str| old?.row_with_vector(Digest::of(text), old_document);
    let chunks = match chunk(&document.content, document.title.as_deref(), job.chunking, tokenizer) {
        Ok(chunks) => chunks,
        Err(cause) => {
            let place = document.place();
            let lost = Lost::Document(document.id.into());
            return PreparedDocument::Failed(Failure { place, cause, lost });
        }
    };
    let row = row_of(&document, id, job).or_else(|| row_of_one_chunk(&document, id, &chunks, job));
    if let Some(row) = row {
        let tokens = chunks.iter().map(|chunk| chunk.place.tokens as u64).sum();
        return of_old(document, id, row, DocumentSize { tokens, chunks: chunks.len() as u64 });
    }
    let text_of = |chunk: &Chunk| embedded_text(&document, chunk, job);
    let prepare = |chunk: Chunk| {
        let old = if job.rows == RowKind::Chunks { row_of_chunk(&text_of(&chunk)) } else { None };
        let Chunk { place, encoding } = chunk;
        PreparedChunk { digest: digest(&encoding), place, encoding, old }
    };
    let same_text = match job.old.index() {
        Some(there) if old.is_none() => {
            let row_of = |text: &str| there.file.row_of_text(Digest::of(text), there.file.document(id));
            let of_chunks = || chunks.iter().filter_map(|chunk| row_of(&text_of(chunk))).collect();
            row_of(document.content.text()).map_or_else(of_chunks, |row| vec![row])
        }
        _ => Vec::new(),
    };
    let content = VectorSource::Chunks(chunks.into_iter().map(prepare).collect());
    PreparedDocument::Ready(Ready { document, id, content, same_text })
}

fn digest(encoding: &Encoding) -> Digest {
    let bytes: Vec<u8> = encoding.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
    Digest::of(bytes)
}

/// Returns the row of an old file with this document's text, if the file was made with other rules for long texts, and the text is
/// one chunk by both rules.
fn row_of_one_chunk(document: &Document, id: Digest, chunks: &[Chunk], job: &Job) -> Option<u32> {
    let old = job.old.index().filter(|_| !job.is_rebuild)?;
    let most = old.one_chunk()?;
    let [only] = chunks else { return None };
    let text = Digest::of(document.content.text());
    old.file.row_with_vector(text, old.file.document(id)).filter(|_| only.place.tokens <= most)
}

/// Returns what the model receives for a chunk, without the prompt: the context and the text.
fn embedded_text(document: &Document, chunk: &Chunk, job: &Job) -> String {
    let text = document.content.text();
    let headings = chunk.place.headings.iter().map(|heading| heading_text(&text[heading.clone()]));
    context_text(job.chunking.context, document.title.as_deref(), headings) + &chunk.place.text(text)
}
