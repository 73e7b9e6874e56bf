//! `model`: models of the hub, in the cache that Hugging Face's tools use too.

use super::setup::model;
use std::io::{self, Write};

use super::process::{Exit, listen, printed};
use super::setup::model::{repository, transfer};
use crate::cli::{ModelCommand, NamedModel};
use crate::console::{DecimalBytes, LogFormat};
use crate::model::bundle;
use crate::model::hub::Hub;

pub fn run(command: ModelCommand, format: LogFormat) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match command {
        ModelCommand::Pull(NamedModel { name, model_file }) => {
            let repository = repository(name.as_deref())?;
            let snapshot = transfer(Some(format), |tell| {
                Hub::from_environment(false)?.pull(&repository, model_file.as_deref(), tell)
            })?;
            printed(writeln!(out, "{}", snapshot.display()))?;
        }
        ModelCommand::Where(NamedModel { name, model_file }) => {
            let repository = repository(name.as_deref())?;
            let Some(snapshot) = Hub::from_environment(true)?.find(&repository, model_file.as_deref()) else {
                anyhow::bail!(
                    "model {repository}: no {} in the cache; get it with `qwen3-index model pull {repository}`",
                    model_file.as_deref().unwrap_or("model.onnx")
                );
            };
            printed(writeln!(out, "{}", snapshot.display()))?;
        }
        ModelCommand::Bundle(arguments) => {
            let model = model::open(&arguments.model, None, Some(format))?;
            listen(format)?;
            let bytes = bundle::make(&arguments.folder, &model)?;
            printed(writeln!(out, "{}, {}", arguments.folder.display(), DecimalBytes(bytes)))?;
        }
        ModelCommand::List => {
            for model in Hub::from_environment(true)?.list()? {
                let revision =
                    if model.revisions.is_empty() { model.commit } else { model.revisions.join(", ") };
                let (bytes, graphs) = (DecimalBytes(model.bytes), model.graphs.join(", "));
                printed(writeln!(
                    out,
                    "{}@{revision}  {bytes}  {graphs}\n  {}",
                    model.id,
                    model.snapshot.display()
                ))?;
            }
        }
    }
    Ok(Exit::Done)
}
