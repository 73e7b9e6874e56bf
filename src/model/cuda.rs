//! What CUDA needs beside ONNX Runtime: its libraries, a driver, a GPU.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use cudarc::driver::{CudaContext, DriverError};
use ort::ep::cuda::{CUDA_DYLIBS, CUDNN_DYLIBS};
use ort::util::preload_dylib;

/// The library of NVIDIA's driver.
const DRIVER: &str = "libcuda.so.1";

/// Where the PyPI packages of CUDA and cuDNN keep their libraries, seen from the folder of ONNX Runtime's package.
const PACKAGES: [&str; 2] = ["../../nvidia/cu13/lib", "../../nvidia/cudnn/lib"];

/// A GPU.
pub(super) struct Gpu {
    context: Arc<CudaContext>,
    /// Bytes that were free when it was opened.
    free_at_first: usize,
}

impl Gpu {
    /// The one that CUDA counts so.
    ///
    /// # Errors
    /// There is no driver, or no such GPU.
    pub fn open(number: usize) -> anyhow::Result<Self> {
        // What follows panics without it.
        preload_dylib(DRIVER).map_err(|_| anyhow!("no NVIDIA driver: there is no {DRIVER}"))?;
        let gpus = CudaContext::device_count().map_err(said)?;
        if usize::try_from(gpus).is_ok_and(|gpus| number >= gpus) {
            bail!("there is no GPU {number}, they count from 0 and are {gpus}");
        }
        let context = CudaContext::new(number).map_err(|e| said(e).context(format!("GPU {number}")))?;
        let mut gpu = Gpu { context, free_at_first: 0 };
        gpu.free_at_first = gpu.free_memory(None)?;
        Ok(gpu)
    }

    /// What it is called.
    pub fn name(&self) -> String {
        self.context.name().unwrap_or_else(|_| "GPU".to_owned())
    }

    /// Bytes of its memory that may still be taken, of so many from the beginning.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn free_memory(&self, memory_max: Option<usize>) -> anyhow::Result<usize> {
        let (free, _) = self.context.mem_get_info().map_err(said)?;
        let taken = self.free_at_first.saturating_sub(free);
        Ok(memory_max.map_or(free, |max| free.min(max.saturating_sub(taken))))
    }
}

fn said(error: DriverError) -> anyhow::Error {
    let words =
        error.error_string().map_or_else(|_| error.to_string(), |words| words.to_string_lossy().into());
    anyhow!("NVIDIA's driver says: {words}")
}

/// Loads the libraries of CUDA and cuDNN that lie beside ONNX Runtime's, or in the packages beside its own, so that its
/// provider finds them. Where there are none, the system's are for the system to find.
///
/// # Errors
/// One of them is missing or cannot be loaded.
pub(super) fn load_libraries(onnx_runtime: &Path) -> anyhow::Result<()> {
    let beside = onnx_runtime.parent().unwrap_or(Path::new("."));
    let folders = [beside.to_owned(), beside.join(PACKAGES[0]), beside.join(PACKAGES[1])];
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
        assert_eq!(load(), Ok(()), "those of the system");
        fs::write(folder.path().join("libcudart.so.13"), "").unwrap();
        let error = load().unwrap_err();
        assert!(error.contains("libcudart.so.13 cannot be loaded: "), "{error}");
        assert!(error.contains("file too short"), "{error}");
    }
}
