//! The events of an export, which the caller receives.

use std::fmt;

use super::check::quality::Quality;
use crate::console::DecimalBytes;
use crate::model::precision::Precision;

/// A step of an export. Each step reads all weights once, layer by layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportStep {
    /// Computes the vectors of the check's texts in fp32.
    Reference,
    /// Chooses the scales, and measures the noise of each product.
    Calibration,
    /// Writes the graph and its data.
    Writing(Precision),
    /// Computes the vectors of the check's texts with the export.
    Check(Precision),
}

/// An event of an export.
pub enum ExportEvent {
    /// A step begins. It reads this many bytes of weights.
    Begun { step: ExportStep, bytes: u64 },
    /// How many bytes of the weights the step has read.
    Read(u64),
    /// The export in a precision is in place.
    Made(FinishedExport),
    /// The export waits for another run. The text gives the reason.
    Waiting(String),
}

/// An export that is in place.
pub struct FinishedExport {
    pub precision: Precision,
    /// The size of graph and data together.
    pub bytes: u64,
    /// `None` if ONNX Runtime computes this precision only on a GPU.
    pub quality: Option<Quality>,
    /// The share of the weights of all products that stay in fp32 in an 8-bit export.
    pub kept: f64,
}

/// The callback that receives the events of an export.
pub type OnExport<'a> = &'a mut dyn FnMut(ExportEvent);

impl fmt::Display for ExportStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExportStep::Reference => f.write_str("vectors in fp32"),
            ExportStep::Calibration => f.write_str("calibration"),
            ExportStep::Writing(precision) => f.write_str(&precision.file_name()),
            ExportStep::Check(precision) => write!(f, "check of {precision}"),
        }
    }
}

impl fmt::Display for FinishedExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FinishedExport { precision, bytes, quality, kept } = self;
        write!(f, "{precision:5}  {:>7}", DecimalBytes(*bytes).to_string())?;
        match quality {
            Some(quality) => write!(f, "  {quality}")?,
            None => f.write_str("  not checked, because only a GPU computes in this precision")?,
        }
        if *kept > 0.0 {
            write!(f, ", {:.1} % of the weights in fp32", 100.0 * kept)?;
        }
        Ok(())
    }
}
