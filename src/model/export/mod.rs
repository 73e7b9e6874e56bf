//! Makes ONNX exports from a model's own repository, with the operators that ONNX Runtime runs fastest.

mod builder; // builds an ONNX graph, node by node
mod checkpoint; // reads config.json and the weights in safetensors
mod event; // the events of an export
mod float; // the types of floats
mod linear; // the encodings of matrix products
mod qwen3; // the graph of Qwen3-Embedding
// The messages of ONNX, generated from onnx.proto by prost-build. tests/suite/schema.rs says how.
#[rustfmt::skip]
#[allow(dead_code, missing_docs, clippy::all)] // An export has few of the messages.
mod schema;
mod stage; // puts exports in place
mod check; // checks an export against fp32
mod emulate; // computes an 8-bit export in fp32
mod plan; // chooses the products that stay in fp32
mod quality; // how far vectors are from fp32
mod texts; // the built-in texts
mod calibrate; // chooses the scales of a model, and measures what 8 bits change
mod conditioned; // the weights, changed so that 8 bits hold them
mod multiply; // multiplies matrices with ONNX Runtime
mod reference; // computes the model in fp32, layer by layer
mod rotation; // an orthogonal rotation of the hidden states
mod scales; // the scales inside a layer
mod weights; // the seam between the graph and the weights in it

use std::fs;
use std::path::Path;

use anyhow::ensure;
use ort::environment::Environment;
use prost::Message;

use super::device::{Device, has_dot_products};
use super::folder::{CONFIG, END_TOKEN, ModelFolder, SETTINGS, TOKENIZER};
use super::precision::Precision;
use super::runtime;
use crate::text::tokenize::Tokenizer;
use calibrate::{Noise, calibrate};
use check::Check;
use checkpoint::Checkpoint;
use conditioned::Conditioned;
use linear::Recipe;
use multiply::Multiplier;
use plan::kept_in_fp32;
use schema::ModelProto;
use stage::{GRAPHS, Stage};
use weights::Weights;

pub use event::{ExportEvent, Made, OnExport, Step};
pub use quality::Quality;

/// The files that are copied beside an export, with those of [`SETTINGS`].
const COPIED: [&str; 4] = [CONFIG, TOKENIZER, "tokenizer_config.json", "config_sentence_transformers.json"];

/// Exports the model in the folder `source` in several precisions. The exports are `onnx/model.onnx` (fp32) and
/// `onnx/model_PRECISION.onnx` in `folder`, each with its data file. The tokenizer and the configuration files are copied to
/// `folder`, unless it is the source. An export in place is complete; it replaces an old one.
///
/// Only one run at a time exports into a folder. Other runs wait.
///
/// # Errors
/// The source is not a Qwen3 model that can be exported, or a file cannot be read or written.
pub fn export(
    source: &Path,
    precisions: &[Precision],
    folder: &Path,
    threads: usize,
    on_event: OnExport,
) -> anyhow::Result<()> {
    let checkpoint = Checkpoint::open(source)?;
    let stage = Stage::open(folder, on_event)?;
    if !is_same(source, folder) {
        for name in COPIED.into_iter().chain(SETTINGS) {
            if source.join(name).is_file() {
                stage.copy(&source.join(name), &folder.join(name))?;
            }
        }
    }
    let mut exporter = Exporter::new(&checkpoint, &stage, folder, threads, on_event)?;
    let is_quantized = precisions.iter().any(|&precision| Recipe::new(precision).is_quantized());
    let check = exporter.check(is_quantized)?;
    let conditioned = is_quantized.then(|| exporter.calibrate()).transpose()?;
    for &precision in precisions {
        let mut recipe = Recipe::new(precision);
        let weights: &dyn Weights = match &conditioned {
            Some((weights, noise)) if recipe.is_quantized() => {
                recipe.keep(kept_in_fp32(noise.clone()));
                weights
            }
            _ => &checkpoint,
        };
        exporter.export(weights, precision, &recipe, &check)?;
    }
    Ok(())
}

/// What the exports of one model share.
struct Exporter<'a> {
    checkpoint: &'a Checkpoint,
    stage: &'a Stage,
    folder: &'a Path,
    threads: usize,
    on_event: OnExport<'a>,
    tokenizer: Tokenizer,
    environment: &'static Environment,
    multiplier: Multiplier,
}

impl<'a> Exporter<'a> {
    fn new(
        checkpoint: &'a Checkpoint,
        stage: &'a Stage,
        folder: &'a Path,
        threads: usize,
        on_event: OnExport<'a>,
    ) -> anyhow::Result<Self> {
        let environment = &runtime::load(&Device::Cpu, &runtime::find(&Device::Cpu)?)?.environment;
        let tokenizer = Tokenizer::load(&folder.join(TOKENIZER), Some(END_TOKEN))?;
        let multiplier = Multiplier::new(environment, threads)?;
        Ok(Exporter { checkpoint, stage, folder, threads, on_event, tokenizer, environment, multiplier })
    }

    /// Computes the vectors in fp32 that exports are compared with.
    fn check(&mut self, is_quantized: bool) -> anyhow::Result<Check> {
        let texts = if is_quantized { texts::check } else { texts::short_check };
        let texts = texts(&self.tokenizer)?;
        let mut on_layer = progress(self.checkpoint, Step::Reference, self.on_event);
        Check::new(self.checkpoint, texts, &mut self.multiplier, &mut on_layer)
    }

    /// Chooses scales for the model.
    fn calibrate(&mut self) -> anyhow::Result<(Conditioned<'a>, Vec<Noise>)> {
        let texts = texts::calibration(&self.tokenizer)?;
        let mut on_layer = progress(self.checkpoint, Step::Calibration, self.on_event);
        calibrate(self.checkpoint, &texts, &mut self.multiplier, &mut on_layer)
    }

    /// Writes an export, checks it, and puts it in place.
    fn export(
        &mut self,
        weights: &dyn Weights,
        precision: Precision,
        recipe: &Recipe,
        check: &Check,
    ) -> anyhow::Result<()> {
        let graph = precision.file_name();
        let data = data_name(&graph);
        let (mut read, all, bytes) = (0, self.checkpoint.numbers(), self.checkpoint.bytes());
        (self.on_event)(ExportEvent::Begun { step: Step::Writing(precision), bytes });
        let mut on_read = |numbers: usize| {
            read += numbers as u64;
            (self.on_event)(ExportEvent::Read(bytes * read / all));
        };
        let (mut model, data_bytes) =
            qwen3::build(weights, precision, recipe, &self.stage.path(&data), &mut on_read)?;
        self.write(&graph, &model)?;
        let quality = self.quality(weights, precision, recipe, check)?;
        if let Some(quality) = quality {
            ensure!(
                quality.is_enough(precision),
                "{}: too far from fp32 to be used, so it is not put in place (min, 1 %, mean cosine, neighbors: {quality}); use another precision",
                self.folder.join(GRAPHS).join(&graph).display()
            );
            model.metadata_props.push(quality.metadata());
        }
        let bytes = data_bytes + self.write(&graph, &model)?;
        self.stage.publish(&graph, &data)?;
        let kept = recipe.kept_weights(self.checkpoint.architecture());
        (self.on_event)(ExportEvent::Made(Made { precision, bytes, quality, kept }));
        Ok(())
    }

    /// Writes an unfinished graph, and returns its size in bytes.
    fn write(&self, graph: &str, model: &ModelProto) -> anyhow::Result<u64> {
        let encoded = model.encode_to_vec();
        fs::write(self.stage.path(graph), &encoded).map_err(|e| self.stage.cannot_write(graph, &e))?;
        Ok(encoded.len() as u64)
    }

    /// Measures an unfinished export. Returns `None` if ONNX Runtime computes this precision only on a GPU.
    fn quality(
        &mut self,
        weights: &dyn Weights,
        precision: Precision,
        recipe: &Recipe,
        check: &Check,
    ) -> anyhow::Result<Option<Quality>> {
        if precision == Precision::Bf16 {
            return Ok(None);
        }
        let mut on_layer = progress(self.checkpoint, Step::Check(precision), self.on_event);
        if precision == Precision::Int8 && !has_dot_products() {
            return check.of_rounded(weights, recipe, &mut self.multiplier, &mut on_layer).map(Some);
        }
        let folder = ModelFolder::with_graph(self.stage.path(&precision.file_name()), self.folder)?;
        check.of_graph(self.environment, &folder, self.threads).map(Some)
    }
}

/// Begins a step, and returns a function that shows how many layers are done.
fn progress<'a>(checkpoint: &Checkpoint, step: Step, on_event: OnExport<'a>) -> impl FnMut(usize) + 'a {
    let (bytes, layers) = (checkpoint.bytes(), checkpoint.architecture().layers as u64);
    on_event(ExportEvent::Begun { step, bytes });
    move |layer| on_event(ExportEvent::Read(bytes * (layer as u64 + 1) / layers))
}

/// Returns the name of the file with the large tensors of a graph.
fn data_name(graph: &str) -> String {
    format!("{graph}_data")
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}
