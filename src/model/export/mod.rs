//! Makes ONNX exports from a model's own repository, with the operators that ONNX Runtime runs fastest.

mod builder; // builds an ONNX graph, node by node
mod event; // the events of an export
mod float; // the types of floats
mod linear; // the encodings of matrix products
mod qwen3; // the graph of Qwen3-Embedding
// The messages of ONNX, generated from onnx.proto by prost-build. tests/suite/schema.rs says how.
#[rustfmt::skip]
#[allow(dead_code, missing_docs, clippy::all)] // An export has few of the messages.
mod schema;
mod stage; // puts exports in place
mod stored; // reads config.json and the weights in safetensors
mod weights; // the seam between the graph and the weights in it

use std::path::Path;

use super::folder::{CONFIG, SETTINGS, TOKENIZER};
use super::precision::Precision;
use super::weights_folder::TOKENIZER_CONFIG;
use linear::Recipe;
use stage::{Stage, StagedFile};
use stored::StoredWeights;

pub use event::{ExportEvent, OnExport};

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
    for &precision in precisions {
        let graph = stage.file(&precision.file_name());
        if graph.is_in_place() && !replaces {
            continue;
        }
        let data = stage.file(&format!("{}_data", precision.file_name()));
        on_event(ExportEvent::Begun { precision, bytes: weights.bytes() });
        let bytes = write(&weights, precision, &graph, &data, on_event)?;
        stage.publish(&graph, &data)?;
        on_event(ExportEvent::Made { precision, bytes });
    }
    Ok(())
}

/// Writes the unfinished export of a precision, and returns the size of graph and data in bytes.
fn write(
    weights: &StoredWeights,
    precision: Precision,
    graph: &StagedFile,
    data: &StagedFile,
    on_event: OnExport,
) -> anyhow::Result<u64> {
    let mut read = 0;
    let mut on_read = |numbers: usize| {
        read += numbers as u64;
        on_event(ExportEvent::Read(weights.bytes() * read / weights.numbers()));
    };
    let (encoded, bytes) = qwen3::build(weights, precision, &Recipe::new(precision), data, &mut on_read)?;
    graph.write(&encoded)?;
    Ok(bytes + encoded.len() as u64)
}

/// Returns whether two paths lead to the same folder.
fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}
