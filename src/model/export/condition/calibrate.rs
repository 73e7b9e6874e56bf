//! Runs calibration texts through a model in fp32. Chooses the scales of each layer, and measures how much each product of a
//! layer would change the hidden states if it were computed in 8 bits.

use std::collections::HashMap;

use ndarray::{Array2, ArrayView1, Axis, concatenate};

use super::conditioned::Conditioned;
use super::noise::{Noise, ProductGroup};
use super::scales::Scales;
use crate::interrupt;
use crate::model::export::check::emulate::rounded;
use crate::model::export::check::multiply::Multiply;
use crate::model::export::check::reference::{Hidden, Layer, Reference, embedded};
use crate::model::export::weights::{Projection, Weights};
use crate::text::tokenize::Encoding;

/// The most tokens of the sample, which is computed once more per group of products, in 8 bits.
const SAMPLE_TOKENS_MAX: usize = 512;

/// Runs calibration texts through the model. Returns the weights with the scales, and the noise of each group of products.
///
/// # Errors
/// The weights cannot be read, ONNX Runtime failed, or a signal has arrived.
pub fn calibrate<'a>(
    base: &'a dyn Weights,
    texts: &[Encoding],
    multiplier: &mut dyn Multiply,
    on_layer: &mut dyn FnMut(usize),
) -> anyhow::Result<(Conditioned<'a>, Vec<Noise>)> {
    let mut weights = Conditioned::new(base);
    let reference = Reference::new(base.architecture());
    let (sample, rest) = texts.split_at(sample_size(texts));
    let mut hidden = embedded(&weights, sample)?;
    let samples = hidden.len();
    hidden.extend(embedded(&weights, rest)?);
    let mut noise = Vec::new();
    for number in 0..base.architecture().layers {
        interrupt::check()?;
        let mut layer = Layer::read(&weights, number)?;
        let before = hidden[..samples].to_vec();
        let scales = choose_scales(&reference, &layer, &mut hidden, multiplier)?;
        layer.change(|projection, matrix| scales.apply(projection, matrix));
        weights.push(scales);
        for group in ProductGroup::ALL {
            noise.push(measure_noise(&reference, &layer, group, &before, &hidden, multiplier)?);
        }
        on_layer(number);
    }
    Ok((weights, noise))
}

/// Computes a layer, which replaces the hidden states, and chooses the scales by the rows that two of its products read.
fn choose_scales(
    reference: &Reference,
    layer: &Layer,
    hidden: &mut [Hidden],
    multiplier: &mut dyn Multiply,
) -> anyhow::Result<Scales> {
    let (mut attended, mut inner) = (Vec::new(), Vec::new());
    for hidden in hidden {
        let mut product = |layer: &Layer, projection, rows: &Array2<f32>| {
            match projection {
                Projection::Output => attended.push(rows.clone()),
                Projection::Down => inner.push(rows.clone()),
                _ => {}
            }
            multiplier.multiply(rows, layer.matrix(projection))
        };
        reference.forward(layer, hidden, &mut product)?;
    }
    let joined = |parts: &[Array2<f32>]| {
        let views: Vec<_> = parts.iter().map(|rows| rows.view()).collect();
        concatenate(Axis(0), &views)
    };
    Ok(Scales::choose(reference.architecture(), layer, &joined(&attended)?, &joined(&inner)?))
}

/// Computes a layer with one group of its products in 8 bits, from the hidden states before the layer, and compares the result
/// with the exact hidden states.
fn measure_noise(
    reference: &Reference,
    layer: &Layer,
    group: ProductGroup,
    before: &[Hidden],
    exact: &[Hidden],
    multiplier: &mut dyn Multiply,
) -> anyhow::Result<Noise> {
    let matrices: HashMap<Projection, Array2<f32>> = group
        .projections()
        .iter()
        .map(|&projection| (projection, rounded(layer.matrix(projection))))
        .collect();
    let mut product = |layer: &Layer, projection, rows: &Array2<f32>| match matrices.get(&projection) {
        Some(matrix) => multiplier.multiply(&rounded(rows), matrix),
        None => multiplier.multiply(rows, layer.matrix(projection)),
    };
    let mut relative = 0.0;
    for (before, exact) in before.iter().zip(exact) {
        let mut hidden = before.clone();
        reference.forward(layer, &mut hidden, &mut product)?;
        relative += relative_change(&hidden.rows, &exact.rows);
    }
    let weights = matrices.values().map(Array2::len).sum();
    Ok(Noise { layer: layer.number, group, relative: relative / before.len() as f64, weights })
}

/// Returns how many of the first texts are the sample: at least one.
fn sample_size(texts: &[Encoding]) -> usize {
    let mut tokens = 0;
    let fits = |text: &&Encoding| {
        tokens += text.len();
        tokens <= SAMPLE_TOKENS_MAX
    };
    texts.iter().take_while(fits).count().max(1)
}

/// Returns the mean over rows of the squared distance, relative to the squared norm of the exact row.
fn relative_change(rows: &Array2<f32>, exact: &Array2<f32>) -> f64 {
    let of_row = |(row, exact): (ArrayView1<f32>, ArrayView1<f32>)| {
        let distance: f64 = row.iter().zip(exact).map(|(a, b)| f64::from(a - b).powi(2)).sum();
        distance / exact.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()
    };
    rows.rows().into_iter().zip(exact.rows()).map(of_row).sum::<f64>() / rows.nrows() as f64
}
