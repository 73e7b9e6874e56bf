//! The stages before the model: found documents come in, clean ones with tokenized chunks go out. Rayon shares the work.

use std::ops::Range;

use crossbeam_channel::{Receiver, Sender};
use rayon::prelude::*;
use serde_json::Value;

use super::intake::{ReadDocument, SeenIds, groups, read_one};
use super::job::Job;
use crate::console::Reporter;
use crate::digest::Digest;
use crate::error::{Failure, Lost};
use crate::index::RowKind;
use crate::source::{Document, Found, LeftOut};
use crate::text::chunk::{Chunk, chunk};
use crate::text::tokenize::Encoding;

/// A clean document with a text.
pub(super) struct Ready {
    pub document: Document,
    /// The digest of its id.
    pub id: Digest,
    pub content: VectorSource,
}

/// Where a document's vector comes from.
pub(super) enum VectorSource {
    /// From this row of the old file, which has the document's text.
    Old(u32),
    /// From the chunks of its text. There is at least one.
    Chunks(Vec<PreparedChunk>),
}

pub(super) struct PreparedChunk {
    /// In bytes of the document's text.
    pub span: Range<usize>,
    pub encoding: Encoding,
    /// The digest of its token ids. The vector depends on them and on the model alone.
    pub digest: Digest,
    /// If rows are chunks, the row of the old file that has the chunk's text.
    pub old: Option<u32>,
}

impl Ready {
    /// Returns how many tokens are in its chunks.
    pub fn tokens(&self) -> usize {
        match &self.content {
            VectorSource::Old(_) => 0,
            VectorSource::Chunks(chunks) => chunks.iter().map(|chunk| chunk.encoding.len()).sum(),
        }
    }

    /// Returns how many bytes its text and its kept strings have.
    pub fn bytes(&self) -> usize {
        let kept = self.document.kept.iter().filter_map(Value::as_str).map(str::len);
        self.document.text.len() + kept.sum::<usize>()
    }
}

/// What became of something found.
pub(super) enum PreparedDocument {
    Ready(Ready),
    /// A document without a text after cleaning, as the digest of its id.
    Empty(Digest),
    Failed(Failure),
    /// As [`ReadDocument::Unassigned`].
    Unassigned(Failure),
    LeftOut(LeftOut),
    /// A root that contains no documents.
    Nothing(String),
}

/// Finds and prepares documents, and sends them group by group to the end, or until nobody receives them.
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
    // There will be about as many as the last time.
    let documents = job.old.as_ref().map_or(0, |old| old.file.documents());
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

/// Looks the text up in the old file. If it is not there, cuts it into chunks, and looks them up if rows are chunks.
fn find_vectors(document: Document, id: Digest, job: &Job) -> Result<PreparedDocument, Failure> {
    if document.text.is_empty() {
        return Ok(PreparedDocument::Empty(id));
    }
    let old = job.old.as_ref().filter(|old| old.has_vectors() && !job.is_rebuild).map(|old| &old.file);
    let old_document = old.and_then(|old| old.document(id));
    let row_of = |text: &str| old?.row_of_text(Digest::of(text), old_document);
    if job.rows == RowKind::Documents
        && let Some(row) = row_of(&document.text)
    {
        return Ok(PreparedDocument::Ready(Ready { document, id, content: VectorSource::Old(row) }));
    }
    let chunks = match chunk(&document.text, job.max_tokens, &job.tokenizer) {
        Ok(chunks) => chunks,
        Err(cause) => {
            let place = document.place();
            return Err(Failure { place, cause, lost: Lost::Document(document.id.into()) });
        }
    };
    let prepare = |Chunk { span, encoding }| {
        let old = if job.rows == RowKind::Chunks { row_of(&document.text[span.clone()]) } else { None };
        PreparedChunk { digest: digest(&encoding), span, encoding, old }
    };
    let content = VectorSource::Chunks(chunks.into_iter().map(prepare).collect());
    Ok(PreparedDocument::Ready(Ready { document, id, content }))
}

fn digest(encoding: &Encoding) -> Digest {
    let bytes: Vec<u8> = encoding.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
    Digest::of(bytes)
}
