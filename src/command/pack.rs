//! `pack`: reads an Arrow IPC stream of rows with vectors from standard input and writes one Parquet file.

use std::io;

use anyhow::{Context, ensure};

use super::process::{Exit, listen};
use crate::cli::PackArguments;
use crate::command::setup::output;
use crate::console::{DecimalBytes, LogFormat, Reporter, counted};
use crate::index::provenance::MoreColumns;
use crate::index::{IndexWriter, Packed, Row, RowKind, RowStream, Written};
use crate::pipeline::{Ahead, Tally};
use crate::storage::lock::Lock;

pub fn run(arguments: &PackArguments, format: LogFormat) -> anyhow::Result<Exit> {
    listen(format, "the next run starts from scratch")?;
    let reporter = Reporter::new(arguments.quiet, format);
    let warn = |warning: &str| reporter.warn(warning);
    let (lock, place, old) = output::hold(&arguments.output, &warn)?;
    let mut opened = Ahead::start(|sender| drop(sender.send(RowStream::open(io::stdin()))));
    let mut stream = opened
        .take()?
        .context("standard input: the thread that reads it ended early; run again")?
        .context("standard input")?;
    let columns = MoreColumns { rows: RowKind::Documents, of_documents: Vec::new(), keep: stream.kept() };
    let mut writer = IndexWriter::new(&place, None, stream.metadata().clone(), &columns);
    let mut documents = Tally::default();
    let mut batches = Ahead::of(move || stream.read());
    while let Some(batch) = batches.take()? {
        writer.push(rows(batch.context("standard input")?, &mut documents, &reporter))?;
    }
    let why = format!("no row of the stream has a vector ({documents})");
    output::check_rows(&place, &old, documents.embedded, &why)?;
    ensure!(
        documents.seen > 0 || arguments.allow_empty,
        "standard input: has no rows; check the inputs of the process that wrote it, or allow an empty index with --allow-empty"
    );
    let written = writer.publish(None, 0, Vec::new())?;
    tell(&written, &documents, arguments, &reporter);
    lock.into_iter().for_each(Lock::release);
    let exit = output::exit(&old, &written.published);
    Ok(if documents.failed == 0 { exit } else { Exit::Partial })
}

/// Returns the rows that have a vector. Counts all rows of the batch, and prints each failed row.
fn rows(batch: Vec<Packed>, documents: &mut Tally, reporter: &Reporter) -> Vec<Row> {
    let mut rows = Vec::with_capacity(batch.len());
    for packed in batch {
        documents.seen += 1;
        match packed {
            Packed::Row(row) => {
                documents.embedded += 1;
                rows.push(row);
            }
            Packed::Empty => documents.empty += 1,
            Packed::Failed { id, error } => {
                documents.failed += 1;
                reporter.failed_row(&id, &error);
            }
        }
    }
    rows
}

fn tell(written: &Written, documents: &Tally, arguments: &PackArguments, reporter: &Reporter) {
    for column in &written.empty_columns {
        reporter.warn(&format!("column {column}: no row has a value"));
    }
    written.published.warnings.iter().for_each(|warning| reporter.warn(warning));
    reporter.info(&documents.to_string());
    let (rows, bytes) = (counted(written.rows as u64, "row"), DecimalBytes(written.bytes));
    reporter.info(&format!("{rows}, {bytes} in {}", arguments.output.display()));
}
