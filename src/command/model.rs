//! `model`: downloads, finds, lists, bundles and exports models. The cache is shared with Hugging Face's own tools.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::process::{Exit, listen, printed};
use super::setup::locate::{self, DefaultGraph, download, repository};
use crate::cli::{ExportArguments, ModelCommand, NamedModel};
use crate::console::{DecimalBytes, Level, LogFormat, Transfer, eprint_line};
use crate::error::Usage;
use crate::model::bundle::Bundle;
use crate::model::export::{FinishedExport, export};
use crate::model::export_cache::{CachedExport, ExportCache};
use crate::model::hub::{CachedModel, Hub, Wanted};
use crate::model::weights_folder::WeightsFolder;
use crate::model::{DeviceChoice, Precision, bundle, precision_choice};

pub fn run(command: ModelCommand, format: LogFormat) -> anyhow::Result<Exit> {
    let mut out = io::stdout().lock();
    match command {
        ModelCommand::Pull(named) => printed(print_folder(&mut out, &named, &pull(&named, format)?))?,
        ModelCommand::Where(named) => printed(print_folder(&mut out, &named, &find(&named)?))?,
        ModelCommand::Bundle(arguments) => {
            let model = locate::open(&arguments.model, DefaultGraph::Model, Some(format))?.model;
            // The machine of the bundle may have no network to get another tokenizer from.
            model.tokenizer()?;
            listen(format, "the next run starts from scratch")?;
            let Bundle { bytes, warning } = bundle::make(&arguments.folder, &model)?;
            let folder = &arguments.folder;
            printed(match arguments.json {
                true => writeln!(out, "{}", json!({"folder": folder.to_string_lossy(), "bytes": bytes})),
                false => writeln!(out, "{}, {}", folder.display(), DecimalBytes(bytes)),
            })?;
            if let Some(warning) = warning {
                eprint_line(format, Level::Warning, &warning, Value::Null);
                return Ok(Exit::Partial);
            }
        }
        ModelCommand::Export(arguments) => {
            listen(format, "finished exports are kept; run again for the others")?;
            export_all(&arguments, &mut out, format)?;
        }
        ModelCommand::List { json } => printed(list(&mut out, json)?)?,
    }
    Ok(Exit::Done)
}

/// Downloads a model, exports it if it has only its weights, and returns the model folder.
fn pull(named: &NamedModel, format: LogFormat) -> anyhow::Result<PathBuf> {
    let repository = repository(named.name.as_deref())?;
    let hub = Hub::from_environment(false)?;
    let file = file(named);
    let wanted = Wanted::Model(file.as_deref());
    let snapshot = download(Some(format), |on_progress| hub.pull(&repository, wanted, on_progress))?;
    match WeightsFolder::at(&snapshot)? {
        Some(weights) => locate::exported(&weights, precision(named)?, &repository.to_string(), Some(format)),
        None => Ok(snapshot),
    }
}

/// Returns the model folder of a model in the cache.
fn find(named: &NamedModel) -> anyhow::Result<PathBuf> {
    let repository = repository(named.name.as_deref())?;
    let file = file(named);
    let pull = format!("qwen3-index model pull {repository}");
    let wanted = Wanted::Model(file.as_deref());
    let Some(snapshot) = Hub::from_environment(true)?.find(&repository, wanted)? else {
        bail!(
            "model {repository}: {} is not in the cache; download it with `{pull}`",
            file.as_deref().unwrap_or("the model")
        );
    };
    let Some(weights) = WeightsFolder::at(&snapshot)? else { return Ok(snapshot) };
    let precision = precision(named)?;
    ExportCache::from_environment()?.find(&weights, precision).with_context(|| {
        format!(
            "model {repository}: its export in {precision} is not in the cache; make it with `{pull} --precision {precision}`"
        )
    })
}

fn print_folder(out: &mut impl Write, named: &NamedModel, folder: &Path) -> io::Result<()> {
    match named.json {
        true => writeln!(out, "{}", json!({"folder": folder.to_string_lossy()})),
        false => writeln!(out, "{}", folder.display()),
    }
}

/// Returns the name of the graph that the user chose.
fn file(named: &NamedModel) -> Option<String> {
    named.model_file.clone().or_else(|| named.precision.file_name())
}

/// Returns the precision that a model with only its weights is exported in.
fn precision(named: &NamedModel) -> anyhow::Result<Precision> {
    match file(named) {
        Some(file) => locate::precision_of(&file),
        None => Ok(precision_choice::suited(&DeviceChoice::Auto)),
    }
}

/// Prints the models in the cache and the exports that this tool has made of them.
fn list(out: &mut impl Write, json: bool) -> anyhow::Result<io::Result<()>> {
    let (models, exports) = (Hub::from_environment(true)?.list()?, ExportCache::from_environment()?.list());
    if json {
        let models = models.iter().map(|model| {
            let CachedModel { id, revisions, commit, snapshot, files, bytes } = model;
            json!({"kind": "model", "id": id, "commit": commit, "revisions": revisions, "files": files, "bytes": bytes,
                   "folder": snapshot.to_string_lossy()})
        });
        let exports = exports.iter().map(|CachedExport { id, kind, folder, bytes }| {
            json!({"kind": "export", "id": id.replacen("--", "/", 1), "export": kind, "bytes": bytes,
                   "folder": folder.to_string_lossy()})
        });
        return Ok(writeln!(out, "{}", Value::Array(models.chain(exports).collect())));
    }
    let print = || {
        for CachedModel { id, revisions, commit, snapshot, files, bytes } in models {
            let revision = if revisions.is_empty() { commit } else { revisions.join(", ") };
            writeln!(out, "{id}@{revision}  {}  {}", DecimalBytes(bytes), files.join(", "))?;
            writeln!(out, "  {}", snapshot.display())?;
        }
        for CachedExport { id, kind, folder, bytes } in exports {
            let name = id.replacen("--", "/", 1);
            writeln!(out, "{name}  {}  export in {kind}", DecimalBytes(bytes))?;
            writeln!(out, "  {}", folder.display())?;
        }
        Ok(())
    };
    Ok(print())
}

/// Exports a model, and prints one line per precision: its name, its size and its file.
fn export_all(arguments: &ExportArguments, out: &mut impl Write, format: LogFormat) -> anyhow::Result<()> {
    let ExportArguments { source, precision, folder, json } = arguments;
    let folder =
        folder.as_ref().or(Some(source).filter(|source| locate::is_here(source))).ok_or_else(|| {
            Usage(format!("{}: is no folder here; name the folder to write to, DIR, too", source.display()))
        })?;
    let weights = locate::source(source, format)?;
    let mut print = Ok(());
    let on_made = |shown: &Transfer, made: FinishedExport| {
        // The bar would be on the line that is printed.
        shown.finish();
        let path = folder.join("onnx").join(made.precision.file_name());
        print = match json {
            true => writeln!(out, "{}", export_as_json(&made, &path)),
            false => writeln!(out, "{made}  {}", path.display()),
        };
    };
    let name = source.display().to_string();
    let done = locate::show_export(&name, Some(format), on_made, |on_event| {
        export(&weights, precision, folder, true, on_event)
    });
    done?;
    printed(print)
}

fn export_as_json(made: &FinishedExport, path: &Path) -> Value {
    let FinishedExport { precision, bytes, quality, kept } = made;
    json!({"precision": precision.to_string(), "file": path.to_string_lossy(), "bytes": bytes, "quality": quality,
           "kept_in_fp32": kept})
}
