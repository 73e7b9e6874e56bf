//! What CUDA needs beside ONNX Runtime: its libraries, a driver, a GPU.

use std::path::Path;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use cudarc::driver::{CudaContext, DriverError};
use ort::ep::cuda::preload_dylibs;
use ort::util::preload_dylib;

/// The library of NVIDIA's driver.
const DRIVER: &str = "libcuda.so.1";

/// One library each of CUDA and cuDNN, to know the folder that has them.
const CUDA: &str = "libcudart.so.13";
const CUDNN: &str = "libcudnn.so.9";

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
        let gpus = CudaContext::device_count().map_err(|e| anyhow!("NVIDIA's driver says: {}", words(e)))?;
        if usize::try_from(gpus).is_ok_and(|gpus| number >= gpus) {
            bail!("there is no GPU {number}, they count from 0 and are {gpus}");
        }
        let context = CudaContext::new(number);
        let context = context.map_err(|e| anyhow!("GPU {number}: NVIDIA's driver says: {}", words(e)))?;
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
        let (free, _) =
            self.context.mem_get_info().map_err(|e| anyhow!("NVIDIA's driver says: {}", words(e)))?;
        let taken = self.free_at_first.saturating_sub(free);
        Ok(memory_max.map_or(free, |max| free.min(max.saturating_sub(taken))))
    }
}

fn words(error: DriverError) -> String {
    error.error_string().map_or_else(|_| error.to_string(), |words| words.to_string_lossy().into_owned())
}

/// Loads the libraries of CUDA and cuDNN that lie beside ONNX Runtime's, or in the packages beside its own. Where there are
/// none, the system's are for the system to find.
///
/// # Errors
/// One of them is missing or cannot be loaded.
pub(super) fn load_libraries(onnx_runtime: &Path) -> anyhow::Result<()> {
    let folder = onnx_runtime.parent().unwrap_or(Path::new("."));
    let folders = [folder.to_owned(), folder.join(PACKAGES[0]), folder.join(PACKAGES[1])];
    let with = |library| folders.iter().find(|folder| folder.join(library).is_file());
    preload_dylibs(with(CUDA).map(|path| path.as_path()), with(CUDNN).map(|path| path.as_path()))
        .map_err(|e| anyhow!("{e}"))
}
