//! Finds the files of the model in a folder, in the cache or on the hub, and exports a model that has only its weights.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

use crate::cli::ModelArguments;
use crate::console::{DecimalBytes, LogFormat, Transfer, debug};
use crate::error::Usage;
use crate::index::Metadata;
use crate::model::export::{ExportEvent, FinishedExport, OnExport};
use crate::model::export_cache::ExportCache;
use crate::model::hub::{self, Hub, NotARepository, NotCached, OnProgress, Progress, Repository, Wanted};
use crate::model::precision_choice::PrecisionChoice;
use crate::model::weights_folder::WeightsFolder;
use crate::model::{DeviceChoice, GraphMissing, Model, ModelFolder, Precision, bundle, precision_choice};
use crate::storage::found::is_absent;

/// The graph to use if the arguments name neither a file nor a precision.
#[derive(Debug, Clone, Copy)]
pub enum DefaultGraph<'a> {
    /// The default of the model folder. A model with only its weights is exported in a precision that suits the device.
    Model,
    /// The graph that an index was made with. The model has to have it.
    Index(&'a str),
    /// The graph that the old output was made with, or its precision if the model has only its weights. So a night on which the
    /// GPU is missing, or an option was forgotten, does not embed all texts again.
    OldOutput(&'a str),
}

impl<'a> DefaultGraph<'a> {
    /// Returns the name of the graph to use if the model has ONNX files.
    fn in_folder(self) -> Option<&'a str> {
        match self {
            DefaultGraph::Model => None,
            DefaultGraph::Index(file) | DefaultGraph::OldOutput(file) => Some(file),
        }
    }

    /// Returns the precision to export weights in.
    fn precision(self) -> Option<Precision> {
        match self {
            DefaultGraph::Model => None,
            DefaultGraph::Index(file) | DefaultGraph::OldOutput(file) => precision_choice::of_file(file),
        }
    }

    /// Says what to do if the device cannot run the precision.
    fn advice(self, precision: Precision) -> &'static str {
        let is_int8 = precision == Precision::Int8;
        match self {
            DefaultGraph::Model if is_int8 => "use --precision fp32 or q8",
            DefaultGraph::Index(_) if is_int8 => {
                "search on another machine, or build the index with --precision fp32 or q8"
            }
            DefaultGraph::OldOutput(_) if is_int8 => {
                "run on another machine, or embed all texts again with --precision fp32 or q8"
            }
            DefaultGraph::Model => "use --precision fp32 or f16",
            DefaultGraph::Index(_) => {
                "search on a machine with a GPU, or build the index with --precision f16, which runs on both"
            }
            DefaultGraph::OldOutput(_) => {
                "run again when the GPU is back, or embed all texts again with --precision fp32 or f16"
            }
        }
    }
}

/// A model whose files are here.
pub struct LocatedModel {
    pub model: Model,
    /// `hf:OWNER/NAME@COMMIT`, or an absolute path.
    pub source: String,
    /// Whether this tool exported the model from its weights.
    pub is_exported: bool,
}

/// Returns the arguments with the model that an index was made with, if they name none.
///
/// # Errors
/// The model of the index is not on this machine. The name of a missing model is the end of the path that the index was
/// made with, so it is no name on the hub.
pub fn with_model_of(
    arguments: &ModelArguments,
    metadata: Option<&Metadata>,
) -> anyhow::Result<ModelArguments> {
    let mut arguments = arguments.clone();
    let Some(source) = metadata.and_then(|metadata| metadata.model.as_deref()) else { return Ok(arguments) };
    let is_path = !source.starts_with(hub::HUB);
    let is_unnamed = arguments.model.is_none();
    match &arguments.model {
        Some(named) if is_path && Path::new(source).ends_with(named) && !is_here(named) => bail!(
            "model {}: is not here; the index was made with {source}; correct the path, or put {} before the name of a model of the hub",
            named.display(),
            hub::HUB
        ),
        Some(_) => {}
        None if is_path && is_here(Path::new(source)) => arguments.model = Some(source.into()),
        // The machine of a bundle may have no network, so the bundle's own model comes before the hub.
        None if beside().is_some() => {}
        None if !is_path => arguments.model = Some(source.into()),
        None => bail!(
            "model {source}: the index was made with it, but it is not on this machine; name its place here with --model"
        ),
    }
    arguments.is_model_of_index = is_unnamed && arguments.model.is_some();
    Ok(arguments)
}

/// Finds the files of the model, downloads them from the hub, or exports the model.
///
/// # Errors
/// The model does not exist, or a file cannot be read, downloaded or written.
pub fn open(
    arguments: &ModelArguments,
    default: DefaultGraph,
    format: Option<LogFormat>,
) -> anyhow::Result<LocatedModel> {
    open_on(arguments, arguments.device.clone(), default, format)
}

/// Opens the model as [`open`] does, but on one device only, because a few texts do not keep several devices busy.
///
/// # Errors
/// The errors of [`open`].
pub fn open_on_one(
    arguments: &ModelArguments,
    default: DefaultGraph,
    format: LogFormat,
) -> anyhow::Result<LocatedModel> {
    open_on(arguments, arguments.device.clone().first(), default, Some(format))
}

fn open_on(
    arguments: &ModelArguments,
    device: DeviceChoice,
    default: DefaultGraph,
    format: Option<LogFormat>,
) -> anyhow::Result<LocatedModel> {
    let located = locate_on(arguments, device, default, format)?;
    debug(|| {
        let (source, onnx) = (&located.source, located.model.folder.onnx.display());
        let (why_model, why_graph) = (why_model(arguments), why_graph(arguments, default, &located));
        format!("model {source}: {why_model}; graph {onnx}: {why_graph}")
    });
    Ok(located)
}

/// Says why this model was chosen.
fn why_model(arguments: &ModelArguments) -> &'static str {
    match &arguments.model {
        Some(_) if arguments.is_model_of_index => "none is named, and the index was made with it",
        Some(model) if env::var_os("QWEN3_INDEX_MODEL").is_some_and(|named| named == **model) => {
            "QWEN3_INDEX_MODEL names it"
        }
        Some(_) => "--model names it",
        None if beside().is_some() => "none is named, and it is beside this program",
        None => "none is named, and it is the default",
    }
}

/// Says why this graph of the model was chosen.
fn why_graph(arguments: &ModelArguments, default: DefaultGraph, located: &LocatedModel) -> &'static str {
    let is_that = |file: &str| located.model.folder.onnx.ends_with(file);
    match default {
        _ if arguments.model_file.is_some() => "--model-file names it",
        _ if arguments.precision != PrecisionChoice::Auto => "--precision names it",
        DefaultGraph::Index(file) if is_that(file) => "the index was made with it",
        DefaultGraph::OldOutput(file) if is_that(file) => "the old output was made with it",
        _ if located.is_exported => "its precision suits the device",
        _ => "it is the default of the model",
    }
}

fn locate_on(
    arguments: &ModelArguments,
    device: DeviceChoice,
    default: DefaultGraph,
    format: Option<LogFormat>,
) -> anyhow::Result<LocatedModel> {
    let named = named(arguments);
    let is_graph = named.as_deref().is_some_and(|path| is_here(path) && path.is_file());
    let asked = arguments.model_file.clone().or_else(|| arguments.precision.file_name());
    let file = asked.clone().or_else(|| default.in_folder().filter(|_| !is_graph).map(str::to_owned));
    // Another model than that of the old output may lack this graph. The default graph then shows which model it is.
    let is_old = asked.is_none() && matches!(default, DefaultGraph::OldOutput(_));
    let (path, source) = match named {
        Some(path) if is_graph && asked.is_some() => {
            return Err(Usage(format!(
                "model {}: is a file, but --model-file and --precision choose a graph in a folder; name the folder, or leave out the option",
                path.display()
            ))
            .into());
        }
        Some(path) if is_here(&path) => {
            let source = std::path::absolute(&path).unwrap_or_else(|_| path.clone()).display().to_string();
            (path, source)
        }
        named => {
            let fetch = |file| from_hub(named.as_deref(), arguments.offline, file, format);
            match fetch(file.as_deref()) {
                Err(e) if is_old && (e.is::<GraphMissing>() || e.is::<NotCached>()) => fetch(None)?,
                fetched => fetched?,
            }
        }
    };
    let located = |model, is_exported| LocatedModel { model, source, is_exported };
    let Some(weights) = WeightsFolder::at(&path)? else {
        let file = match file.as_deref().map(|file| ModelFolder::open(&path, Some(file))) {
            Some(Err(e)) if is_old && e.is::<GraphMissing>() => None,
            _ => file,
        };
        return Ok(located(opened(arguments, &path, file.as_deref(), device)?, false));
    };
    let in_model = || format!("model {}", said(arguments));
    let default = if asked.is_some() { DefaultGraph::Model } else { default };
    let precision = match asked {
        Some(file) => precision_of(&file).with_context(in_model)?,
        None => default.precision().unwrap_or_else(|| precision_choice::suited(&device)),
    };
    let device = precision_choice::device_for(precision, device)
        .map_err(|e| anyhow!("{}: {e:#}; {}", in_model(), default.advice(precision)))?;
    let folder = exported(&weights, precision, &said(arguments), format)?;
    Ok(located(opened(arguments, &folder, Some(&precision.file_name()), device)?, true))
}

fn opened(
    arguments: &ModelArguments,
    path: &Path,
    file: Option<&str>,
    device: DeviceChoice,
) -> anyhow::Result<Model> {
    let model = Model::open(path, file, device)?;
    Ok(if arguments.rehash { model.with_new_digest() } else { model })
}

/// Returns the folder with the model's own weights, if the model has only its weights.
///
/// # Errors
/// The model does not exist, or cannot be downloaded.
pub fn weights(arguments: &ModelArguments, format: LogFormat) -> anyhow::Result<Option<WeightsFolder>> {
    let path = match named(arguments) {
        Some(path) if is_here(&path) => path,
        named => from_hub(named.as_deref(), arguments.offline, None, Some(format))?.0,
    };
    WeightsFolder::at(&path)
}

/// Returns the folder with the weights to export: a folder here, or the snapshot of a model on the hub, which is downloaded if
/// the cache does not have it.
///
/// # Errors
/// The model is neither here nor on the hub, or cannot be downloaded.
pub fn source(named: &Path, format: LogFormat) -> anyhow::Result<PathBuf> {
    if is_here(named) {
        return Ok(named.to_owned());
    }
    let repository = repository(named.to_str()).map_err(|Usage(why)| anyhow!(why))?;
    download(Some(format), |tell| Hub::from_environment(false)?.get(&repository, Wanted::Weights, tell))
}

/// Returns the snapshot of a model and its name with the commit. Downloads the model if the cache does not have it.
fn from_hub(
    named: Option<&Path>,
    is_offline: bool,
    file: Option<&str>,
    format: Option<LogFormat>,
) -> anyhow::Result<(PathBuf, String)> {
    let name = named.map(Path::to_string_lossy);
    // For a wrong name, the exit code is 1, not 2, because the same arguments succeed once the folder exists.
    let repository: Repository = name.as_deref().unwrap_or(hub::DEFAULT).parse()?;
    name.as_deref().map_or(Ok(()), check_owner).map_err(|Usage(why)| anyhow!(why))?;
    let wanted = Wanted::Model(file);
    let got = download(format, |tell| Hub::from_environment(is_offline)?.get(&repository, wanted, tell));
    let snapshot = match name {
        Some(name) => got.with_context(|| {
            format!("--model {name}: is not a local folder or file, and cannot be fetched from the hub")
        }),
        None => got,
    }?;
    // The folder of a snapshot has the name of the commit.
    let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
    let source = format!("{}{}", hub::HUB, repository.at(&commit));
    Ok((snapshot, source))
}

/// Returns the precision of the graph that the user named for a model with only its weights.
///
/// # Errors
/// No precision has this name of a graph.
pub fn precision_of(file: &str) -> anyhow::Result<Precision> {
    precision_choice::of_file(file).ok_or_else(|| {
        Usage(format!("has no {file}: it has weights in safetensors only; choose a --precision instead"))
            .into()
    })
}

/// Returns the model folder with the export of weights. Makes the export if it is not in the cache. `name` is the name of
/// the model in messages.
///
/// # Errors
/// The model cannot be exported, or the cache cannot be written.
pub fn exported(
    weights: &WeightsFolder,
    precision: Precision,
    name: &str,
    format: Option<LogFormat>,
) -> anyhow::Result<PathBuf> {
    let cache = ExportCache::from_environment()?;
    let on_made = |shown: &Transfer, made: FinishedExport| {
        let FinishedExport { precision, bytes, quality, .. } = made;
        let quality = quality.map_or(String::new(), |quality| format!("; {quality}"));
        let bytes = DecimalBytes(bytes);
        shown.tell(&format!("exported {name} to {precision}, {bytes}{quality}; later runs use this export"));
    };
    show_export(name, format, on_made, |on_event| cache.get(weights, precision, on_event))
}

/// Runs an export of the model `name`, and shows the progress unless `format` is `None`. Calls `on_made` for each export that is
/// in place.
pub fn show_export<T>(
    name: &str,
    format: Option<LogFormat>,
    mut on_made: impl FnMut(&Transfer, FinishedExport),
    make: impl FnOnce(OnExport) -> T,
) -> T {
    let mut shown = Transfer::new("exporting", format);
    let made = make(&mut |event| match event {
        ExportEvent::Begun { step, bytes } => shown.begin(&format!("{name}: {step}"), bytes),
        ExportEvent::Read(bytes) => shown.show(bytes),
        ExportEvent::Waiting(why) => shown.tell(&why),
        ExportEvent::Made(made) => on_made(&shown, made),
    });
    shown.finish();
    made
}

/// Returns the name of a model in messages: the path of the ONNX file, or what the user named and the name of the ONNX file.
pub fn name(arguments: &ModelArguments, model: &Model) -> String {
    let onnx = &model.folder.onnx;
    if named(arguments).is_some_and(|path| is_here(&path) && onnx.starts_with(path)) {
        return onnx.display().to_string();
    }
    format!("{} ({})", said(arguments), onnx.file_name().unwrap_or_default().display())
}

/// Returns the model as the user named it.
fn said(arguments: &ModelArguments) -> String {
    named(arguments).map_or(hub::DEFAULT.to_owned(), |path| path.display().to_string())
}

/// Returns the path or the hub name in the arguments. Without this argument, returns the model folder beside this program, if
/// any.
fn named(arguments: &ModelArguments) -> Option<PathBuf> {
    arguments.model.clone().or_else(beside)
}

/// Returns the model folder beside this program, which exists if the program is part of a bundle.
fn beside() -> Option<PathBuf> {
    let folder = env::current_exe().ok()?.parent()?.join(bundle::MODEL);
    folder.is_dir().then_some(folder)
}

/// Parses a model's name on the hub. Without a name, returns the default model.
///
/// # Errors
/// The name is a path that exists, or is not a name on the hub.
pub fn repository(name: Option<&str>) -> Result<Repository, Usage> {
    if let Some(path) = name.filter(|name| !name.starts_with(hub::HUB) && Path::new(name).exists()) {
        return Err(Usage(format!("model {path}: is a local folder or file; name a model of the hub")));
    }
    let parsed = name.unwrap_or(hub::DEFAULT).parse();
    let parsed = parsed.map_err(|e: NotARepository| Usage(format!("{e}; name a model of the hub")))?;
    name.map_or(Ok(()), check_owner)?;
    Ok(parsed)
}

/// Returns whether the user named a local folder or file. A path that cannot be looked for counts as here, so that no other model
/// is fetched in its place.
pub fn is_here(named: &Path) -> bool {
    let is_name = named.as_os_str().as_encoded_bytes().starts_with(hub::HUB.as_bytes());
    !is_name && named.try_exists().unwrap_or(true)
}

/// Checks that the owner in a name on the hub is not a local folder. Otherwise the name is probably the path of a model folder that
/// is missing, and on the hub, anyone may own the same name.
fn check_owner(name: &str) -> Result<(), Usage> {
    let owner = name.split('/').next().unwrap_or_default();
    if name.starts_with(hub::HUB) {
        return Ok(());
    }
    let why = match Path::new(owner).symlink_metadata() {
        Err(e) if is_absent(&e) => return Ok(()),
        Err(e) => format!("cannot be looked for: {e}"),
        Ok(_) => format!("does not exist, but the folder {owner} does"),
    };
    Err(Usage(format!(
        "model {name}: {why}; correct the path, or write {}{name} for a model of the hub",
        hub::HUB
    )))
}

/// Runs a download, and shows the progress unless `format` is `None`.
pub fn download<T>(format: Option<LogFormat>, get: impl FnOnce(OnProgress) -> T) -> T {
    let mut shown = Transfer::new("downloading", format);
    let got = get(&mut |event| match event {
        Progress::File { name, bytes } => shown.begin(name, bytes),
        Progress::Bytes(bytes) => shown.show(bytes),
        Progress::Waiting(why) => shown.wait(&why),
    });
    shown.finish();
    got
}
