//! `model`: downloads, finds, lists, bundles and exports models. The cache is shared with Hugging Face's own tools.

use std::io::{self, Write};

use super::process::{Exit, listen, printed};
use super::setup::model::{self, repository, transfer};
use crate::cli::{ExportArguments, ModelCommand, NamedModel};
use crate::console::{DecimalBytes, LogFormat, Transfer};
use crate::model::bundle;
use crate::model::export::{ExportEvent, export};
use crate::model::hub::Hub;

pub fn run(command: ModelCommand, format: LogFormat) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match command {
        ModelCommand::Pull(NamedModel { name, model_file }) => {
            let repository = repository(name.as_deref())?;
            let snapshot = transfer(Some(format), |on_progress| {
                Hub::from_environment(false)?.pull(&repository, model_file.as_deref(), on_progress)
            })?;
            printed(writeln!(out, "{}", snapshot.display()))?;
        }
        ModelCommand::Where(NamedModel { name, model_file }) => {
            let repository = repository(name.as_deref())?;
            let Some(snapshot) = Hub::from_environment(true)?.find(&repository, model_file.as_deref()) else {
                anyhow::bail!(
                    "model {repository}: {} is not in the cache; download it with `qwen3-index model pull {repository}`",
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
        ModelCommand::Export(arguments) => {
            listen(format)?;
            export_all(&arguments, &mut out, format)?;
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

/// Exports a model, and prints one line per precision: its name, its size and its file.
fn export_all(arguments: &ExportArguments, out: &mut impl Write, format: LogFormat) -> anyhow::Result<()> {
    let folder = arguments.folder.as_ref().unwrap_or(&arguments.source);
    let mut shown = Transfer::new("exporting", Some(format));
    let mut print = Ok(());
    let done = export(&arguments.source, &arguments.precision, folder, true, &mut |event| match event {
        ExportEvent::Begun { precision, bytes } => shown.begin(&precision.file_name(), bytes),
        ExportEvent::Read(bytes) => shown.show(bytes),
        ExportEvent::Waiting(why) => shown.tell(&why),
        ExportEvent::Made { precision, bytes } => {
            shown.finish();
            let path = folder.join("onnx").join(precision.file_name());
            print =
                writeln!(out, "{precision:5}  {:>7}  {}", DecimalBytes(bytes).to_string(), path.display());
        }
    });
    shown.finish();
    done?;
    printed(print)
}
