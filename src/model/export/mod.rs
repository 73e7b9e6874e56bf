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
mod weights; // the seam between the graph and the weights in it

use std::fs;
use std::path::Path;

use prost::Message;

use super::folder::{CONFIG, SETTINGS, TOKENIZER};
use super::precision::Precision;
use checkpoint::Checkpoint;
use linear::Recipe;
use stage::Stage;

pub use event::{ExportEvent, OnExport};

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
    for &precision in precisions {
        let bytes = write(&checkpoint, precision, &stage, on_event)?;
        let graph = precision.file_name();
        stage.publish(&graph, &data_name(&graph))?;
        on_event(ExportEvent::Made { precision, bytes });
    }
    Ok(())
}

/// Writes the unfinished export of a precision, and returns the size of graph and data in bytes.
fn write(
    checkpoint: &Checkpoint,
    precision: Precision,
    stage: &Stage,
    on_event: OnExport,
) -> anyhow::Result<u64> {
    let graph = precision.file_name();
    let bytes = checkpoint.bytes();
    on_event(ExportEvent::Begun { precision, bytes });
    let (mut read, all) = (0, checkpoint.numbers());
    let mut on_read = |numbers: usize| {
        read += numbers as u64;
        on_event(ExportEvent::Read(bytes * read / all));
    };
    let data = stage.path(&data_name(&graph));
    let (model, data_bytes) =
        qwen3::build(checkpoint, precision, &Recipe::new(precision), &data, &mut on_read)?;
    let encoded = model.encode_to_vec();
    fs::write(stage.path(&graph), &encoded).map_err(|e| stage.cannot_write(&graph, &e))?;
    Ok(data_bytes + encoded.len() as u64)
}

/// Returns the name of the file with the large tensors of a graph.
fn data_name(graph: &str) -> String {
    format!("{graph}_data")
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}
