//! `embed --arrow`: reads an Arrow IPC stream of texts and writes the same rows with vectors. While the model embeds one
//! batch, a thread reads and prepares the next batch.

use std::io;

use anyhow::{Context, anyhow};
use rayon::prelude::*;

use super::prompt;
use crate::cli::EmbedArguments;
use crate::command::advice::explained;
use crate::command::process::{Exit, binary_output, printed};
use crate::command::setup::locate::{self, DefaultGraph, LocatedModel};
use crate::command::setup::model;
use crate::console::LogFormat;
use crate::error::DocumentError;
use crate::index::{BLOCKS, Made, RowKind, TextBatch, TextStream};
use crate::model::Preparation;
use crate::pipeline::Ahead;
use crate::text::chunk::ChunkRules;
use crate::text::clean::clean;
use crate::text::tokenize::{Encoding, Tokenizer};
use crate::vector::texts::{PreparedText, Preparer, TextEmbedder};

pub fn run(arguments: &EmbedArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let stdout = binary_output()?;
    let LocatedModel { model, source, .. } =
        locate::open_on_one(&arguments.model, DefaultGraph::Model, format)?;
    let prompt = prompt(arguments, &model, format)?;
    let max_tokens = model::max_tokens(arguments.max_tokens, &model)?;
    let workload = |tokenizer: &Tokenizer| model::workload(tokenizer, max_tokens);
    let full = Preparation::Full;
    let (embedder, known) =
        model::load(&arguments.model, &model, &prompt, full, &workload, arguments.dim, format)?;
    let mut embedder = embedder.with_text_limit(model::document_tokens(arguments.max_document_tokens));
    let rules = ChunkRules::of_documents(max_tokens, usize::MAX);
    let fingerprint = model::fingerprint(known, embedder.dim(), &rules, &prompt, RowKind::Documents);
    let mut stream = TextStream::open(io::stdin()).context("standard input")?;
    let mut output = printed(stream.answer(stdout, &model::metadata(&model, &source, fingerprint)))?;
    let preparer = embedder.preparer().clone();
    let mut batches = Ahead::of(move || stream.read()?.map(|batch| prepare(batch, &preparer)).transpose());
    let mut has_failures = false;
    while let Some(prepared) = batches.take()? {
        let PreparedBatch { batch, texts, chunks } = prepared.context("standard input")?;
        let made = embed(&mut embedder, chunks)?;
        has_failures |= made.iter().any(|made| matches!(made, Made::Failed(_)));
        printed(output.write(&batch, &texts, &made))?;
    }
    printed(output.finish())?;
    Ok(if has_failures { Exit::Partial } else { Exit::Done })
}

/// A batch of rows, ready for the model.
struct PreparedBatch {
    batch: TextBatch,
    /// The clean text of each row.
    texts: Vec<String>,
    /// The chunks of each row. A row without text, or with an error in the stream, has `DocumentError::Empty` in place of
    /// chunks.
    chunks: Vec<Result<Vec<Encoding>, DocumentError>>,
}

fn prepare(batch: TextBatch, preparer: &Preparer) -> anyhow::Result<PreparedBatch> {
    let rows: Vec<_> = batch.rows().collect();
    let prepared = rows.par_iter().map(|row| match row.error {
        Some(_) => Ok((clean(row.text), Err(DocumentError::Empty))),
        None => {
            let content =
                row.content().map_err(|reason| anyhow!("has a wrong column `{BLOCKS}`: {reason}"))?;
            let PreparedText { text, chunks } = preparer.prepare(&content);
            Ok((text, chunks))
        }
    });
    let (texts, chunks) = prepared.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    Ok(PreparedBatch { batch, texts, chunks })
}

fn embed(
    embedder: &mut TextEmbedder,
    chunks: Vec<Result<Vec<Encoding>, DocumentError>>,
) -> anyhow::Result<Vec<Made>> {
    let vectors = embedder.embed_prepared(chunks, None)?;
    let made = vectors.into_iter().map(|vector| match vector {
        Ok(vector) => Made::Vector(vector),
        Err(DocumentError::Empty) => Made::Nothing,
        Err(error) => Made::Failed(explained(&error)),
    });
    Ok(made.collect())
}
