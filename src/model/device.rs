//! Parses the value of `--device`, and lists the libraries, packages and processor features that each device requires.

use std::fmt;
use std::str::FromStr;

use ort::ep::{self, ExecutionProvider};
use serde::{Deserialize, Serialize};

use super::precision::Precision;
use crate::error::Usage;

/// A device that runs a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// The CPU with ONNX Runtime's own kernels, in the precision of the graph.
    Cpu,
    /// The CPU with OpenVINO, in bfloat16.
    OpenVino,
    /// NVIDIA GPUs, identified by their CUDA device numbers. Each GPU has one session, and no device number occurs twice.
    Cuda(Vec<usize>),
}

/// The value of `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, or the CPU if the first GPU cannot be used.
    Auto,
    /// Only this device. The run fails if the device cannot be used.
    Only(Device),
}

/// A precision that a device computes in, even if the graph has another precision. Vectors depend on this precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DevicePrecision {
    /// bfloat16: 8 bits of exponent, 7 bits of fraction.
    Bf16,
}

/// The reason why a device cannot run a model.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// ONNX Runtime is missing, or cannot be used on the device.
    #[error("{cause}")]
    Runtime {
        /// The device.
        device: Device,
        /// What is missing or wrong.
        cause: String,
    },
    /// Another package has replaced the library of ONNX Runtime for the device.
    #[error(
        "{library}: was not built for {device}, although {provider} is in the same folder, so another package has replaced this file"
    )]
    Replaced {
        /// The device.
        device: Device,
        /// The path of the library.
        library: String,
        /// The file name of the execution provider's library.
        provider: &'static str,
    },
    /// CUDA cannot be started.
    #[error("{0}")]
    Cuda(String),
    /// There is no GPU with the device number, or no driver for it.
    #[error("{0}")]
    NoGpu(String),
    /// The processor has no instructions for bfloat16.
    #[error("device openvino: this processor has no bfloat16 (AVX-512 BF16)")]
    NoBfloat16,
    /// The processor has no 8-bit dot products, so ONNX Runtime would compute wrong vectors with an int8 export.
    #[error(
        "this processor has no 8-bit dot products (VNNI), and without them the vectors of int8 would be wrong"
    )]
    NoDotProducts,
    /// The device cannot run an operator of the graph.
    #[error("{cause}")]
    NoOperator {
        /// The operator, or the message of ONNX Runtime.
        cause: String,
        /// A precision whose exports have only operators that the device can run.
        fitting: Precision,
    },
}

impl FromStr for DeviceChoice {
    type Err = Usage;

    fn from_str(name: &str) -> Result<Self, Usage> {
        let device = match name {
            "auto" => return Ok(DeviceChoice::Auto),
            "cpu" => Some(Device::Cpu),
            "openvino" => Some(Device::OpenVino),
            "cuda" => Some(Device::Cuda(vec![0])),
            _ => name.strip_prefix("cuda:").and_then(distinct_numbers).map(Device::Cuda),
        };
        device.map(DeviceChoice::Only).ok_or_else(|| {
            Usage(
                "use auto, cpu, cuda, cuda:1 (the second GPU), cuda:0,1 (the first two) or openvino"
                    .to_owned(),
            )
        })
    }
}

/// Parses a list of numbers that are separated by commas. Returns `None` if a number cannot be parsed or occurs twice.
fn distinct_numbers(list: &str) -> Option<Vec<usize>> {
    let numbers: Vec<usize> = list.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let is_repeated = |at: usize| numbers[..at].contains(&numbers[at]);
    (!(0..numbers.len()).any(is_repeated)).then_some(numbers)
}

impl DeviceChoice {
    /// Returns the choice with only the first of several GPUs. Returns any other choice unchanged.
    pub fn first(self) -> Self {
        match self {
            DeviceChoice::Only(Device::Cuda(gpus)) => {
                DeviceChoice::Only(Device::Cuda(gpus.into_iter().take(1).collect()))
            }
            other => other,
        }
    }

    /// Returns the precision that the device computes in, if it differs from the precision of the graph.
    pub fn precision(&self) -> Option<DevicePrecision> {
        match self {
            DeviceChoice::Auto => None,
            DeviceChoice::Only(device) => device.precision(),
        }
    }
}

impl Device {
    /// Returns the precision that the device computes in, if it differs from the precision of the graph.
    pub fn precision(&self) -> Option<DevicePrecision> {
        match self {
            Device::Cpu | Device::Cuda(_) => None,
            Device::OpenVino => Some(DevicePrecision::Bf16),
        }
    }

    /// Returns the folders in which `scripts/setup` installs ONNX Runtime for the device, relative to this tool's data folder.
    pub(super) fn setup_folders(&self) -> &'static [&'static str] {
        match self {
            // ONNX Runtime's build for GPUs can run on the CPU too.
            Device::Cpu => &["lib", "cuda"],
            Device::OpenVino => &["openvino"],
            Device::Cuda(_) => &["cuda"],
        }
    }

    /// Returns the file name of the execution provider's library, which must be in the folder of ONNX Runtime. Returns `None`
    /// for the CPU, which needs no such library.
    pub(super) fn provider_library(&self) -> Option<&'static str> {
        match self {
            Device::Cpu => None,
            Device::OpenVino => Some("libonnxruntime_providers_openvino.so"),
            Device::Cuda(_) => Some("libonnxruntime_providers_cuda.so"),
        }
    }

    /// Returns whether the loaded ONNX Runtime was built for the device.
    pub(super) fn is_built_in(&self) -> ort::Result<bool> {
        match self {
            Device::Cpu => Ok(true),
            Device::OpenVino => ep::OpenVINO::is_available(),
            Device::Cuda(_) => ep::CUDA::is_available(),
        }
    }

    /// Returns the PyPI package with ONNX Runtime for the device. All these packages install files of the same names, so
    /// installing one package replaces the files of another.
    pub fn package(&self) -> &'static str {
        match self {
            Device::Cpu => "onnxruntime",
            Device::OpenVino => "onnxruntime-openvino",
            Device::Cuda(_) => "onnxruntime-gpu",
        }
    }

    /// Returns the error for ONNX Runtime that is missing or cannot be used on the device.
    pub(super) fn unusable(&self, cause: String) -> DeviceError {
        DeviceError::Runtime { device: self.clone(), cause }
    }

    /// Checks that the processor supports the device.
    ///
    /// # Errors
    /// The device is OpenVINO, and the processor has no instructions for bfloat16. On such a processor, OpenVINO would silently
    /// compute in fp32.
    pub(super) fn check_processor(&self) -> Result<(), DeviceError> {
        if *self == Device::OpenVino && !has_bf16() { Err(DeviceError::NoBfloat16) } else { Ok(()) }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "CPU"),
            Device::OpenVino => write!(f, "CPU (OpenVINO, bfloat16)"),
            Device::Cuda(gpus) => {
                let gpus: Vec<String> = gpus.iter().map(usize::to_string).collect();
                write!(f, "GPU {} (CUDA)", gpus.join(", "))
            }
        }
    }
}

/// Returns whether the processor has an instruction that adds up 8-bit products in 32 bits. On an x86 processor without this
/// instruction, ONNX Runtime adds pairs of products in 16 bits, and large sums are cut off at the limit of 16 bits.
pub fn has_dot_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx512vnni") || std::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_parsed() {
        let cuda = |gpus: &[usize]| Ok(DeviceChoice::Only(Device::Cuda(gpus.to_vec())));
        let parsed = |name: &str| name.parse::<DeviceChoice>().map_err(|_| ());
        assert_eq!(parsed("auto"), Ok(DeviceChoice::Auto));
        assert_eq!(parsed("cpu"), Ok(DeviceChoice::Only(Device::Cpu)));
        assert_eq!(parsed("cuda"), cuda(&[0]));
        assert_eq!(parsed("cuda:1"), cuda(&[1]));
        assert_eq!(parsed("cuda:2,0"), cuda(&[2, 0]));
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:1,1", "cuda:-1", "cuda:0,", "CPU"] {
            assert_eq!(parsed(name), Err(()), "{name}");
        }
    }
}
