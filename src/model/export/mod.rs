//! Makes ONNX exports from a model's own repository, with the operators that ONNX Runtime runs fastest.

mod builder; // builds an ONNX graph, node by node
mod check; // how far an export is from fp32
mod condition; // changes weights so that 8 bits hold them
mod event; // the events of an export
pub(super) mod float; // the types of floats
mod linear; // the encodings of matrix products
mod qwen3; // the graph of Qwen3-Embedding
// The messages of ONNX, generated from onnx.proto by prost-build. tests/suite/schema.rs says how.
#[rustfmt::skip]
#[allow(dead_code, missing_docs, clippy::all)] // An export has few of the messages.
pub(super) mod schema;
mod stage; // puts exports in place
mod stored; // reads config.json and the weights in safetensors
mod weights; // the seam between the graph and the weights in it

use std::path::Path;

use anyhow::{Context, ensure};
use ndarray::Array2;
use ort::environment::Environment;

use super::device::{Device, has_dot_products};
use super::folder::{CONFIG, END_TOKEN, ModelFolder, SETTINGS, TOKENIZER};
use super::precision::Precision;
use super::runtime;
use super::session::GraphSession;
use super::target::{ExecutionTarget, SessionOptions};
use super::weights_folder::TOKENIZER_CONFIG;
use super::workload::default_threads;
use crate::text::tokenize::Tokenizer;
use crate::vector::batch::Batch;
use check::Comparison;
use check::multiply::Multiplier;
use check::texts;
use condition::{Conditioned, Noise, calibrate, kept_in_fp32};
use linear::Recipe;
use stage::{Stage, StagedFile};
use stored::StoredWeights;
use weights::Weights;

pub use check::Quality;
pub use event::{ExportEvent, ExportStep, FinishedExport, OnExport};

/// The files that are copied beside an export, with those of [`SETTINGS`].
const COPIED: [&str; 3] = [CONFIG, TOKENIZER, TOKENIZER_CONFIG];

/// Exports the model in the folder `source` in several precisions. The exports are `onnx/model.onnx` (fp32) and
/// `onnx/model_PRECISION.onnx` in `folder`, each with its data file. The tokenizer and the configuration files are copied to
/// `folder`, unless it is the source. An export in place is always complete. If an export is in place already, `replaces` says
/// whether it is made again.
///
/// Only one run at a time exports into a folder. Other runs wait.
///
/// # Errors
/// The source is not a Qwen3 model that can be exported, or a file cannot be read or written.
pub fn export(
    source: &Path,
    precisions: &[Precision],
    folder: &Path,
    replaces: bool,
    on_event: OnExport,
) -> anyhow::Result<()> {
    let weights = StoredWeights::open(source)?;
    let stage = Stage::open(folder, on_event)?;
    if !is_same(source, folder) {
        for name in COPIED.into_iter().chain(SETTINGS) {
            if source.join(name).is_file() {
                stage.copy(&source.join(name), &folder.join(name))?;
            }
        }
    }
    let unfinished = |precision: &Precision| replaces || !stage.file(&precision.file_name()).is_in_place();
    let precisions: Vec<Precision> = precisions.iter().copied().filter(unfinished).collect();
    if precisions.is_empty() {
        return Ok(());
    }
    let is_quantized = precisions.iter().any(|&precision| Recipe::new(precision).is_quantized());
    let mut exporter = Exporter::new(&weights, &stage, folder)?;
    let comparison = exporter.comparison(is_quantized, on_event)?;
    let conditioned = is_quantized.then(|| exporter.conditioned(on_event)).transpose()?;
    for precision in precisions {
        let mut recipe = Recipe::new(precision);
        let weights: &dyn Weights = match &conditioned {
            Some((conditioned, noise)) if recipe.is_quantized() => {
                recipe.keep(kept_in_fp32(noise));
                conditioned
            }
            _ => &weights,
        };
        exporter.export(&PlannedExport { precision, recipe, weights }, &comparison, on_event)?;
    }
    Ok(())
}

/// An export that is to be made.
struct PlannedExport<'a> {
    precision: Precision,
    recipe: Recipe,
    weights: &'a dyn Weights,
}

/// What the exports of one model share.
struct Exporter<'a> {
    stored: &'a StoredWeights,
    stage: &'a Stage,
    folder: &'a Path,
    tokenizer: Tokenizer,
    environment: &'static Environment,
    multiplier: Multiplier,
}

impl<'a> Exporter<'a> {
    fn new(stored: &'a StoredWeights, stage: &'a Stage, folder: &'a Path) -> anyhow::Result<Self> {
        let environment = environment()?;
        let tokenizer = Tokenizer::load(&folder.join(TOKENIZER), Some(END_TOKEN))?;
        let multiplier = Multiplier::new(environment, default_threads())?;
        Ok(Exporter { stored, stage, folder, tokenizer, environment, multiplier })
    }

    /// Computes the vectors in fp32 that exports are compared with.
    fn comparison(&mut self, is_quantized: bool, on_event: OnExport) -> anyhow::Result<Comparison> {
        let texts = if is_quantized { texts::check } else { texts::short_check };
        let texts = texts(&self.tokenizer)?;
        let mut on_layer = progress(self.stored, ExportStep::Reference, on_event);
        Comparison::new(self.stored, texts, &mut self.multiplier, &mut on_layer)
    }

    /// Changes the weights so that 8 bits hold them.
    fn conditioned(&mut self, on_event: OnExport) -> anyhow::Result<(Conditioned<'a>, Vec<Noise>)> {
        let texts = texts::calibration(&self.tokenizer)?;
        let mut on_layer = progress(self.stored, ExportStep::Calibration, on_event);
        calibrate(self.stored, &texts, &mut self.multiplier, &mut on_layer)
    }

    /// Writes an export, checks it, and puts it in place.
    fn export(
        &mut self,
        export: &PlannedExport,
        comparison: &Comparison,
        on_event: OnExport,
    ) -> anyhow::Result<()> {
        let PlannedExport { precision, recipe, weights } = export;
        let graph = self.stage.file(&precision.file_name());
        let data = self.stage.file(&format!("{}_data", precision.file_name()));
        let (bytes, numbers) = (self.stored.bytes(), self.stored.numbers());
        on_event(ExportEvent::Begun { step: ExportStep::Writing(*precision), bytes });
        let mut read = 0;
        let mut on_read = |count: usize| {
            read += count as u64;
            on_event(ExportEvent::Read(bytes * read / numbers));
        };
        let (mut encoded, data_bytes) = qwen3::build(*weights, *precision, recipe, &data, &mut on_read)?;
        graph.write(&encoded)?;
        let cannot_check =
            || format!("model {}: its export in {precision} cannot be checked", self.folder.display());
        let quality = self.quality(export, &graph, comparison, on_event).with_context(cannot_check)?;
        if let Some(quality) = quality {
            ensure!(
                quality.is_enough(*precision),
                "model {}: an export in {precision} would be too far from fp32, so it is not put in place: {quality}; use another precision",
                self.folder.display()
            );
            // Other exports have the same bytes on every machine, and the fingerprint of an index has a digest of all bytes.
            if recipe.is_quantized() {
                quality.append_to(&mut encoded);
                graph.write(&encoded)?;
            }
        }
        self.stage.publish(&graph, &data)?;
        let kept = recipe.kept_weights(self.stored.architecture());
        let bytes = data_bytes + encoded.len() as u64;
        on_event(ExportEvent::Made(FinishedExport { precision: *precision, bytes, quality, kept }));
        Ok(())
    }

    /// Measures an unfinished export. Returns `None` if ONNX Runtime computes this precision only on a GPU.
    fn quality(
        &mut self,
        export: &PlannedExport,
        graph: &StagedFile,
        comparison: &Comparison,
        on_event: OnExport,
    ) -> anyhow::Result<Option<Quality>> {
        let PlannedExport { precision, recipe, weights } = export;
        if *precision == Precision::Bf16 {
            return Ok(None);
        }
        let mut on_layer = progress(self.stored, ExportStep::Check(*precision), on_event);
        if *precision == Precision::Int8 && !has_dot_products() {
            return comparison.of_rounded(*weights, recipe, &mut self.multiplier, &mut on_layer).map(Some);
        }
        let folder = ModelFolder::with_graph(graph.path.clone(), self.folder)?;
        let target = ExecutionTarget::Cpu { threads: default_threads() };
        let mut session = GraphSession::load(
            self.environment,
            &folder,
            target,
            SessionOptions { profile: None, prepacks: true, spins: true },
        )?;
        comparison.measure(|batch| session.forward(batch, None)).map(Some)
    }
}

/// Measures an embedder against the weights in the folder `source`, in fp32. `forward` returns the vectors of a batch,
/// `[texts, width]`.
///
/// # Errors
/// The weights cannot be read, ONNX Runtime failed, or a signal has arrived.
pub fn measure(
    source: &Path,
    tokenizer: &Tokenizer,
    forward: impl FnMut(&Batch) -> anyhow::Result<Array2<f32>>,
) -> anyhow::Result<Quality> {
    let weights = StoredWeights::open(source)?;
    let mut multiplier = Multiplier::new(environment()?, default_threads())?;
    Comparison::new(&weights, texts::check(tokenizer)?, &mut multiplier, &mut |_| ())?.measure(forward)
}

/// Measures an embedder against another embedder. Both functions return the vectors of a batch, `[texts, width]`.
///
/// # Errors
/// The errors of the functions, or a signal has arrived.
pub fn measure_against(
    exact: impl FnMut(&Batch) -> anyhow::Result<Array2<f32>>,
    tokenizer: &Tokenizer,
    forward: impl FnMut(&Batch) -> anyhow::Result<Array2<f32>>,
) -> anyhow::Result<Quality> {
    Comparison::with(texts::check(tokenizer)?, exact)?.measure(forward)
}

/// Loads ONNX Runtime for the CPU.
fn environment() -> anyhow::Result<&'static Environment> {
    Ok(&runtime::load(&Device::Cpu, &runtime::find(&Device::Cpu)?)?.environment)
}

/// Begins a step, and returns a function that shows how many layers are done.
fn progress<'a>(weights: &StoredWeights, step: ExportStep, on_event: OnExport<'a>) -> impl FnMut(usize) + 'a {
    let (bytes, layers) = (weights.bytes(), weights.architecture().layers as u64);
    on_event(ExportEvent::Begun { step, bytes });
    move |layer| on_event(ExportEvent::Read(bytes * (layer as u64 + 1) / layers))
}

/// Returns whether two paths lead to the same folder.
fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use ort::session::Session;
    use ort::session::builder::GraphOptimizationLevel;
    use ort::value::ValueType;
    use prost::Message;
    use tempfile::TempDir;

    use super::schema::{ModelProto, NodeProto, ValueInfoProto};
    use super::*;
    use crate::model::digests::RememberedDigests;
    use crate::model::fingerprint;
    use crate::model::target::DATA_FOLDER;

    /// Returns an export of the tiny model in a temporary folder, and the path of its graph.
    fn exported(precision: Precision) -> (TempDir, PathBuf) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qwen3-tiny");
        let folder = tempfile::tempdir().unwrap();
        export(&source, &[precision], folder.path(), false, &mut |_| ()).unwrap();
        let path = folder.path().join("onnx").join(precision.file_name());
        (folder, path)
    }

    /// Returns whether ONNX Runtime knows a name or a number for each dimension.
    fn has_known_sizes(kind: &ValueType) -> bool {
        let ValueType::Tensor { shape, dimension_symbols, .. } = kind else { return false };
        shape.iter().zip(dimension_symbols.iter()).all(|(&size, name)| size >= 0 || !name.is_empty())
    }

    /// Indexes have these digests in them, since 0.1.0. An export with another one would be told as another model, or embed all texts
    /// again.
    #[test]
    #[ignore = "needs what scripts/test installs"]
    fn an_export_has_the_digest_that_release_0_1_0_gave_it() {
        for (precision, expected) in [
            (Precision::Fp32, "e3d2f53deff8022e381562a44c250d205c30b19e25473007f4ec7e97da5e4af8"),
            (Precision::Plain, "f1ed178bcd9e5677e94dbe98ef70d052db6857556f9bb20b4a5f8085175a86b4"),
            (Precision::F16, "eca54d4f1bd5e601027ea240c4d1aa77948f4c26b922e4711280fd37d132d535"),
        ] {
            let (_folder, path) = exported(precision);
            let digest = fingerprint::weights(&path, &RememberedDigests::none()).unwrap();
            assert_eq!(digest, expected, "{precision}");
        }
    }

    /// The time to load a graph grows with the square of the number of tensors of unknown sizes.
    #[test]
    #[ignore = "needs what scripts/test installs"]
    fn the_size_of_each_tensor_of_a_layer_is_known_when_the_graph_is_loaded() {
        for precision in [Precision::Fp32, Precision::F16] {
            let (_folder, path) = exported(precision);
            let mut model = ModelProto::decode(&*fs::read(&path).unwrap()).unwrap();
            let graph = model.graph.as_mut().unwrap();
            // From the first product to the place where only the end tokens go on.
            let is_product = |node: &NodeProto| node.op_type() == "MatMul";
            let nodes = graph.node.iter().skip_while(|node| !is_product(node));
            let nodes = nodes.take_while(|node| !node.input.iter().any(|input| input == "ends"));
            let names: Vec<String> = nodes.flat_map(|node| node.output.clone()).collect();
            assert!(names.len() > 30, "{names:?}");
            graph.output = names
                .iter()
                .map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() })
                .collect();
            let builder = Session::builder(environment().unwrap()).unwrap();
            let builder = builder.with_optimization_level(GraphOptimizationLevel::Disable).unwrap();
            let folder = path.parent().unwrap().display().to_string();
            let mut builder = builder.with_config_entry(DATA_FOLDER, folder).unwrap();
            let session = builder.commit_from_memory(&model.encode_to_vec()).unwrap();
            let unknown = session.outputs().iter().filter(|output| !has_known_sizes(output.dtype()));
            let unknown: Vec<_> = unknown.map(|output| (output.name(), output.dtype())).collect();
            assert!(unknown.is_empty(), "{precision}: {unknown:?}");
        }
    }
}
