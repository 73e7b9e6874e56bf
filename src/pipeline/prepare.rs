//! Runs the stages before the model: reads and cleans documents, looks for vectors in the old file, and splits texts into
//! tokenized chunks. The documents of a group are prepared in parallel with rayon.

use std::ops::Range;

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;
use serde_json::Value;

use super::intake::{ReadDocument, SeenIds, groups, read_all};
use super::job::Job;
use crate::console::Reporter;
use crate::digest::Digest;
use crate::error::{Failure, Lost};
use crate::index::RowKind;
use crate::source::{Document, Found, LeftOut};
use crate::text::chunk::{Chunk, TokenLimits, chunk};
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
    /// The row of the old file that has the document's text.
    Old(u32),
    /// The chunks of the document's text, at least one.
    Chunks(Vec<PreparedChunk>),
}

pub(super) struct PreparedChunk {
    /// The byte range of the chunk in the document's text.
    pub span: Range<usize>,
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
            VectorSource::Old(_) => 0,
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
            group.into_par_iter().flat_map_iter(|found| prepare_all(found, job)).collect();
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

fn prepare_all(found: Found, job: &Job) -> impl Iterator<Item = PreparedDocument> {
    read_all(found, job.inputs()).into_iter().map(|read| match read {
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
    if job.rows == RowKind::Documents
        && let Some(row) = row_of(document.content.text())
    {
        return Ok(PreparedDocument::Ready(Ready {
            document,
            id,
            content: VectorSource::Old(row),
            same_text: Vec::new(),
        }));
    }
    let limits = TokenLimits { chunk: job.max_tokens, text: job.document_tokens };
    let chunks = match chunk(document.content.text(), limits, &job.tokenizer) {
        Ok(chunks) => chunks,
        Err(cause) => {
            let place = document.place();
            return Err(Failure { place, cause, lost: Lost::Document(document.id.into()) });
        }
    };
    let prepare = |Chunk { span, encoding }| {
        let old =
            if job.rows == RowKind::Chunks { row_of(&document.content.text()[span.clone()]) } else { None };
        PreparedChunk { digest: digest(&encoding), span, encoding, old }
    };
    let same_text = match job.old.index() {
        Some(there) if old.is_none() => {
            let row_of = |text: &str| there.file.row_of_text(Digest::of(text), there.file.document(id));
            let of_chunks = || {
                chunks
                    .iter()
                    .filter_map(|chunk| row_of(&document.content.text()[chunk.span.clone()]))
                    .collect()
            };
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
