//! The first half of the stages: from roots to clean, tokenized documents. It knows nothing of the model.

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

/// A clean document, and how it comes to its vector.
pub(super) struct Ready {
    pub document: Document,
    /// Of its id.
    pub id: Digest,
    pub content: VectorSource,
}

pub(super) enum VectorSource {
    /// The old file has its text.
    Old(u32),
    /// At least one.
    Chunks(Vec<PreparedChunk>),
}

/// A chunk.
pub(super) struct PreparedChunk {
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
            VectorSource::Old(_) => 0,
            VectorSource::Chunks(parts) => parts.iter().map(|part| part.encoding.len()).sum(),
        }
    }

    pub fn bytes(&self) -> usize {
        let kept = self.document.kept.iter().filter_map(Value::as_str).map(str::len);
        self.document.text.len() + kept.sum::<usize>()
    }
}

/// What the first half of the stages made of something found.
pub(super) enum PreparedDocument {
    Ready(Ready),
    /// With the digest of its id.
    Empty(Digest),
    Failed(Failure),
    /// A failure that does not say of which document, and that the first shard counts.
    Unassigned(Failure),
    LeftOut(LeftOut),
    /// A root without documents.
    Nothing(String),
}

/// Finds and prepares until there is no more, or nobody listens.
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
    // About as many as the last time.
    let documents = job.old.as_ref().map_or(0, |old| old.file.documents());
    let mut ids = SeenIds::of_about(documents as usize);
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
            cut(document, id, job).unwrap_or_else(PreparedDocument::Failed)
        }
        ReadDocument::Failed(failure) => PreparedDocument::Failed(failure),
        ReadDocument::Unassigned(failure) => PreparedDocument::Unassigned(failure),
        ReadDocument::LeftOut(why) => PreparedDocument::LeftOut(why),
        ReadDocument::Nothing(root) => PreparedDocument::Nothing(root),
    })
}

/// Looks whether the old file has the text, and cuts it where it has not.
fn cut(document: Document, id: Digest, job: &Job) -> Result<PreparedDocument, Failure> {
    if document.text.is_empty() {
        return Ok(PreparedDocument::Empty(id));
    }
    let old = job.old.as_ref().filter(|old| old.is_reused).map(|old| &old.file);
    let document_there = old.and_then(|old| old.document(id));
    let row_of = |text: &str| old?.row_of_text(Digest::of(text), document_there);
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
    let part = |Chunk { span, encoding }| {
        let old = if job.rows == RowKind::Chunks { row_of(&document.text[span.clone()]) } else { None };
        PreparedChunk { key: key(&encoding), span, encoding, old }
    };
    let content = VectorSource::Chunks(chunks.into_iter().map(part).collect());
    Ok(PreparedDocument::Ready(Ready { document, id, content }))
}

fn key(encoding: &Encoding) -> Digest {
    let bytes: Vec<u8> = encoding.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
    Digest::of(bytes)
}
