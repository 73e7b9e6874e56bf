//! What runs the graph, and what that needs of the machine.

use std::fmt;
use std::str::FromStr;

use anyhow::ensure;
use ort::ep::{self, ExecutionProvider};
use serde::{Deserialize, Serialize};

use crate::error::Usage;

/// What runs the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// ONNX Runtime's own operators on the CPU, in the precision of the graph.
    Cpu,
    /// OpenVINO on the CPU, in bfloat16.
    OpenVino,
    /// NVIDIA GPUs, as CUDA counts them, each with a session of its own. At least one, none twice.
    Cuda(Vec<usize>),
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU, where there is one that can be used, otherwise the CPU.
    Auto,
    /// This one or none.
    Only(Device),
}

/// A precision to compute in that is not the graph's own: vectors depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8 bits of exponent and 7 of fraction.
    Bf16,
}

impl FromStr for DeviceChoice {
    type Err = Usage;

    fn from_str(name: &str) -> Result<Self, Usage> {
        let device = match name {
            "auto" => return Ok(DeviceChoice::Auto),
            "cpu" => Some(Device::Cpu),
            "openvino" => Some(Device::OpenVino),
            "cuda" => Some(Device::Cuda(vec![0])),
            _ => name.strip_prefix("cuda:").and_then(numbers).map(Device::Cuda),
        };
        device.map(DeviceChoice::Only).ok_or_else(|| {
            Usage(
                "use auto, cpu, cuda, cuda:1 (the second GPU), cuda:0,1 (the first two) or openvino"
                    .to_owned(),
            )
        })
    }
}

/// Numbers with commas between them, none twice.
fn numbers(list: &str) -> Option<Vec<usize>> {
    let numbers: Vec<usize> = list.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let is_doubled = |at: usize| numbers[..at].contains(&numbers[at]);
    (!(0..numbers.len()).any(is_doubled)).then_some(numbers)
}

impl DeviceChoice {
    /// Of several GPUs the first.
    pub fn first(self) -> Self {
        match self {
            DeviceChoice::Only(Device::Cuda(gpus)) => {
                DeviceChoice::Only(Device::Cuda(gpus.into_iter().take(1).collect()))
            }
            other => other,
        }
    }

    /// The precision, where it is not that of the graph.
    pub fn precision(&self) -> Option<Precision> {
        match self {
            DeviceChoice::Auto => None,
            DeviceChoice::Only(device) => device.precision(),
        }
    }
}

impl Device {
    /// The precision, where it is not that of the graph.
    pub fn precision(&self) -> Option<Precision> {
        match self {
            Device::Cpu | Device::Cuda(_) => None,
            Device::OpenVino => Some(Precision::Bf16),
        }
    }

    /// Where `scripts/setup` installs ONNX Runtime for it, below its own folder.
    pub(super) fn folders(&self) -> &'static [&'static str] {
        match self {
            // That for GPUs has all there is for the CPU.
            Device::Cpu => &["lib", "cuda"],
            Device::OpenVino => &["openvino"],
            Device::Cuda(_) => &["cuda"],
        }
    }

    /// A library that must lie beside ONNX Runtime's own.
    pub(super) fn provider_library(&self) -> Option<&'static str> {
        match self {
            Device::Cpu => None,
            Device::OpenVino => Some("libonnxruntime_providers_openvino.so"),
            Device::Cuda(_) => Some("libonnxruntime_providers_cuda.so"),
        }
    }

    /// Whether the ONNX Runtime that is loaded was built for it.
    pub(super) fn is_built_in(&self) -> ort::Result<bool> {
        match self {
            Device::Cpu => Ok(true),
            Device::OpenVino => ep::OpenVINO::is_available(),
            Device::Cuda(_) => ep::CUDA::is_available(),
        }
    }

    /// The PyPI package of an ONNX Runtime for it; all of them install the same files.
    pub(super) fn package(&self) -> &'static str {
        match self {
            Device::Cpu => "onnxruntime",
            Device::OpenVino => "onnxruntime-openvino",
            Device::Cuda(_) => "onnxruntime-gpu",
        }
    }

    /// What mends a missing library.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Device::Cpu => {
                "install it with `scripts/setup` or `pip install --upgrade onnxruntime`, or name the library in ORT_DYLIB_PATH"
            }
            Device::OpenVino => {
                "install it with `scripts/setup openvino` or `pip install --upgrade onnxruntime-openvino`, or name the library in ORT_DYLIB_PATH"
            }
            Device::Cuda(_) => {
                "install it with CUDA 13 and cuDNN 9 by `scripts/setup cuda`, or use --device cpu"
            }
        }
    }

    /// # Errors
    /// The processor lacks what it needs. OpenVINO would compute in fp32 then, in silence.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            *self != Device::OpenVino || has_bf16(),
            "--device openvino: this processor has no bfloat16 (AVX-512 BF16); leave --device out"
        );
        Ok(())
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => write!(f, "CPU"),
            Device::OpenVino => write!(f, "CPU by OpenVINO in bfloat16"),
            Device::Cuda(gpus) => {
                let gpus: Vec<String> = gpus.iter().map(usize::to_string).collect();
                write!(f, "GPU {} by CUDA", gpus.join(", "))
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

/// Whether 8-bit products are added up in 32 bits. Where an x86 processor has no instruction for that, ONNX Runtime adds
/// two in 16 bits, and what does not fit is cut off.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_dot_products() -> bool {
    std::is_x86_feature_detected!("avx512vnni") || std::is_x86_feature_detected!("avxvnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_dot_products() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_go_by_their_names() {
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
