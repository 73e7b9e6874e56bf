//! Runs the stages before the model: reads and cleans documents, looks for vectors in the old file, and splits texts into
//! tokenized chunks. The documents of a group are prepared in parallel with rayon.

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;
use serde_json::Value;

use super::intake::{ReadDocument, SeenIds, groups, read_one};
use super::job::{DocumentSize, Job};
use crate::console::Reporter;
use crate::digest::Digest;
use crate::error::{Failure, Lost};
use crate::index::RowKind;
use crate::source::{Document, Found, LeftOut};
use crate::text::chunk::{Chunk, ChunkPlace, chunk, context_text, heading_text};
use crate::text::tokenize::Encoding;

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
    /// A root that contains no documents.
    Nothing(String),
}

/// Finds and prepares documents, and sends them group by group. Returns when all groups have been sent, or when
/// the receiver has been dropped.
pub(super) fn prepare(job: &Job, reporter: &Reporter, sender: &Sender<Vec<PreparedDocument>>) {
    groups(job.inputs(), |groups| prepare_groups(job, reporter, groups, sender));
    reporter.all_found();
}

fn prepare_groups(
    job: &Job,
    reporter: &Reporter,
    groups: Receiver<Vec<Found>>,
    sender: &Sender<Vec<PreparedDocument>>,
) {
    // This run will probably find about as many documents as the old file has.
    let documents = job.old.index().map_or(0, |old| old.file.documents());
    let mut ids = SeenIds::with_capacity(documents as usize);
    for group in groups {
        let bytes = group.iter().map(progress).sum();
        let mut prepared: Vec<PreparedDocument> =
            group.into_par_iter().filter_map(|found| prepare_one(found, job)).collect();
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
        if sender.send(prepared).is_err() {
            return;
        }
    }
}

fn progress(found: &Found) -> u64 {
    if let Found::Raw(raw) = found { raw.progress() } else { 0 }
}

fn prepare_one(found: Found, job: &Job) -> Option<PreparedDocument> {
    Some(match read_one(found, job.inputs())? {
        ReadDocument::Document(document, id) => {
            find_vectors(document, id, job).unwrap_or_else(PreparedDocument::Failed)
        }
        ReadDocument::Failed(failure) => PreparedDocument::Failed(failure),
        ReadDocument::Unassigned(failure) => PreparedDocument::Unassigned(failure),
        ReadDocument::LeftOut(why) => PreparedDocument::LeftOut(why),
        ReadDocument::Nothing(root) => PreparedDocument::Nothing(root),
    })
}

/// Looks for the vectors of a document in the old file. If rows are documents, this function looks for the document's text, and
/// splits the text into chunks if the old file does not have the text. If rows are chunks, this function splits the text into
/// chunks, and looks for the text of each chunk.
fn find_vectors(document: Document, id: Digest, job: &Job) -> Result<PreparedDocument, Failure> {
    if document.content.text().is_empty() {
        return Ok(PreparedDocument::Empty(id));
    }
    let old = job.old.index().filter(|old| old.has_vectors() && !job.is_rebuild).map(|old| &old.file);
    let old_document = old.and_then(|old| old.document(id));
    let row_of = |text: &str| old?.row_of_text(Digest::of(text), old_document);
    let of_old = |document, row, size| {
        let content = VectorSource::Old(row, size);
        PreparedDocument::Ready(Ready { document, id, content, same_text: Vec::new() })
    };
    let row = if job.rows == RowKind::Documents { row_of(document.content.text()) } else { None };
    if let Some(row) = row {
        let known = job.old_sizes.as_ref().and_then(|sizes| sizes.get(row as usize)).copied();
        if let Some(size) = known.or((!job.wants_sizes()).then(DocumentSize::default)) {
            return Ok(of_old(document, row, size));
        }
    }
    let chunks = match chunk(&document.content, document.title.as_deref(), job.chunking, &job.tokenizer) {
        Ok(chunks) => chunks,
        Err(cause) => {
            let place = document.place();
            return Err(Failure { place, cause, lost: Lost::Document(document.id.into()) });
        }
    };
    if let Some(row) = row.or_else(|| row_of_one_chunk(&document, id, &chunks, job)) {
        let tokens = chunks.iter().map(|chunk| chunk.place.tokens as u64).sum();
        return Ok(of_old(document, row, DocumentSize { tokens, chunks: chunks.len() as u64 }));
    }
    let text_of = |chunk: &Chunk| embedded_text(&document, chunk, job);
    let prepare = |chunk: Chunk| {
        let old = if job.rows == RowKind::Chunks { row_of(&text_of(&chunk)) } else { None };
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
    Ok(PreparedDocument::Ready(Ready { document, id, content, same_text }))
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
    old.file.row_of_text(text, old.file.document(id)).filter(|_| only.place.tokens <= most)
}

/// Returns what the model receives for a chunk, without the prompt: the context and the text.
fn embedded_text(document: &Document, chunk: &Chunk, job: &Job) -> String {
    let text = document.content.text();
    let headings = chunk.place.headings.iter().map(|heading| heading_text(&text[heading.clone()]));
    context_text(job.chunking.context, document.title.as_deref(), headings) + &chunk.place.text(text)
}
