//! The types of the numbers in the column `vector`, and the conversion between these types and 32-bit floats.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, Float16Array, Float32Array, Int8Array};
use arrow::datatypes::{DataType, Field, Float16Type, Float32Type, Int8Type};
use half::f16;
use serde::{Deserialize, Serialize};

/// The metadata key under which a file with integers stores the scale: a number of a vector is an integer times the scale.
pub const SCALE: &str = concat!(env!("CARGO_PKG_NAME"), ".scale");

/// The largest number that integers can represent, as a multiple of 1/√dim, the root mean square of the numbers of an L2-normalized
/// vector. docs/design/index.md has the measurement.
const RANGE: f64 = 8.0;

/// The largest integer in a file. -128 does not occur, so that the range is symmetric.
const INTEGER_MAX: f32 = 127.0;

/// The type of the numbers in the column `vector`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
// From the narrowest to the widest type, for comparisons.
pub enum VectorType {
    /// 8-bit integers, which are multiplied by the scale of the file.
    I8,
    /// 16-bit floats.
    F16,
    /// 32-bit floats.
    #[default]
    F32,
}

impl VectorType {
    /// Returns the type of the elements of the column `vector`.
    pub(super) fn element(self) -> Arc<Field> {
        let kind = match self {
            VectorType::I8 => DataType::Int8,
            VectorType::F16 => DataType::Float16,
            VectorType::F32 => DataType::Float32,
        };
        Arc::new(Field::new("element", kind, false))
    }

    fn of(element: &DataType) -> Option<Self> {
        match element {
            DataType::Int8 => Some(VectorType::I8),
            DataType::Float16 => Some(VectorType::F16),
            DataType::Float32 => Some(VectorType::F32),
            _ => None,
        }
    }

    /// Returns the size of a number in the file, in bytes.
    pub fn bytes(self) -> usize {
        match self {
            VectorType::I8 => 1,
            VectorType::F16 => 2,
            VectorType::F32 => 4,
        }
    }

    /// Returns the largest difference between 1 and the length of a stored vector that rounding explains. Integers cut off numbers
    /// that are out of range, which makes a vector shorter.
    pub fn length_tolerance(self) -> f64 {
        match self {
            // Rounding 1,024 numbers to 32-bit floats changes the length by about 1e-7.
            VectorType::F32 => 1e-4,
            // A 16-bit float has 11 significant bits.
            VectorType::F16 => 1e-3,
            VectorType::I8 => 0.1,
        }
    }
}

impl fmt::Display for VectorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VectorType::I8 => "i8",
            VectorType::F16 => "f16",
            VectorType::F32 => "f32",
        })
    }
}

/// How the vectors of a file are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorColumn {
    /// The type of the numbers.
    pub kind: VectorType,
    /// Dimensions per vector.
    pub dim: usize,
    /// The factor of the integers; 1 for floats.
    scale: f32,
}

impl VectorColumn {
    /// Returns the format of a new file. The scale depends on the dimensions only, so no vector has to be known before the first
    /// row is written, and equal vectors have equal bytes in every file.
    pub fn new(kind: VectorType, dim: usize) -> Self {
        #[allow(clippy::cast_possible_truncation)] // rounds the scale to the precision of the numbers
        let scale = match kind {
            VectorType::I8 => (RANGE / (dim as f64).sqrt()).min(1.0) as f32 / INTEGER_MAX,
            VectorType::F16 | VectorType::F32 => 1.0,
        };
        VectorColumn { kind, dim, scale }
    }

    /// Returns the format of a column, or `None` if this tool writes no vectors of this type. `scale` is the value of [`SCALE`].
    pub(super) fn of(column: &DataType, scale: Option<&str>) -> Option<Self> {
        let DataType::FixedSizeList(element, length) = column else { return None };
        let (kind, dim) = (VectorType::of(element.data_type())?, usize::try_from(*length).ok()?);
        let scale = match kind {
            VectorType::I8 => scale?.parse().ok().filter(|scale: &f32| scale.is_normal() && *scale > 0.0)?,
            VectorType::F16 | VectorType::F32 => 1.0,
        };
        Some(VectorColumn { kind, dim, scale })
    }

    /// Returns the type of the column.
    pub(super) fn column(&self) -> DataType {
        DataType::FixedSizeList(self.kind.element(), list_length(self.dim))
    }

    /// Returns the value of [`SCALE`]; `None` for floats.
    pub fn scale(&self) -> Option<String> {
        (self.kind == VectorType::I8).then(|| self.scale.to_string())
    }

    /// Rounds numbers to those that a reader of the file gets. Rounding rounded numbers changes nothing. Integers that would be out
    /// of range become the largest or the smallest integer.
    pub(super) fn round(&self, numbers: &mut [f32]) {
        match self.kind {
            VectorType::F32 => {}
            VectorType::F16 => numbers.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
            VectorType::I8 => numbers.iter_mut().for_each(|x| *x = f32::from(self.integer(*x)) * self.scale),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // the number is clamped
    fn integer(&self, number: f32) -> i8 {
        (number / self.scale).round_ties_even().clamp(-INTEGER_MAX, INTEGER_MAX) as i8
    }

    /// Converts numbers to the elements of the column.
    pub(super) fn encode(&self, numbers: Vec<f32>) -> ArrayRef {
        match self.kind {
            VectorType::F32 => Arc::new(Float32Array::from(numbers)),
            VectorType::F16 => {
                Arc::new(Float16Array::from_iter_values(numbers.into_iter().map(f16::from_f32)))
            }
            VectorType::I8 => {
                Arc::new(Int8Array::from_iter_values(numbers.into_iter().map(|x| self.integer(x))))
            }
        }
    }

    /// Converts the elements of the column to numbers.
    ///
    /// # Errors
    /// The elements have another type.
    pub(super) fn decode<'a>(&self, elements: &'a dyn Array) -> anyhow::Result<Cow<'a, [f32]>> {
        let decoded = match self.kind {
            VectorType::F32 => {
                elements.as_primitive_opt::<Float32Type>().map(|array| Cow::Borrowed(&array.values()[..]))
            }
            VectorType::F16 => elements
                .as_primitive_opt::<Float16Type>()
                .map(|array| array.values().iter().map(|x| x.to_f32()).collect()),
            VectorType::I8 => elements
                .as_primitive_opt::<Int8Type>()
                .map(|array| array.values().iter().map(|&x| f32::from(x) * self.scale).collect()),
        };
        decoded.with_context(|| format!("its vectors do not have the type {}", self.kind))
    }
}

/// Converts a number of dimensions to the type that Arrow uses for the length of a list.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // no model has 2^31 dimensions
pub(super) fn list_length(dim: usize) -> i32 {
    dim as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPES: [VectorType; 3] = [VectorType::I8, VectorType::F16, VectorType::F32];

    fn rounded(format: VectorColumn, mut numbers: Vec<f32>) -> Vec<f32> {
        format.round(&mut numbers);
        numbers
    }

    proptest! {
        /// A night writes the vectors of the old file again, so every type must be exact from the second time on.
        #[test]
        fn rounded_numbers_are_stored_exactly(
            numbers in proptest::collection::vec(-1.0f32..=1.0, 64),
            kind in proptest::sample::select(&TYPES[..]),
            dim in 1usize..5000,
        ) {
            let format = VectorColumn::new(kind, dim);
            let once = rounded(format, numbers.clone());
            prop_assert_eq!(&rounded(format, once.clone()), &once);
            let stored = format.encode(numbers);
            prop_assert_eq!(format.decode(&stored).unwrap(), once);
        }
    }

    #[test]
    fn every_integer_is_read_and_written_as_itself() {
        for dim in 1..5000 {
            let format = VectorColumn::new(VectorType::I8, dim);
            let of_file = VectorColumn::of(&format.column(), format.scale().as_deref());
            assert_eq!(of_file, Some(format), "{dim}");
            for integer in -127..=127 {
                assert_eq!(format.integer(f32::from(integer) * format.scale), integer, "{dim}");
            }
        }
    }

    #[test]
    fn integers_do_not_wrap() {
        let format = VectorColumn::new(VectorType::I8, 1024);
        let largest = [1.0, -1.0, f32::MAX, f32::MIN, f32::INFINITY].map(|x| format.integer(x));
        assert_eq!(largest, [127, -127, 127, -127, 127]);
    }
}
