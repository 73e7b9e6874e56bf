//! Chooses the scales inside a layer. Values are divided by them, and the matrix that reads the values is multiplied with them,
//! so a dimension with large values moves a part of its size into the weights (SmoothQuant, arXiv:2211.10438).

use ndarray::{Array1, Array2, ArrayView1, Axis, Slice};
use rayon::prelude::*;

use crate::model::export::check::reference::Layer;
use crate::model::export::weights::{Architecture, Projection};

/// The strengths to try. With 0 a scale is the inverse of the weights, with 1 it is the size of the activations.
const STRENGTHS: [f32; 7] = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];

/// Numbers that are added side by side. The widths of models are multiples of it.
const LANES: usize = 8;

/// The smallest size of a dimension. A dimension of zeros has a scale too.
const SIZE_MIN: f32 = 1e-12;

/// The most that scales may leave of the expected error without scales. With more, no scales are used.
const ERROR_SHARE_MAX: f32 = 0.98;

/// The scales of one layer.
pub struct Scales {
    /// Per dimension of the values, `[kv_heads * head_dim]`.
    value: Array1<f32>,
    /// Per dimension between the two products of the MLP, `[inner]`.
    inner: Array1<f32>,
    /// The same per dimension of the weighted means of the values, `[heads * head_dim]`.
    read_value: Array1<f32>,
}

impl Scales {
    /// Chooses the scales of a layer. `attended` and `inner` are the rows that the products `Output` and `Down` read.
    pub fn choose(
        architecture: &Architecture,
        layer: &Layer,
        attended: &Array2<f32>,
        inner: &Array2<f32>,
    ) -> Self {
        let (head_dim, group) = (architecture.head_dim, architecture.heads / architecture.kv_heads);
        // The heads of queries that read the same values share their scales: the geometric mean.
        let share = |scales: &[f32]| -> Vec<f32> {
            let heads = scales.chunks(group * head_dim);
            let mean = |heads: &[f32], at: usize| {
                #[allow(clippy::cast_precision_loss)] // A group has a few heads.
                let power = 1.0 / group as f32;
                (0..group).map(|head| heads[head * head_dim + at]).product::<f32>().powf(power)
            };
            heads.flat_map(|heads| (0..head_dim).map(move |at| mean(heads, at))).collect()
        };
        let spread = |scales: &[f32]| -> Vec<f32> {
            scales
                .chunks(head_dim)
                .flat_map(|head| std::iter::repeat_n(head, group).flatten().copied())
                .collect()
        };
        let read_value = search(attended, layer.matrix(Projection::Output), |scales| spread(&share(scales)));
        Scales {
            value: share(&read_value).into(),
            inner: search(inner, layer.matrix(Projection::Down), <[f32]>::to_vec).into(),
            read_value: read_value.into(),
        }
    }

    /// Scales a matrix `[out, in]`.
    pub fn apply(&self, projection: Projection, matrix: &mut Array2<f32>) {
        match projection {
            Projection::Value => *matrix /= &self.value.view().insert_axis(Axis(1)),
            Projection::Up => *matrix /= &self.inner.view().insert_axis(Axis(1)),
            Projection::Output => *matrix *= &self.read_value,
            Projection::Down => *matrix *= &self.inner,
            Projection::Query | Projection::Key | Projection::Gate => {}
        }
    }
}

/// Returns the scales with the smallest expected error, one per input dimension. Half of the rows choose the scales per strength,
/// and the other half choose the strength, so that scales do not fit their own rows only.
fn search(rows: &Array2<f32>, matrix: &Array2<f32>, share: impl Fn(&[f32]) -> Vec<f32> + Sync) -> Vec<f32> {
    let every_second = |first| rows.slice_axis(Axis(0), Slice::new(first, None, 2));
    let (fitted, tested) = (every_second(0), every_second(1).to_owned());
    let largest = |column: ArrayView1<f32>| column.fold(SIZE_MIN, |a, b| a.max(b.abs()));
    #[allow(clippy::cast_precision_loss)] // Far fewer than 2²⁴ rows.
    let root_mean_square =
        |column: ArrayView1<f32>| (column.dot(&column) / column.len() as f32).sqrt().max(SIZE_MIN);
    let sizes: [(Vec<f32>, Vec<f32>); 2] = [
        (
            fitted.columns().into_iter().map(largest).collect(),
            matrix.columns().into_iter().map(largest).collect(),
        ),
        (
            fitted.columns().into_iter().map(root_mean_square).collect(),
            matrix.columns().into_iter().map(root_mean_square).collect(),
        ),
    ];
    let none = vec![1.0; matrix.ncols()];
    let candidates = sizes.par_iter().flat_map(|(activations, weights)| {
        let share = &share;
        let tested = &tested;
        STRENGTHS.par_iter().map(move |&strength| {
            let sizes = activations.iter().zip(weights);
            let scales: Vec<f32> = sizes.map(|(a, w)| a.powf(strength) / w.powf(1.0 - strength)).collect();
            let scales = share(&scales);
            (expected_error(tested, matrix, &scales), scales)
        })
    });
    let best = candidates.min_by(|(one, _), (other, _)| one.total_cmp(other));
    match best {
        Some((error, scales)) if error < ERROR_SHARE_MAX * expected_error(&tested, matrix, &none) => scales,
        _ => none,
    }
}

/// Returns the expected square of the error of a row's product, if the scaled activations are rounded with one scale per row and
/// the scaled matrix with one scale per output, up to a constant factor. Rounding errors are taken as independent and evenly
/// distributed, so each has a variance of a twelfth of its squared step.
fn expected_error(rows: &Array2<f32>, matrix: &Array2<f32>, scales: &[f32]) -> f32 {
    let inverse: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
    let sums = |matrix: &Array2<f32>, factors: &[f32]| {
        let rows = matrix.as_slice().unwrap_or_default().chunks(factors.len());
        rows.map(|row| sizes(row, factors)).fold((0.0, 0.0), |(steps, energy), (largest, squares)| {
            (steps + largest * largest, energy + squares)
        })
    };
    let (steps, energy) = sums(rows, &inverse);
    let (weight_steps, weight_energy) = sums(matrix, scales);
    (steps * weight_energy + energy * weight_steps) / rows.nrows() as f32
}

/// Returns the largest size and the sum of the squares of scaled numbers.
fn sizes(values: &[f32], factors: &[f32]) -> (f32, f32) {
    let (mut largest, mut squares) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    // The processor computes all lanes at once.
    for (values, factors) in values.chunks_exact(LANES).zip(factors.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let value = (values[lane] * factors[lane]).abs();
            largest[lane] = if value > largest[lane] { value } else { largest[lane] };
            squares[lane] += value * value;
        }
    }
    (largest.into_iter().fold(0.0, f32::max), squares.iter().sum())
}
