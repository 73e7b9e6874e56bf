//! Computes the model in fp32 straight from its weights, layer by layer, so that memory holds the weights of one layer. The
//! computation shares no code with the graphs of exports, so it can check them.

use std::collections::HashMap;

use ndarray::{Array2, ArrayView2, Axis, Slice};
use rayon::prelude::*;

use crate::interrupt;
use crate::model::export::weights::{Architecture, Norm, Projection, Weights};
use crate::text::tokenize::Encoding;

/// The most tokens that go through a layer together, unless one text has more. They take about 100 MB.
const TOKENS_MAX: usize = 4096;

/// Queries per block of attention. A block is multiplied only with the keys up to its end.
const QUERIES: usize = 256;

/// The fewest numbers that a thread takes at once.
const PER_THREAD: usize = 1 << 14;

/// The weights of one layer.
pub struct Layer {
    pub number: usize,
    /// The matrices `[out, in]`, in standard layout.
    matrices: HashMap<Projection, Array2<f32>>,
    attention_norm: Vec<f32>,
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
    mlp_norm: Vec<f32>,
}

impl Layer {
    /// Reads a layer.
    ///
    /// # Errors
    /// The weights cannot be read, or a signal has arrived.
    pub fn read(weights: &dyn Weights, number: usize) -> anyhow::Result<Self> {
        let mut matrices = HashMap::new();
        for projection in Projection::ALL {
            interrupt::check()?;
            let matrix = weights.projection(number, projection)?.reversed_axes();
            matrices.insert(projection, matrix.as_standard_layout().into_owned());
        }
        Ok(Layer {
            number,
            matrices,
            attention_norm: weights.norm(Norm::Attention(number))?,
            query_norm: weights.norm(Norm::Query(number))?,
            key_norm: weights.norm(Norm::Key(number))?,
            mlp_norm: weights.norm(Norm::Mlp(number))?,
        })
    }

    /// Returns the matrix of a projection, `[out, in]`.
    pub fn matrix(&self, projection: Projection) -> &Array2<f32> {
        &self.matrices[&projection]
    }

    /// Changes each matrix.
    pub fn change(&mut self, change: impl Fn(Projection, &mut Array2<f32>)) {
        for (projection, matrix) in &mut self.matrices {
            change(*projection, matrix);
        }
    }
}

/// The hidden states of some texts.
#[derive(Clone)]
pub struct Hidden {
    /// One row per token, `[tokens, width]`.
    pub rows: Array2<f32>,
    /// Tokens per text.
    lengths: Vec<usize>,
}

/// A function that multiplies rows `[rows, in]` with the matrix of a projection, and returns `[rows, out]`.
pub type LayerProduct<'a> =
    &'a mut dyn FnMut(&Layer, Projection, &Array2<f32>) -> anyhow::Result<Array2<f32>>;

/// Computes models of one architecture in fp32.
pub struct Reference {
    architecture: Architecture,
    /// The tables of rotary position embeddings, `[positions, head_dim / 2]`.
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Reference {
    pub fn new(architecture: &Architecture) -> Self {
        let [cosines, sines] = architecture.rotary();
        Reference { architecture: architecture.clone(), cosines, sines }
    }

    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Returns the vectors of texts, `[texts, width]`, L2-normalized.
    ///
    /// # Errors
    /// The weights cannot be read, or ONNX Runtime failed.
    pub fn vectors(
        &self,
        weights: &dyn Weights,
        texts: &[Encoding],
        product: LayerProduct,
        on_layer: &mut dyn FnMut(usize),
    ) -> anyhow::Result<Array2<f32>> {
        let mut groups = embedded(weights, texts)?;
        for number in 0..self.architecture.layers {
            let layer = Layer::read(weights, number)?;
            for hidden in &mut groups {
                interrupt::check()?;
                self.forward(&layer, hidden, product)?;
            }
            on_layer(number);
        }
        self.pooled(weights, &groups)
    }

    /// Computes a layer, and replaces the hidden states.
    ///
    /// # Errors
    /// The errors of `product`.
    pub fn forward(&self, layer: &Layer, hidden: &mut Hidden, product: LayerProduct) -> anyhow::Result<()> {
        let Architecture { head_dim, epsilon, .. } = self.architecture;
        let normed = normed(&hidden.rows, &layer.attention_norm, epsilon);
        let mut query = product(layer, Projection::Query, &normed)?;
        let mut key = product(layer, Projection::Key, &normed)?;
        let value = product(layer, Projection::Value, &normed)?;
        drop(normed);
        for (heads, gains) in [(&mut query, &layer.query_norm), (&mut key, &layer.key_norm)] {
            norm_parts(heads, head_dim, gains, epsilon);
            self.rotate_by_position(heads, &hidden.lengths);
        }
        let attended = self.attended(&query, &key, &value, &hidden.lengths);
        hidden.rows += &product(layer, Projection::Output, &attended)?;
        let normed = self::normed(&hidden.rows, &layer.mlp_norm, epsilon);
        let mut inner = product(layer, Projection::Gate, &normed)?;
        let up = product(layer, Projection::Up, &normed)?;
        multiply_by_silu(&mut inner, &up);
        hidden.rows += &product(layer, Projection::Down, &inner)?;
        Ok(())
    }

    /// Returns the vectors of the texts after the last layer.
    fn pooled(&self, weights: &dyn Weights, groups: &[Hidden]) -> anyhow::Result<Array2<f32>> {
        let Architecture { width, epsilon, .. } = self.architecture;
        let ends = groups.iter().flat_map(|hidden| {
            let mut end = 0;
            hidden.lengths.iter().map(move |length| {
                end += length;
                hidden.rows.row(end - 1)
            })
        });
        let ends: Vec<f32> = ends.flat_map(|row| row.to_vec()).collect();
        let ends = Array2::from_shape_vec((ends.len() / width, width), ends)?;
        let mut vectors = normed(&ends, &weights.norm(Norm::Final)?, epsilon);
        if let Some(matrix) = weights.output()? {
            vectors = vectors.dot(&matrix);
        }
        for mut vector in vectors.rows_mut() {
            let norm = vector.dot(&vector).sqrt();
            vector /= norm;
        }
        Ok(vectors)
    }

    /// Rotates each head of each row by its position (RoFormer, arXiv:2104.09864).
    fn rotate_by_position(&self, rows: &mut Array2<f32>, lengths: &[usize]) {
        let head_dim = self.architecture.head_dim;
        let half = head_dim / 2;
        let positions: Vec<usize> = lengths.iter().flat_map(|&length| 0..length).collect();
        let mut rows: Vec<_> = rows.rows_mut().into_iter().zip(positions).collect();
        rows.par_iter_mut().for_each(|(row, position)| {
            let table = *position * half..(*position + 1) * half;
            let (cosines, sines) = (&self.cosines[table.clone()], &self.sines[table]);
            let Some(row) = row.as_slice_mut() else { return };
            for head in row.chunks_mut(head_dim) {
                let (low, high) = head.split_at_mut(half);
                for (((low, high), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
                    (*low, *high) = (*low * cosine - *high * sine, *high * cosine + *low * sine);
                }
            }
        });
    }

    /// Returns the weighted means of the values, `[tokens, heads * head_dim]`.
    fn attended(
        &self,
        query: &Array2<f32>,
        key: &Array2<f32>,
        value: &Array2<f32>,
        lengths: &[usize],
    ) -> Array2<f32> {
        let Architecture { heads, kv_heads, head_dim, .. } = self.architecture;
        let mut attended = Array2::zeros(query.dim());
        let mut parts = Vec::new();
        let mut rest = attended.view_mut();
        let mut first = 0;
        for &length in lengths {
            let (mut text, after) = rest.split_at(Axis(0), length);
            rest = after;
            for head in 0..heads {
                let (part, others) = text.split_at(Axis(1), head_dim);
                text = others;
                parts.push((part, first, head));
            }
            first += length;
        }
        parts.into_par_iter().for_each(|(mut part, first, head)| {
            let tokens = first..first + part.nrows();
            let of_head = |matrix: &Array2<f32>, head: usize| {
                let rows = matrix.slice_axis(Axis(0), Slice::from(tokens.clone()));
                rows.slice_axis(Axis(1), Slice::from(head * head_dim..(head + 1) * head_dim)).to_owned()
            };
            let group = head / (heads / kv_heads);
            let (query, key, value) = (of_head(query, head), of_head(key, group), of_head(value, group));
            for start in (0..part.nrows()).step_by(QUERIES) {
                let end = (start + QUERIES).min(part.nrows());
                let queries = query.slice_axis(Axis(0), Slice::from(start..end));
                let weights = attention_weights(queries, key.slice_axis(Axis(0), Slice::from(..end)), start);
                let mut part = part.slice_axis_mut(Axis(0), Slice::from(start..end));
                part.assign(&weights.dot(&value.slice_axis(Axis(0), Slice::from(..end))));
            }
        });
        attended
    }
}

/// Returns the embeddings of the tokens of texts, in groups that go through a layer together.
///
/// # Errors
/// The embeddings cannot be read.
pub fn embedded(weights: &dyn Weights, texts: &[Encoding]) -> anyhow::Result<Vec<Hidden>> {
    let mut groups: Vec<Vec<&Encoding>> = Vec::new();
    let mut tokens = usize::MAX;
    for text in texts {
        match groups.last_mut() {
            Some(group) if tokens + text.len() <= TOKENS_MAX => group.push(text),
            _ => {
                groups.push(vec![text]);
                tokens = 0;
            }
        }
        tokens += text.len();
    }
    groups.iter().map(|group| embedded_group(weights, group)).collect()
}

fn embedded_group(weights: &dyn Weights, texts: &[&Encoding]) -> anyhow::Result<Hidden> {
    let ids: Vec<usize> = texts.iter().flat_map(|text| text.ids()).map(|&id| id as usize).collect();
    let mut rows = Array2::zeros((ids.len(), weights.architecture().width));
    for (mut row, id) in rows.rows_mut().into_iter().zip(ids) {
        row.assign(&weights.embeddings(id..id + 1)?.row(0));
    }
    Ok(Hidden { rows, lengths: texts.iter().map(|text| text.len()).collect() })
}

/// Returns the softmax of the scaled products of queries and keys. A query sees its own key and those before it. The first query
/// has the position `first`.
fn attention_weights(queries: ArrayView2<f32>, keys: ArrayView2<f32>, first: usize) -> Array2<f32> {
    #[allow(clippy::cast_precision_loss)] // A head has far fewer than 2²⁴ dimensions.
    let scale = 1.0 / (queries.ncols() as f32).sqrt();
    let mut weights = queries.dot(&keys.t());
    for (number, mut row) in weights.rows_mut().into_iter().enumerate() {
        let (mut row, mut later) = row.view_mut().split_at(Axis(0), first + number + 1);
        later.fill(0.0);
        let largest = row.fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        row.mapv_inplace(|score| ((score - largest) * scale).exp());
        let sum = row.sum();
        row /= sum;
    }
    weights
}

/// Applies SiLU to the gates, and multiplies them with the other product of the MLP.
fn multiply_by_silu(gate: &mut Array2<f32>, up: &Array2<f32>) {
    let (Some(gates), Some(ups)) = (gate.as_slice_mut(), up.as_slice()) else { return };
    gates
        .par_iter_mut()
        .with_min_len(PER_THREAD)
        .zip(ups)
        .for_each(|(gate, up)| *gate *= up / (1.0 + (-*gate).exp()));
}

/// Returns the RMSNorm of each row (arXiv:1910.07467).
fn normed(rows: &Array2<f32>, gains: &[f32], epsilon: f32) -> Array2<f32> {
    let mut rows = rows.clone();
    norm_parts(&mut rows, gains.len(), gains, epsilon);
    rows
}

/// Computes the RMSNorm of each part of each row. Parts have `length` numbers.
fn norm_parts(rows: &mut Array2<f32>, length: usize, gains: &[f32], epsilon: f32) {
    let Some(values) = rows.as_slice_mut() else { return };
    values.par_chunks_mut(length).for_each(|part| {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        // Rounding to 32 bits is meant.
        let factor = {
            let squares: f64 = part.iter().map(|&x| f64::from(x).powi(2)).sum();
            (1.0 / (squares / part.len() as f64 + f64::from(epsilon)).sqrt()) as f32
        };
        for (value, gain) in part.iter_mut().zip(gains) {
            *value *= factor * gain;
        }
    });
}
