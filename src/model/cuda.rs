//! Opens a GPU by its CUDA device number, and loads the libraries of CUDA and cuDNN that ONNX Runtime requires.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{anyhow, bail};
use cudarc::driver::{CudaContext, DriverError};
use ort::ep::cuda::{CUDA_DYLIBS, CUDNN_DYLIBS};
use ort::util::preload_dylib;

/// The file name of the library of NVIDIA's driver.
const DRIVER: &str = "libcuda.so.1";

/// The folders with the libraries of the PyPI packages of CUDA and cuDNN, relative to the folder with the library of ONNX
/// Runtime.
const PACKAGES: [&str; 2] = ["../../nvidia/cu13/lib", "../../nvidia/cudnn/lib"];

/// A GPU that the driver has opened.
pub(super) struct Gpu(Arc<CudaContext>);

impl Gpu {
    /// Opens the GPU with this CUDA device number.
    ///
    /// # Errors
    /// There is no driver, or there is no GPU with this device number.
    pub fn open(number: usize) -> anyhow::Result<Self> {
        // cudarc panics if the driver is missing.
        preload_dylib(DRIVER).map_err(|_| anyhow!("no NVIDIA driver: {DRIVER} not found"))?;
        let gpus = CudaContext::device_count().map_err(driver_error)?;
        if usize::try_from(gpus).is_ok_and(|gpus| number >= gpus) {
            bail!("there is no GPU {number}: the NVIDIA driver lists {gpus}, numbered from 0");
        }
        let context =
            CudaContext::new(number).map_err(|e| driver_error(e).context(format!("GPU {number}")))?;
        Ok(Gpu(context))
    }

    /// Returns the product name of the GPU.
    pub fn name(&self) -> String {
        self.0.name().unwrap_or_else(|_| "GPU".to_owned())
    }

    /// Returns whether the GPU computes in bfloat16: compute capability 8.0 (Ampere) or higher. Returns `true` if the driver does
    /// not say.
    pub fn has_bf16(&self) -> bool {
        self.0.compute_capability().map_or(true, |(major, _)| major >= 8)
    }
}

fn driver_error(error: DriverError) -> anyhow::Error {
    let words =
        error.error_string().map_or_else(|_| error.to_string(), |words| words.to_string_lossy().into());
    anyhow!("the NVIDIA driver reports: {words}")
}

/// Returns the folders that may contain the libraries of CUDA: the folder of ONNX Runtime, and the folders in [`PACKAGES`].
pub(super) fn folders(onnx_runtime: &Path) -> Vec<PathBuf> {
    let Some(beside) = onnx_runtime.parent() else { return Vec::new() };
    let packages = PACKAGES.map(|package| beside.join(package));
    [beside.to_owned()].into_iter().chain(packages.into_iter().filter(|folder| folder.is_dir())).collect()
}

/// Loads the libraries of CUDA and cuDNN from [`folders`], so that ONNX Runtime finds them. If no folder has these libraries,
/// ONNX Runtime uses the libraries of the system.
///
/// # Errors
/// A folder has the first library of CUDA or cuDNN, but lacks another library; or a library cannot be loaded.
pub(super) fn load_libraries(onnx_runtime: &Path) -> anyhow::Result<()> {
    let folders = folders(onnx_runtime);
    for libraries in [CUDA_DYLIBS, CUDNN_DYLIBS] {
        let folder = folders.iter().find(|folder| folder.join(libraries[0]).is_file());
        for path in folder.iter().flat_map(|folder| libraries.iter().map(|library| folder.join(library))) {
            preload_dylib(&path).map_err(|e| {
                let cause = e.source().map_or_else(|| e.to_string(), ToString::to_string);
                anyhow!("{} cannot be loaded: {cause}", path.display())
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_library_that_is_missing_or_broken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let load = || load_libraries(&folder.path().join("libonnxruntime.so")).map_err(|e| e.to_string());
        assert_eq!(load(), Ok(()), "the libraries of the system are used");
        fs::write(folder.path().join("libcudart.so.13"), "").unwrap();
        let error = load().unwrap_err();
        assert!(error.contains("libcudart.so.13 cannot be loaded: "), "{error}");
        assert!(error.contains("file too short"), "{error}");
    }
}
