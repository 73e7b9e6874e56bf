//! `push`: brings a collection of a database to the state of an index.

use std::cell::RefCell;
use std::env;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::process::{Exit, listen};
use crate::cli::{PushCommand, QdrantArguments};
use crate::console::{HumanCount, Level, LogFormat, Transfer, counted, debug, eprint_line};
use crate::index::RowFile;
use crate::push::{PushError, Pushed, QdrantCollection, QdrantServer, StorageOptions};

/// The environment variable with the API key of Qdrant.
const KEY: &str = "QDRANT_API_KEY";

pub fn run(command: &PushCommand, format: LogFormat) -> anyhow::Result<Exit> {
    let PushCommand::Qdrant(arguments) = command;
    qdrant(arguments, format)
}

fn qdrant(arguments: &QdrantArguments, format: LogFormat) -> anyhow::Result<Exit> {
    let index = arguments.index.as_deref().map(RowFile::open).transpose()?;
    let delta = arguments.delta.as_deref().map(RowFile::open_delta).transpose()?;
    let Some(file) = index.as_ref().or(delta.as_ref()) else { return Ok(Exit::Done) };
    listen(format, "run it again to go on")?;
    let key = env::var(KEY).ok().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty());
    let doing = if arguments.verify { "comparing" } else { "pushing" };
    let shown = RefCell::new(Transfer::new(doing, (!arguments.quiet).then_some(format)));
    let on_wait = |why: &str| shown.borrow().wait(why);
    let server = QdrantServer::new(&arguments.url, key, &on_wait)?;
    let place = format!("collection {} at {}", arguments.collection, server.url());
    let options = StorageOptions { on_disk: arguments.on_disk, quantize: arguments.quantize };
    // The points that a delta does not change must be there.
    let may_create = !arguments.verify && (index.is_some() || file.start().is_none());
    let name = &arguments.collection;
    let collection = QdrantCollection::open(server, name, file, options, may_create);
    let mut collection = collection.with_context(|| place.clone())?;
    let rows = u64::from(file.rows());
    shown.borrow_mut().begin(&file.path().display().to_string(), file.bytes());
    let mut done = 0;
    let mut on_rows = |count| {
        done += count as u64;
        shown.borrow_mut().show(file.bytes() * done / rows.max(1));
    };
    let pushed = match arguments.verify {
        true => collection.verify(file, &mut on_rows).map(|()| None),
        false => bring(&mut collection, index.as_ref(), delta.as_ref(), &mut on_rows).map(Some),
    };
    shown.borrow().finish();
    let pushed = pushed.with_context(|| place.clone())?;
    if !arguments.quiet {
        let (words, details) = match pushed {
            None => (format!("{} equal to {}", counted(rows, "point"), file.path().display()), Value::Null),
            Some(Pushed { written, deleted }) => (
                format!("{} written, {} deleted", counted(written, "point"), HumanCount(deleted)),
                json!({"written": written, "deleted": deleted}),
            ),
        };
        eprint_line(format, Level::Info, &format!("{place}: {words}"), details);
    }
    Ok(Exit::Done)
}

/// Applies the delta if it leads to the index and starts from the state of the collection. Otherwise, loads the index.
fn bring(
    collection: &mut QdrantCollection,
    index: Option<&RowFile>,
    delta: Option<&RowFile>,
    on_rows: &mut dyn FnMut(usize),
) -> anyhow::Result<Pushed> {
    if let Some(delta) = delta {
        let leads_to = |index: &RowFile| index.content() == delta.content();
        let applied = if index.is_none_or(leads_to) {
            collection.apply(delta, on_rows)?
        } else {
            debug(|| format!("delta {}: does not lead to the index", delta.path().display()));
            None
        };
        match (applied, index) {
            (Some(pushed), _) => return Ok(pushed),
            (None, Some(_)) => {}
            (None, None) => bail!(PushError::OtherState { delta: delta.path().display().to_string() }),
        }
    }
    index.map_or(Ok(Pushed::default()), |index| collection.load(index, on_rows))
}
