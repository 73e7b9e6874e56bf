//! The types of floats in checkpoints and exports.

use half::{bf16, f16};
use rayon::prelude::*;

use super::builder::Tensor;
use super::schema::tensor_proto::DataType;

/// Numbers per block when several threads convert a tensor.
const BLOCK: usize = 1 << 14;

/// A type of floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatKind {
    F32,
    F16,
    Bf16,
}

impl FloatKind {
    /// Returns the bytes per number.
    pub fn bytes(self) -> usize {
        match self {
            FloatKind::F32 => 4,
            FloatKind::F16 | FloatKind::Bf16 => 2,
        }
    }

    /// Returns the type in ONNX.
    pub fn in_onnx(self) -> DataType {
        match self {
            FloatKind::F32 => DataType::Float,
            FloatKind::F16 => DataType::Float16,
            FloatKind::Bf16 => DataType::Bfloat16,
        }
    }

    /// Reads little-endian numbers.
    pub fn read(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            FloatKind::F32 => read(bytes, f32::from_le_bytes),
            FloatKind::F16 => read(bytes, |two| f16::from_le_bytes(two).to_f32()),
            FloatKind::Bf16 => read(bytes, |two| bf16::from_le_bytes(two).to_f32()),
        }
    }

    /// Makes a tensor. Rounds to the nearest number of this type.
    pub fn tensor(self, shape: &[usize], values: &[f32]) -> Tensor {
        match self {
            FloatKind::F32 => Tensor::new(shape, values),
            FloatKind::F16 => Tensor::new(shape, &converted(values, f16::from_f32)),
            FloatKind::Bf16 => Tensor::new(shape, &converted(values, bf16::from_f32)),
        }
    }
}

fn read<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / N];
    values.par_chunks_mut(BLOCK).zip(bytes.par_chunks(BLOCK * N)).for_each(|(values, bytes)| {
        for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
            *value = number(*bytes);
        }
    });
    values
}

fn converted<T: Copy + Default + Send>(values: &[f32], number: impl Fn(f32) -> T + Sync) -> Vec<T> {
    let mut halves = vec![T::default(); values.len()];
    halves.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(halves, values)| {
        for (half, value) in halves.iter_mut().zip(values) {
            *half = number(*value);
        }
    });
    halves
}
