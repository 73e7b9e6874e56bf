//! Runs the stages before the model: reads and cleans documents, looks for vectors in the old file, and splits texts into
//! tokenized chunks. The documents of a group are prepared in parallel with rayon.

use std::ops::Range;

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;
use serde_json::Value;

use super::intake::{ReadDocument, SeenIds, groups, read_one};
use super::job::Job;
use crate::console::Reporter;
use crate::digest::Digest;
use crate::error::{Failure, Lost};
use crate::index::{IndexFile, RowKind};
use crate::source::{Document, Found, LeftOut};
use crate::text::chunk::{Chunk, TokenLimits, chunk};
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
    let group = group.into_par_iter().filter_map(|found| look_up(found, job));
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

/// Reads a document. If rows are documents, looks for its text in the old file.
fn look_up(found: Found, job: &Job) -> Option<LookedUp> {
    let prepared = match read_one(found, job.inputs())? {
        ReadDocument::Document(document, id) => match row_of(&document, id, job) {
            _ if document.content.text().is_empty() => PreparedDocument::Empty(id),
            Some(row) => {
                let (content, same_text) = (VectorSource::Old(row), Vec::new());
                PreparedDocument::Ready(Ready { document, id, content, same_text })
            }
            None => return Some(LookedUp::Unsplit(document, id)),
        },
        ReadDocument::Failed(failure) => PreparedDocument::Failed(failure),
        ReadDocument::Unassigned(failure) => PreparedDocument::Unassigned(failure),
        ReadDocument::LeftOut(why) => PreparedDocument::LeftOut(why),
        ReadDocument::Nothing(root) => PreparedDocument::Nothing(root),
    };
    Some(LookedUp::Prepared(prepared))
}

/// Returns the row of the old file that has the vector of a document; `None` if there is none, or if rows are chunks.
fn row_of(document: &Document, id: Digest, job: &Job) -> Option<u32> {
    let old = reusable(job).filter(|_| job.rows == RowKind::Documents)?;
    old.row_of_text(Digest::of(document.content.text()), old.document(id))
}

/// Returns the old file, if its vectors may be used.
fn reusable(job: &Job) -> Option<&IndexFile> {
    job.old.index().filter(|old| old.has_vectors() && !job.is_rebuild).map(|old| &old.file)
}

/// Splits the text of a document into chunks. If rows are chunks, looks for the text of each chunk in the old file.
fn split(document: Document, id: Digest, job: &Job, tokenizer: &Tokenizer) -> PreparedDocument {
    let old = reusable(job);
    let old_document = old.and_then(|old| old.document(id));
    let row_of = |text: &str| old?.row_of_text(Digest::of(text), old_document);
    let limits = TokenLimits { chunk: job.max_tokens, text: job.document_tokens };
    let chunks = match chunk(document.content.text(), limits, tokenizer) {
        Ok(chunks) => chunks,
        Err(cause) => {
            let place = document.place();
            let lost = Lost::Document(document.id.into());
            return PreparedDocument::Failed(Failure { place, cause, lost });
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
    PreparedDocument::Ready(Ready { document, id, content, same_text })
}

fn digest(encoding: &Encoding) -> Digest {
    let bytes: Vec<u8> = encoding.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
    Digest::of(bytes)
}
