//! Measures how far the vectors of an export are from those of the model in fp32, on texts that the export was not calibrated on.

use std::fmt;
use std::path::Path;

use ndarray::{Array2, Axis};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::export::schema::StringStringEntryProto;
use crate::model::metadata::{ModelMetadata, metadata};
use crate::model::precision::Precision;

/// The key of the quality in the metadata of an export.
const KEY: &str = "qwen3-index.quality";

/// How many nearest neighbors of each text are compared.
const NEIGHBORS: usize = 10;

/// How close the vectors of an export are to those in fp32.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// How many texts were compared.
    pub texts: usize,
    /// The lowest cosine between the two vectors of a text.
    pub min: f64,
    /// The cosine that 1 % of the texts are below.
    pub percentile_1: f64,
    /// The mean of the cosines.
    pub mean: f64,
    /// The share of the ten nearest neighbors of a text in fp32 that are among its ten nearest in the export: a mean over texts.
    pub neighbors: f64,
}

/// The lowest quality that an export may have.
struct Bound {
    min: f64,
    mean: f64,
}

impl Quality {
    /// Compares vectors with those in fp32. Both are `[texts, width]`, L2-normalized.
    pub fn measure(vectors: &Array2<f32>, exact: &Array2<f32>) -> Self {
        let pairs = vectors.rows().into_iter().zip(exact.rows());
        let mut cosines: Vec<f64> = pairs
            .map(|(one, other)| one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum())
            .collect();
        cosines.sort_by(f64::total_cmp);
        let texts = cosines.len();
        let overlaps = nearest(vectors).into_iter().zip(nearest(exact)).map(|(found, expected)| {
            let common = expected.iter().filter(|text| found.contains(text)).count();
            common as f64 / expected.len().max(1) as f64
        });
        Quality {
            texts,
            min: cosines.first().copied().unwrap_or(f64::NAN),
            percentile_1: cosines.get(texts / 100).copied().unwrap_or(f64::NAN),
            mean: cosines.iter().sum::<f64>() / texts as f64,
            neighbors: overlaps.sum::<f64>() / texts as f64,
        }
    }

    /// Reads the quality from the metadata of a graph. Returns `None` if the graph has none.
    pub fn stored_in(graph: &Path) -> Option<Self> {
        metadata(graph, KEY)
    }

    /// Appends the quality to the metadata of an encoded model. In protobuf, the fields of two messages that stand one after the
    /// other are those of one message.
    pub fn append_to(&self, model: &mut Vec<u8>) {
        let entry =
            StringStringEntryProto { key: Some(KEY.to_owned()), value: Some(json!(self).to_string()) };
        model.extend(ModelMetadata { metadata_props: vec![entry] }.encode_to_vec());
    }

    /// Returns whether an export of this quality may be used.
    pub fn is_enough(&self, precision: Precision) -> bool {
        let Bound { min, mean } = bound(precision);
        self.min >= min && self.mean >= mean
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quality { texts, min, percentile_1, mean, neighbors } = self;
        write!(
            f,
            "cosine to fp32: mean {mean:.5}, 1 % below {percentile_1:.5}, lowest {min:.5}; {:.1} % of nearest neighbors kept ({texts} texts)",
            100.0 * neighbors
        )
    }
}

/// Returns the lowest quality of a precision. 16-bit floats and 8 bits are bounded by what is measured for weights with planted
/// outliers, with a margin; for 4 bits the bound only excludes exports that are broken.
fn bound(precision: Precision) -> Bound {
    let (min, mean) = match precision {
        Precision::Fp32 | Precision::Plain => (0.9999, 0.99999),
        Precision::F16 => (0.999, 0.9995),
        Precision::Bf16 => (0.99, 0.999),
        Precision::Int8 => (0.99, 0.995),
        Precision::Q8 => (0.995, 0.998),
        Precision::Q4 => (0.3, 0.8),
    };
    Bound { min, mean }
}

/// Returns the nearest neighbors of each vector among the other vectors, by their indexes.
fn nearest(vectors: &Array2<f32>) -> Vec<Vec<usize>> {
    let similarities = vectors.dot(&vectors.t());
    let of_text = |(text, row): (usize, ndarray::ArrayView1<f32>)| {
        let mut others: Vec<usize> = (0..row.len()).filter(|&other| other != text).collect();
        others.sort_by(|&one, &other| row[other].total_cmp(&row[one]));
        others.truncate(NEIGHBORS);
        others
    };
    similarities.axis_iter(Axis(0)).enumerate().map(of_text).collect()
}
