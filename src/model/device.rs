//! What runs the graph, and what that needs of the machine.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// What runs the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// ONNX Runtime's own operators on the CPU, in the precision of the graph.
    Cpu,
    /// OpenVINO on the CPU, in bfloat16.
    OpenVino,
}

/// A precision to compute in that is not the graph's own: vectors depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 8 bits of exponent and 7 of fraction.
    Bf16,
}

impl Device {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "CPU",
            Device::OpenVino => "CPU by OpenVINO in bfloat16",
        }
    }

    /// The precision, where it is not that of the graph.
    pub fn precision(self) -> Option<Precision> {
        match self {
            Device::Cpu => None,
            Device::OpenVino => Some(Precision::Bf16),
        }
    }

    /// A library that must lie beside ONNX Runtime's own.
    pub(super) fn provider_library(self) -> Option<&'static str> {
        match self {
            Device::Cpu => None,
            Device::OpenVino => Some("libonnxruntime_providers_openvino.so"),
        }
    }

    /// What mends a missing library.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Device::Cpu => {
                "install it with `scripts/setup` or `pip install onnxruntime`, or name the library in ORT_DYLIB_PATH"
            }
            Device::OpenVino => {
                "install it with `scripts/setup openvino` or `pip install onnxruntime-openvino`, or name the library in ORT_DYLIB_PATH"
            }
        }
    }

    /// # Errors
    /// The processor lacks what it needs. OpenVINO would compute in fp32 then, in silence.
    pub(super) fn check(self) -> anyhow::Result<()> {
        ensure!(
            self == Device::Cpu || has_bf16(),
            "--device openvino: this processor has no bfloat16 (AVX-512 BF16); leave --device out"
        );
        Ok(())
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
