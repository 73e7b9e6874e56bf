//! Loads the ONNX Runtime that is installed for a device, without a model.

use std::path::Path;

use anyhow::ensure;

use super::cuda::Gpu;
use super::device::{Device, DeviceChoice};
use super::runtime;

/// Finds and loads ONNX Runtime for a device, and opens the GPUs of the device. Returns the path of the library of ONNX Runtime.
///
/// # Errors
/// The library or a GPU is missing or cannot be used. The message says what to do.
pub fn load_runtime(choice: &DeviceChoice) -> anyhow::Result<&'static Path> {
    let device = match choice {
        DeviceChoice::Only(device) => device.clone(),
        DeviceChoice::Auto => {
            let gpu = Device::Cuda(vec![0]);
            if Gpu::open(0).is_ok() && runtime::find(&gpu).is_ok() { gpu } else { Device::Cpu }
        }
    };
    let library = runtime::find(&device)?;
    if let Device::Cuda(numbers) = &device {
        numbers.iter().try_for_each(|&number| Gpu::open(number).map(drop))?;
    }
    let runtime = runtime::load(&device, &library)?;
    // If an earlier call loaded the library for another device, `load` returns that library.
    ensure!(
        device.is_built_in()?,
        device.unusable(format!("{}: was not built for {device}", runtime.library.display()))
    );
    Ok(&runtime.library)
}

/// Returns the names of the devices that the loaded ONNX Runtime was built for.
pub fn providers() -> Vec<&'static str> {
    let all = [("CPU", Device::Cpu), ("CUDA", Device::Cuda(Vec::new())), ("OpenVINO", Device::OpenVino)];
    let is_built_in = |device: &Device| device.is_built_in().unwrap_or(false);
    all.iter().filter(|(_, device)| is_built_in(device)).map(|&(name, _)| name).collect()
}
