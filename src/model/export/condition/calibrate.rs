//! Runs calibration texts through a model in fp32. Chooses the scales of each layer, and measures how much each product of a
//! layer would change the hidden states if it were computed in 8 bits.

use std::collections::HashMap;

use ndarray::{Array2, Axis, concatenate};

use super::conditioned::Conditioned;
use super::noise::{Group, Noise};
use super::scales::Scales;
use crate::interrupt;
use crate::model::export::check::emulate::rounded;
use crate::model::export::check::multiply::Multiply;
use crate::model::export::check::reference::{Hidden, Layer, Reference, embedded};
use crate::model::export::weights::{Projection, Weights};
use crate::text::tokenize::Encoding;

/// Tokens of the sample that is run once more per group of products, in 8 bits.
const SAMPLE_TOKENS: usize = 512;

/// Runs calibration texts through the model. Returns the weights with the scales, and the noise of each group of products.
///
/// # Errors
/// The weights cannot be read, ONNX Runtime failed, or a signal has arrived.
pub fn calibrate<'a>(
    base: &'a dyn Weights,
    texts: &[Encoding],
    multiply: Multiply,
    on_layer: &mut dyn FnMut(usize),
) -> anyhow::Result<(Conditioned<'a>, Vec<Noise>)> {
    let mut weights = Conditioned::new(base);
    let architecture = base.architecture();
    let reference = Reference::new(architecture);
    let (sample, rest) = texts.split_at(sample_size(texts));
    let mut groups = embedded(&weights, sample)?;
    let samples = groups.len();
    groups.extend(embedded(&weights, rest)?);
    let mut noise = Vec::new();
    for number in 0..architecture.layers {
        interrupt::check()?;
        let mut layer = Layer::read(&weights, number)?;
        let before: Vec<Hidden> = groups[..samples].to_vec();
        let mut read: HashMap<Projection, Vec<Array2<f32>>> = HashMap::new();
        for hidden in &mut groups {
            let mut product = |layer: &Layer, projection, rows: &Array2<f32>| {
                if matches!(projection, Projection::Output | Projection::Down) {
                    read.entry(projection).or_default().push(rows.clone());
                }
                multiply(rows, layer.matrix(projection))
            };
            reference.forward(&layer, hidden, &mut product)?;
        }
        let read_by = |projection| -> anyhow::Result<Array2<f32>> {
            let parts: Vec<_> = read[&projection].iter().map(|rows| rows.view()).collect();
            Ok(concatenate(Axis(0), &parts)?)
        };
        let (output, down) = (layer.matrix(Projection::Output), layer.matrix(Projection::Down));
        let scales =
            Scales::choose(architecture, &read_by(Projection::Output)?, output, &read_by(Projection::Down)?, down);
        layer.change(|projection, matrix| scales.apply(projection, matrix));
        weights.push(scales);
        for group in Group::ALL {
            let mut relative = 0.0;
            let projections = group.projections().iter();
            let matrices: HashMap<Projection, Array2<f32>> =
                projections.map(|&projection| (projection, rounded(layer.matrix(projection)))).collect();
            for (before, exact) in before.iter().zip(&groups) {
                let mut hidden = before.clone();
                let mut product = |layer: &Layer, projection, rows: &Array2<f32>| match matrices.get(&projection) {
                    Some(matrix) => multiply(&rounded(rows), matrix),
                    None => multiply(rows, layer.matrix(projection)),
                };
                reference.forward(&layer, &mut hidden, &mut product)?;
                relative += relative_change(&hidden.rows, &exact.rows) / samples as f64;
            }
            let weights = matrices.values().map(Array2::len).sum();
            noise.push(Noise { layer: number, group, relative, weights });
        }
        on_layer(number);
    }
    Ok((weights, noise))
}

/// Returns how many of the first texts are the sample.
fn sample_size(texts: &[Encoding]) -> usize {
    let mut tokens = 0;
    texts.iter().take_while(|text| {
        tokens += text.len();
        tokens <= SAMPLE_TOKENS
    }).count().max(1)
}

/// Returns the mean over rows of the squared distance, relative to the squared norm of the exact row.
fn relative_change(rows: &Array2<f32>, exact: &Array2<f32>) -> f64 {
    let of_row = |(row, exact): (ndarray::ArrayView1<f32>, ndarray::ArrayView1<f32>)| {
        let distance: f64 = row.iter().zip(exact).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        distance / exact.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()
    };
    rows.rows().into_iter().zip(exact.rows()).map(of_row).sum::<f64>() / rows.nrows() as f64
}
