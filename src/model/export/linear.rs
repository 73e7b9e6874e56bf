//! The encodings of matrix products: which numbers a graph stores for a matrix, and which operators multiply rows with it.

use std::borrow::Cow;
use std::collections::HashSet;

use anyhow::Context;
use ndarray::Array2;
use rayon::prelude::*;

use super::builder::{Graph, Operator, Tensor};
use super::float::FloatKind;
use super::weights::{Architecture, Projection};
use crate::model::precision::Precision;

/// Weights that share a scale in block-quantized matrices. With 32, ONNX Runtime's products give the same bits for any batch.
const BLOCK: usize = 32;

/// The zero point of 8-bit activations, which are unsigned. Weights are signed: the 8-bit dot products of x86 multiply
/// unsigned numbers with signed numbers.
const ZERO_POINT: u8 = 128;

/// The largest 8-bit weight, and the largest distance of an 8-bit activation from the zero point.
pub const LARGEST: f32 = 127.0;

/// The smallest scale of a row of activations, times [`LARGEST`]. A row of zeros has a scale too.
const MAGNITUDE_MIN: f64 = 1e-30;

/// Input dimensions that are transposed together. The columns of this many rows fit into the cache of a core.
const TRANSPOSED: usize = 16;

/// How a product is stored and computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductEncoding {
    /// Weights and activations are floats.
    Floats(FloatKind),
    /// Weights have this many bits, with one scale per block of 32 weights. The operator rounds the activations to 8 bits, in
    /// blocks of their own row.
    Blocks { bits: u8 },
    /// 8-bit weights with one scale per column, and 8-bit activations with one scale per row (LLM.int8(), arXiv:2208.07339,
    /// section 3.1: vector-wise quantization).
    Tokens,
}

/// The encodings of an export.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The type of the stored embedding matrix.
    pub embeddings: FloatKind,
    /// The type of the activations between the products.
    pub activations: FloatKind,
    products: ProductEncoding,
    /// The products that stay in fp32, by layer.
    kept: HashSet<(usize, Projection)>,
}

impl Recipe {
    /// Returns the recipe of a precision.
    pub fn new(precision: Precision) -> Self {
        let floats = |kind| Recipe {
            embeddings: kind,
            activations: kind,
            products: ProductEncoding::Floats(kind),
            kept: HashSet::new(),
        };
        let quantized = |products| Recipe { products, embeddings: FloatKind::F16, ..floats(FloatKind::F32) };
        match precision {
            Precision::Fp32 | Precision::Plain => floats(FloatKind::F32),
            Precision::F16 => floats(FloatKind::F16),
            Precision::Bf16 => floats(FloatKind::Bf16),
            Precision::Int8 => quantized(ProductEncoding::Tokens),
            Precision::Q8 => quantized(ProductEncoding::Blocks { bits: 8 }),
            Precision::Q4 => quantized(ProductEncoding::Blocks { bits: 4 }),
        }
    }

    /// Returns the encoding of a product.
    pub fn encoding(&self, layer: usize, projection: Projection) -> ProductEncoding {
        let is_kept = self.kept.contains(&(layer, projection));
        if is_kept { ProductEncoding::Floats(FloatKind::F32) } else { self.products }
    }

    /// Returns whether the export has products in 8 or 4 bits.
    pub fn is_quantized(&self) -> bool {
        !matches!(self.products, ProductEncoding::Floats(_))
    }

    /// Keeps products in fp32, if the other products are in 8 bits with a scale per column.
    pub fn keep(&mut self, products: HashSet<(usize, Projection)>) {
        if self.products == ProductEncoding::Tokens {
            self.kept = products;
        }
    }

    /// Returns the share of the weights of all products that stay in fp32.
    pub fn kept_weights(&self, architecture: &Architecture) -> f64 {
        let weights = |projection: Projection| {
            let (inner, outer) = projection.shape(architecture);
            inner * outer
        };
        let kept: usize = self.kept.iter().map(|(_, projection)| weights(*projection)).sum();
        let all: usize = Projection::ALL.into_iter().map(weights).sum();
        kept as f64 / (all * architecture.layers) as f64
    }
}

/// Rows `[rows, in]` that several products may have in common. A form of the rows is computed when the first product needs it.
pub struct Rows {
    values: String,
    /// A factor per row, `[rows, 1]`, that the values have yet to be multiplied with.
    factor: Option<String>,
    quantized: Option<QuantizedRows>,
}

/// Rows in 8 bits, and the factor of each row.
struct QuantizedRows {
    values: String,
    factor: String,
}

/// The result of a product, `[rows, out]`.
pub struct Product {
    values: String,
    /// A factor per row, `[rows, 1]`, that the values have yet to be multiplied with.
    factor: Option<String>,
}

impl Rows {
    pub fn new(values: String) -> Self {
        Rows { values, factor: None, quantized: None }
    }

    /// Returns rows whose values have yet to be multiplied with the factor of another product.
    pub fn with_factor(values: String, product: Product) -> Self {
        Rows { factor: product.factor, ..Rows::new(values) }
    }

    fn quantized(&mut self, graph: &mut Graph) -> anyhow::Result<&QuantizedRows> {
        if self.quantized.is_none() {
            let rows = quantize_rows(graph, &self.values)?;
            let factor = match &self.factor {
                Some(factor) => graph.add("Mul", &[&rows.factor, factor]),
                None => rows.factor,
            };
            self.quantized = Some(QuantizedRows { factor, ..rows });
        }
        self.quantized.as_ref().context("the rows were quantized above")
    }
}

impl Product {
    /// Returns the values without the factor of their row, for an operator whose result does not depend on this factor, such
    /// as a norm.
    pub fn unscaled(&self) -> &str {
        &self.values
    }

    /// Returns the values, multiplied with the factor of their row.
    pub fn scaled(&self, graph: &mut Graph) -> String {
        match &self.factor {
            Some(factor) => graph.add("Mul", &[&self.values, factor]),
            None => self.values.clone(),
        }
    }
}

/// Adds the product of rows and a matrix `[in, out]`, which is stored under `name`.
///
/// # Errors
/// The data file cannot be written.
pub fn multiply(
    graph: &mut Graph,
    rows: &mut Rows,
    name: &str,
    weight: &Array2<f32>,
    encoding: ProductEncoding,
) -> anyhow::Result<Product> {
    match encoding {
        ProductEncoding::Floats(kind) => {
            let weight = graph.constant(name, floats(weight, kind))?;
            let values = graph.add("MatMul", &[&rows.values, &weight]);
            Ok(Product { values, factor: rows.factor.clone() })
        }
        ProductEncoding::Blocks { bits } => {
            let values = multiply_blocks(graph, &rows.values, name, weight, bits)?;
            Ok(Product { values, factor: rows.factor.clone() })
        }
        ProductEncoding::Tokens => {
            let rows = rows.quantized(graph)?;
            let values = multiply_tokens(graph, &rows.values, name, weight)?;
            Ok(Product { values, factor: Some(rows.factor.clone()) })
        }
    }
}

fn multiply_blocks(
    graph: &mut Graph,
    rows: &str,
    name: &str,
    weight: &Array2<f32>,
    bits: u8,
) -> anyhow::Result<String> {
    let (inner, outer) = weight.dim();
    let (quantized, scales) = quantize_blocks(weight, bits);
    let blocks = inner.div_ceil(BLOCK);
    let shape = [outer, blocks, BLOCK * usize::from(bits) / 8];
    let weight = graph.constant(name, Tensor::new(&shape, &quantized))?;
    let scales = graph.constant(&format!("{name}_scales"), Tensor::new(&[scales.len()], &scales))?;
    let operator = Operator::contrib("MatMulNBits")
        .int("K", inner as i64)
        .int("N", outer as i64)
        // Products in 8 bits: twice as fast as products in fp32 with unpacked weights.
        .int("accuracy_level", 4)
        .int("bits", bits.into())
        .int("block_size", BLOCK as i64);
    Ok(graph.add(operator, &[rows, &weight, &scales]))
}

fn multiply_tokens(
    graph: &mut Graph,
    rows: &str,
    name: &str,
    weight: &Array2<f32>,
) -> anyhow::Result<String> {
    let (quantized, scales) = quantize_columns(weight);
    let (inner, outer) = weight.dim();
    let weight = graph.constant(name, Tensor::new(&[inner, outer], &quantized))?;
    let one = graph.number(1.0)?;
    let scales = graph.constant(&format!("{name}_scales"), Tensor::new(&[outer], &scales))?;
    let zero_point = graph.constant("zero_point", Tensor::scalar(ZERO_POINT))?;
    let operator = Operator::contrib("MatMulIntegerToFloat");
    Ok(graph.add(operator, &[rows, &weight, &one, &scales, &zero_point]))
}

/// Adds the nodes that round rows to 8 bits with one scale per row.
fn quantize_rows(graph: &mut Graph, rows: &str) -> anyhow::Result<QuantizedRows> {
    let axis = graph.integers(&[-1])?;
    let highest = graph.add(Operator::onnx("ReduceMax").int("keepdims", 0), &[rows, &axis]);
    let lowest = graph.add(Operator::onnx("ReduceMin").int("keepdims", 0), &[rows, &axis]);
    let lowest = graph.add("Neg", &[&lowest]);
    let least = graph.number(MAGNITUDE_MIN)?;
    let magnitude = graph.add("Max", &[&highest, &lowest, &least]);
    let unit = graph.number(1.0 / f64::from(LARGEST))?;
    let scale = graph.add("Mul", &[&magnitude, &unit]);
    let zero = graph.constant("zero", Tensor::new(&[1], &[ZERO_POINT]))?;
    let shape = graph.add("Shape", &[&scale]);
    let zeros = graph.add("Expand", &[&zero, &shape]);
    // Along the first axis, the operator has a scale per row.
    let values = graph.add(Operator::onnx("QuantizeLinear").int("axis", 0), &[rows, &scale, &zeros]);
    let factor = graph.add("Unsqueeze", &[&scale, &axis]);
    Ok(QuantizedRows { values, factor })
}

/// Returns a matrix as a tensor of floats, `[in, out]`.
pub fn floats(weight: &Array2<f32>, kind: FloatKind) -> Tensor {
    let (inner, outer) = weight.dim();
    kind.tensor(&[inner, outer], &transposed(&columns(weight), inner, |_, value| value))
}

/// Rounds a matrix `[in, out]` to 8 bits, and returns it with the scale of each column.
#[allow(clippy::cast_possible_truncation)] // `as` saturates.
pub fn quantize_columns(weight: &Array2<f32>) -> (Vec<i8>, Vec<f32>) {
    let (columns, inner) = (columns(weight), weight.nrows());
    let scales: Vec<f32> = columns.par_chunks(inner).map(|column| scale(column, LARGEST)).collect();
    let quantized = transposed(&columns, inner, |column, value| nearest(value / scales[column]) as i8);
    (quantized, scales)
}

/// Rounds a matrix `[in, out]` to 8 or 4 bits in blocks along the first axis. Returns unsigned numbers, two in a byte if they
/// have 4 bits, and the scales: both `[out, blocks, …]`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // `as` saturates.
pub fn quantize_blocks(weight: &Array2<f32>, bits: u8) -> (Vec<u8>, Vec<f32>) {
    let (inner, outer) = weight.dim();
    let columns = columns(weight);
    let middle = f32::from(1_u8 << (bits - 1));
    let blocks = inner.div_ceil(BLOCK);
    let bytes = BLOCK * usize::from(bits) / 8;
    let mut quantized = vec![0; outer * blocks * bytes];
    let mut scales = vec![0.0; outer * blocks];
    let outputs = quantized.par_chunks_mut(blocks * bytes).zip(scales.par_chunks_mut(blocks));
    outputs.zip(columns.par_chunks(inner)).for_each(|((quantized, scales), column)| {
        for ((bytes, scale), block) in quantized.chunks_mut(bytes).zip(scales).zip(column.chunks(BLOCK)) {
            *scale = self::scale(block, middle - 1.0);
            let number = |at: usize| {
                let value = block.get(at).copied().unwrap_or(0.0);
                (nearest(value / *scale) + middle) as u8
            };
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = if bits == 4 { number(2 * at) | number(2 * at + 1) << 4 } else { number(at) };
            }
        }
    });
    (quantized, scales)
}

/// Returns the columns of a matrix `[in, out]`, one after the other. Weights from a checkpoint are not copied, because they are
/// stored in this order.
fn columns(weight: &Array2<f32>) -> Cow<'_, [f32]> {
    match weight.t().to_slice() {
        Some(columns) => Cow::Borrowed(columns),
        None => Cow::Owned(weight.t().iter().copied().collect()),
    }
}

/// Rounds to the nearest integer, and halves to even, for numbers below 2^22. Compilers turn these two additions into vector
/// instructions on every processor, but not `round_ties_even`.
pub fn nearest(value: f32) -> f32 {
    /// 1.5 * 2^23. Floats of this size have no fraction.
    const NO_FRACTION: f32 = 12_582_912.0;
    value + NO_FRACTION - NO_FRACTION
}

/// Returns the scale by which the largest of some numbers becomes `largest`.
pub fn scale(values: &[f32], largest: f32) -> f32 {
    values.iter().copied().map(f32::abs).fold(f32::MIN_POSITIVE, f32::max) / largest
}

/// Turns columns of `inner` numbers each into rows, and converts each number. The function also gets the index of the column.
fn transposed<T: Copy + Default + Send>(
    columns: &[f32],
    inner: usize,
    convert: impl Fn(usize, f32) -> T + Sync,
) -> Vec<T> {
    let outer = columns.len() / inner;
    let mut rows = vec![T::default(); columns.len()];
    rows.par_chunks_mut(TRANSPOSED * outer).enumerate().for_each(|(at, rows)| {
        let first = at * TRANSPOSED;
        for (number, column) in columns.chunks(inner).enumerate() {
            for (row, value) in rows.chunks_mut(outer).zip(&column[first..]) {
                row[number] = convert(number, *value);
            }
        }
    });
    rows
}
