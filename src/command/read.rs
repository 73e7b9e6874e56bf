//! `read`: reads documents and writes their texts to standard output as an Arrow IPC stream.

use std::io::{self, Stdout};
use std::sync::Arc;

use super::advice::explained;
use super::process::{Exit, binary_output, printed};
use super::setup::inputs;
use crate::cli::ReadArguments;
use crate::console::{LogFormat, Reporter, trace};
use crate::error::{DocumentError, Failure, Lost};
use crate::index::{BLOCKS, DocumentStream, ERROR};
use crate::pipeline::{self, ReadDocument, Tally};
use crate::storage::object::Stores;

pub fn run(arguments: &ReadArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let stdout = binary_output()?;
    let reporter = Arc::new(Reporter::new(false, format).explaining(explained));
    let mut stores = Stores::new(arguments.reading.endpoint.as_deref(), reporter.clone());
    let roots = inputs::roots(&arguments.reading, false, &mut stores)?;
    let reading = inputs::reading(&arguments.reading, &[ERROR, BLOCKS])?;
    let seen = reading.seen.clone();
    let mut output = printed(DocumentStream::new(stdout, &reading.fields.keep))?;
    let mut documents = Tally::default();
    let mut groups = pipeline::read(roots, reading, arguments.reading.shard);
    while let Some(group) = groups.take()? {
        for item in group {
            let item = match item {
                ReadDocument::Failed(failure) => ReadDocument::Failed(failure.tolerated()?),
                ReadDocument::Unassigned(failure) => ReadDocument::Unassigned(failure.tolerated()?),
                item => item,
            };
            printed(write(item, &mut output, &mut documents, &reporter))?;
        }
    }
    printed(output.finish())?;
    inputs::about_ids(&arguments.reading, &seen).iter().for_each(|warning| reporter.warn(warning));
    reporter.info(&documents.read());
    Ok(if documents.failed == 0 { Exit::Done } else { Exit::Partial })
}

fn write(
    item: ReadDocument,
    output: &mut DocumentStream<Stdout>,
    documents: &mut Tally,
    reporter: &Reporter,
) -> io::Result<()> {
    match item {
        ReadDocument::Document(document, _) => {
            trace(|| (format!("{}: {}", document.place(), document.told()), document.details()));
            documents.found(document.encoding);
            documents.repaired(&document, reporter);
            documents.empty += u64::from(document.content.text().is_empty());
            output.push(&document.id, &document.content, &document.kept)
        }
        // An unassigned failure has no known id, so every shard writes a row for this failure. A program that joins the
        // streams of several shards has to drop the duplicate rows.
        ReadDocument::Failed(failure) | ReadDocument::Unassigned(failure) => {
            documents.found(None);
            documents.failed += 1;
            reporter.failed(&failure);
            output.push_failed(name(&failure), &explained(&failure.cause))
        }
        ReadDocument::LeftOut(why) => {
            *documents.left_out.entry(why).or_default() += 1;
            Ok(())
        }
        ReadDocument::Ignored(_) => Ok(()),
        ReadDocument::Nothing(root) => {
            reporter.warn(&format!("input {root}: has no documents"));
            Ok(())
        }
    }
}

/// Returns the id of a document that could not be read, or the place of the failure if the id is unknown.
fn name(failure: &Failure) -> &str {
    match (&failure.lost, &failure.cause) {
        (Lost::Document(id), _) => id,
        (_, DocumentError::DuplicateId { id, .. }) => id,
        _ => &failure.place,
    }
}
