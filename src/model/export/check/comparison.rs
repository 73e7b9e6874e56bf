//! Checks an export: compares its vectors of texts that it was not calibrated on with those of the model in fp32.

use ndarray::Array2;

use super::emulate::{Rounded, rounded};
use super::multiply::Multiply;
use super::quality::Quality;
use super::reference::{Layer, Reference};
use crate::interrupt;
use crate::model::export::linear::Recipe;
use crate::model::export::weights::Weights;
use crate::text::tokenize::Encoding;
use crate::vector::batch::{Batch, Batching, ChunkKey, plan};
use crate::vector::embedding::Embedding;

/// The most tokens per batch.
const BATCH_TOKENS: usize = 1536;

/// The texts of the check, and their vectors in fp32.
pub struct Comparison {
    texts: Vec<Encoding>,
    /// `[texts, width]`
    exact: Array2<f32>,
}

impl Comparison {
    /// Computes the vectors of the texts in fp32.
    ///
    /// # Errors
    /// The weights cannot be read, ONNX Runtime failed, or a signal has arrived.
    pub fn new(
        weights: &dyn Weights,
        texts: Vec<Encoding>,
        multiplier: &mut dyn Multiply,
        on_layer: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Self> {
        let reference = Reference::new(weights.architecture());
        let exact = reference.vectors(
            weights,
            &texts,
            &mut |layer, projection, rows| multiplier.multiply(rows, layer.matrix(projection)),
            on_layer,
        )?;
        Ok(Comparison { texts, exact })
    }

    /// Takes the vectors of another embedder for those in fp32. `forward` returns the vectors of a batch, `[texts, width]`.
    ///
    /// # Errors
    /// The errors of `forward`, or a signal has arrived.
    pub fn with(
        texts: Vec<Encoding>,
        forward: impl FnMut(&Batch) -> anyhow::Result<Array2<f32>>,
    ) -> anyhow::Result<Self> {
        let exact = vectors(&texts, forward)?;
        Ok(Comparison { texts, exact })
    }

    /// Measures an embedder. `forward` returns the vectors of a batch, `[texts, width]`.
    ///
    /// # Errors
    /// The errors of `forward`, or a signal has arrived.
    pub fn measure(
        &self,
        forward: impl FnMut(&Batch) -> anyhow::Result<Array2<f32>>,
    ) -> anyhow::Result<Quality> {
        Ok(Quality::measure(&vectors(&self.texts, forward)?, &self.exact))
    }

    /// Measures an 8-bit export as a processor with 8-bit dot products computes it.
    ///
    /// # Errors
    /// The weights cannot be read, ONNX Runtime failed, or a signal has arrived.
    pub fn of_rounded(
        &self,
        weights: &dyn Weights,
        recipe: &Recipe,
        multiplier: &mut dyn Multiply,
        on_layer: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Quality> {
        let weights = Rounded::new(weights, recipe);
        let mut product = |layer: &Layer, projection, rows: &Array2<f32>| {
            let matrix = layer.matrix(projection);
            if weights.is_rounded(layer.number, projection) {
                return multiplier.multiply(&rounded(rows), matrix);
            }
            multiplier.multiply(rows, matrix)
        };
        let vectors =
            Reference::new(weights.architecture()).vectors(&weights, &self.texts, &mut product, on_layer)?;
        Ok(Quality::measure(&vectors, &self.exact))
    }
}

/// Returns the vectors of texts, `[texts, width]`, L2-normalized.
fn vectors(
    texts: &[Encoding],
    mut forward: impl FnMut(&Batch) -> anyhow::Result<Array2<f32>>,
) -> anyhow::Result<Array2<f32>> {
    let chunks = texts.iter().enumerate();
    let chunks = chunks.map(|(document, text)| (ChunkKey { document, chunk: 0 }, text.clone())).collect();
    let mut found = vec![Vec::new(); texts.len()];
    for batch in plan(chunks, Batching::Rounded, BATCH_TOKENS) {
        interrupt::check()?;
        for (key, vector) in batch.keys().zip(forward(&batch)?.rows()) {
            found[key.document] = Embedding::normalized(vector.iter().copied())?.into_values().into_vec();
        }
    }
    let width = found.first().map_or(0, Vec::len);
    Ok(Array2::from_shape_vec((texts.len(), width), found.concat())?)
}
