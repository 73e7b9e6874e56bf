//! `pack`: rows with vectors as an Arrow IPC stream on standard input, one Parquet file out.

use std::io::{self, Stdin};

use anyhow::{Context, ensure};
use crossbeam_channel::Sender;

use super::{Exit, listen, output};
use crate::ahead::Ahead;
use crate::cli::Pack;
use crate::index::{INDEX, IndexWriter, Packed, Part, Place, Row, RowStream, Written};
use crate::object::Url;
use crate::report::{DecimalBytes, Documents, HumanCount, LogFormat, Reporter};

pub fn run(arguments: &Pack, format: LogFormat) -> anyhow::Result<Exit> {
    listen(format)?;
    let reporter = Reporter::new(arguments.quiet, format);
    Url::refuse("output", &arguments.output)?;
    let look = || Place::new("output", &arguments.output, &INDEX);
    let warn = |warning: &str| reporter.warn(warning);
    let _lock = output::lock(&look()?, &warn)?;
    // Again, since another run may have had the lock until now.
    let mut place = look()?;
    let old = output::check_old(&mut place, &warn)?;
    let mut opened = Ahead::start(|sender| drop(sender.send(RowStream::open(io::stdin()))));
    let stream = opened.take()?.context("a stream, or an error")?.context("standard input")?;
    let mut writer = IndexWriter::new(&place, None, stream.metadata().clone(), &stream.kept());
    let mut documents = Documents::default();
    let mut batches = Ahead::start(move |sender| read(stream, sender));
    while let Some(batch) = batches.take()? {
        writer.push(rows(batch.context("standard input")?, &mut documents, &reporter))?;
    }
    check_rows(&documents, old.as_ref(), &place)?;
    let written = writer.publish(None, 0, false)?;
    tell(&written, &documents, arguments, &reporter);
    Ok(if documents.failed == 0 { Exit::Done } else { Exit::Partial })
}

/// Until there is no more, or nobody listens.
fn read(mut stream: RowStream<Stdin>, sender: &Sender<anyhow::Result<Vec<Packed>>>) {
    while let Some(batch) = stream.read().transpose() {
        let is_last = batch.is_err();
        if sender.send(batch).is_err() || is_last {
            return;
        }
    }
}

/// Those that are written; the others are counted, and told where something is wrong with them.
fn rows(batch: Vec<Packed>, documents: &mut Documents, reporter: &Reporter) -> Vec<Row> {
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

/// An index is not replaced by nothing.
fn check_rows(documents: &Documents, old: Option<&Part>, place: &Place) -> anyhow::Result<()> {
    let rows = old.map_or(0, Part::rows);
    ensure!(
        rows == 0 || documents.embedded > 0,
        "{place}: no row that came has a vector ({documents}), and the {} rows that are there would be lost; remove it first, if that is meant",
        HumanCount(rows.into())
    );
    Ok(())
}

fn tell(written: &Written, documents: &Documents, arguments: &Pack, reporter: &Reporter) {
    for column in &written.empty_columns {
        reporter.warn(&format!("column {column}: no row has a value in it"));
    }
    written.warnings.iter().for_each(|warning| reporter.warn(warning));
    reporter.info(&documents.to_string());
    let (rows, bytes) = (HumanCount(written.rows as u64), DecimalBytes(written.bytes));
    reporter.info(&format!("{rows} rows, {bytes} in {}", arguments.output.display()));
}
