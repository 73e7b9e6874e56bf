//! Parses the value of `--precision`, and chooses a precision for a device.

use std::str::FromStr;

use anyhow::bail;

use super::cuda::Gpu;
use super::device::{Device, DeviceChoice, DeviceError, has_dot_products};
use super::precision::Precision;
use super::runtime;
use crate::error::Usage;

/// The value of `--precision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// A precision that is exact on the device.
    Auto,
    /// This precision.
    Only(Precision),
}

impl FromStr for PrecisionChoice {
    type Err = Usage;

    fn from_str(name: &str) -> Result<Self, Usage> {
        match name {
            "auto" => Ok(PrecisionChoice::Auto),
            _ => {
                name.parse().map(PrecisionChoice::Only).map_err(|Usage(why)| Usage(format!("{why} or auto")))
            }
        }
    }
}

impl PrecisionChoice {
    /// Returns the name of the graph of this precision; `None` for `Auto`.
    pub fn file_name(&self) -> Option<String> {
        match self {
            PrecisionChoice::Auto => None,
            PrecisionChoice::Only(precision) => Some(precision.file_name()),
        }
    }
}

/// Returns the precision that has this name of a graph.
pub fn of_file(name: &str) -> Option<Precision> {
    let name = name.strip_prefix("onnx/").unwrap_or(name);
    Precision::ALL.into_iter().find(|precision| precision.file_name() == name)
}

/// Returns the precision to export weights in for a device. The weights of Qwen3-Embedding have 16 bits (bf16), which fp32
/// represents exactly.
pub fn suited(device: &DeviceChoice) -> Precision {
    let of_gpu = |gpu: Option<Gpu>| match gpu {
        Some(gpu) if !gpu.has_bf16() => Precision::F16,
        _ => Precision::Bf16,
    };
    match device {
        DeviceChoice::Only(Device::Cpu) => Precision::Fp32,
        DeviceChoice::Only(Device::OpenVino) => Precision::Plain,
        DeviceChoice::Only(Device::Cuda(gpus)) => of_gpu(gpus.first().and_then(|&gpu| Gpu::open(gpu).ok())),
        DeviceChoice::Auto => match usable_gpu() {
            Ok(gpu) => of_gpu(Some(gpu)),
            Err(_) => Precision::Fp32,
        },
    }
}

/// Returns the device to run a graph on. ONNX Runtime runs bf16 only on a GPU, so `auto` becomes the first GPU for bf16.
///
/// # Errors
/// The precision is bf16, and the device is a CPU; or the precision is int8, and the processor has no 8-bit dot products.
pub fn device_for(precision: Precision, device: DeviceChoice) -> anyhow::Result<DeviceChoice> {
    if precision == Precision::Int8 && !has_dot_products() {
        bail!(DeviceError::NoDotProducts);
    }
    if precision != Precision::Bf16 {
        return Ok(device);
    }
    match device {
        DeviceChoice::Only(Device::Cuda(_)) => Ok(device),
        DeviceChoice::Only(Device::Cpu | Device::OpenVino) => bail!("bf16 runs on a GPU only"),
        DeviceChoice::Auto => match usable_gpu() {
            Ok(_) => Ok(DeviceChoice::Only(Device::Cuda(vec![0]))),
            Err(e) => bail!("bf16 runs on a GPU only ({e:#})"),
        },
    }
}

/// Opens the first GPU if ONNX Runtime for GPUs is installed.
fn usable_gpu() -> anyhow::Result<Gpu> {
    let gpu = Gpu::open(0)?;
    runtime::find(&Device::Cuda(vec![0]))?;
    Ok(gpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_is_chosen_by_its_name_or_its_file() {
        let parsed = |name: &str| name.parse::<PrecisionChoice>().ok();
        assert_eq!(parsed("auto"), Some(PrecisionChoice::Auto));
        assert_eq!(parsed("int8"), Some(PrecisionChoice::Only(Precision::Int8)));
        assert_eq!(parsed("int4"), None);
        assert_eq!(of_file("model.onnx"), Some(Precision::Fp32));
        assert_eq!(of_file("onnx/model_q8.onnx"), Some(Precision::Q8));
        assert_eq!(of_file("model_fp16.onnx"), None);
    }

    #[test]
    fn a_cpu_gets_a_precision_that_it_can_run() {
        assert_eq!(suited(&DeviceChoice::Only(Device::Cpu)), Precision::Fp32);
        assert_eq!(suited(&DeviceChoice::Only(Device::OpenVino)), Precision::Plain);
        assert!(device_for(Precision::Bf16, DeviceChoice::Only(Device::Cpu)).is_err());
        assert_eq!(device_for(Precision::Q8, DeviceChoice::Auto).ok(), Some(DeviceChoice::Auto));
        assert_eq!(device_for(Precision::Int8, DeviceChoice::Auto).is_ok(), has_dot_products());
    }
}
