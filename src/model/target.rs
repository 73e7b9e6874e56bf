//! Loads a graph into a session of ONNX Runtime on one device, and shortens errors of ONNX Runtime to one line.

use std::path::Path;

use anyhow::anyhow;
use ort::environment::Environment;
use ort::ep::cuda::AttentionBackend;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ArenaExtendStrategy};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use super::cuda::Gpu;
use super::device::{Device, DeviceError};
use super::precision::Precision;
use super::repair::repaired;
use crate::vector::embedder::OutOfMemory;

/// Words in error messages of ONNX Runtime and of CUDA's libraries. A message that contains any of these words reports that
/// memory could not be allocated.
const OUT_OF_MEMORY: [&str; 5] = [
    "Failed to allocate memory",
    "smaller than requested bytes",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
];

/// Words in error messages of CUDA and of ONNX Runtime. A message that contains any of these words reports that a tensor is too
/// large for a kernel: a grid of too many blocks (CUDA's error 9), or more elements than 32 bits count.
const TOO_LARGE_FOR_KERNEL: [&str; 3] = ["invalid configuration argument", "narrowing", "Integer overflow"];

/// The option of ONNX Runtime that names the folder of the data files of a graph that is in memory.
pub(super) const DATA_FOLDER: &str = "session.model_external_initializers_file_folder_path";

/// A part of the name of the function with which ONNX Runtime calls CUDA. Messages about errors of CUDA contain the whole
/// signature of this function.
const CUDA_CALL: &str = "::CudaCall(";

/// The words directly before CUDA's own error in a message of ONNX Runtime.
const CUDA_FAILURE: &str = "CUDA failure ";

/// The processor that one session runs on, with the limits for the session.
pub(super) enum ExecutionTarget {
    /// The CPU with ONNX Runtime's own kernels, and this many threads per operator.
    Cpu { threads: usize },
    /// The CPU with OpenVINO, and this many threads.
    OpenVino { threads: usize },
    Cuda {
        gpu: Gpu,
        /// The CUDA device number of the GPU.
        number: usize,
        /// The most GPU memory that the session may allocate, in bytes; `None` for no limit.
        memory_max: Option<usize>,
    },
}

/// How a session is loaded.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionOptions<'a> {
    /// The start of the path of a file in which ONNX Runtime records all runs; `None` for no record.
    pub profile: Option<&'a Path>,
    /// Whether ONNX Runtime copies the weights into the order of its kernels when it loads them. Otherwise it does so in each run,
    /// a part at a time.
    pub prepacks: bool,
    /// Whether a thread without work waits actively for the next operator. This makes each operator start sooner, and takes all the
    /// time of a core until then.
    pub spins: bool,
}

impl ExecutionTarget {
    /// Loads the graph.
    ///
    /// # Errors
    /// [`OutOfMemory`] if the graph does not fit into GPU memory, or another error if the graph or the execution provider
    /// cannot be loaded.
    pub fn session(
        &self,
        environment: &Environment,
        path: &Path,
        level: GraphOptimizationLevel,
        options: SessionOptions,
    ) -> anyhow::Result<Session> {
        let builder = self.with_provider(Session::builder(environment)?)?;
        let load = || -> ort::Result<Session> {
            let builder = match options.profile {
                Some(profile) => builder.with_profiling(profile)?,
                None => builder,
            };
            let builder = match options.prepacks {
                true => builder,
                false => builder.with_config_entry("session.disable_prepacking", "1")?,
            };
            let mut builder = builder
                .with_intra_threads(self.threads())?
                .with_intra_op_spinning(options.spins)?
                .with_optimization_level(level)?
                // ONNX Runtime would keep one memory pattern per shape forever, and nearly every batch has a new shape.
                .with_memory_pattern(false)?;
            match repaired(path) {
                Some(graph) => {
                    let folder = path.parent().unwrap_or(Path::new("")).display().to_string();
                    builder.with_config_entry(DATA_FOLDER, folder)?.commit_from_memory(&graph)
                }
                None => builder.commit_from_file(path),
            }
        };
        load().map_err(|error| self.explain(error))
    }

    fn threads(&self) -> usize {
        match self {
            ExecutionTarget::Cpu { threads } | ExecutionTarget::OpenVino { threads } => *threads,
            // The GPU does nearly all the work, so one CPU thread is enough.
            ExecutionTarget::Cuda { .. } => 1,
        }
    }

    fn with_provider(&self, builder: SessionBuilder) -> anyhow::Result<SessionBuilder> {
        match self {
            ExecutionTarget::Cpu { .. } => Ok(builder),
            ExecutionTarget::OpenVino { threads } => openvino(builder, *threads).map_err(|e| {
                let message = one_line(&e.to_string());
                let cause = format!("{message}; this ONNX Runtime lacks OpenVINO or a part of it");
                Device::OpenVino.unusable(cause).into()
            }),
            ExecutionTarget::Cuda { number, memory_max, .. } => cuda(builder, *number, *memory_max)
                .map_err(|e| DeviceError::Cuda(one_line(&e.to_string())).into()),
        }
    }

    /// Turns an error from loading a graph into one line.
    fn explain(&self, error: ort::Error) -> anyhow::Error {
        let error = anyhow::Error::from(error);
        let message = one_line(&error.to_string());
        match self {
            ExecutionTarget::Cuda { .. } if is_out_of_memory(&error) => OutOfMemory.into(),
            ExecutionTarget::Cuda { .. } if error.to_string().contains(CUDA_CALL) => {
                DeviceError::Cuda(message).into()
            }
            ExecutionTarget::Cpu { .. } | ExecutionTarget::Cuda { .. } => {
                anyhow!("{message}; check that the ONNX file is complete and its data files are beside it")
            }
            // A message of OpenVINO begins with a long list of places in the source code of OpenVINO.
            ExecutionTarget::OpenVino { .. } => {
                let reason =
                    message.rsplit_once("GeneralFailure: ").map_or(message.as_str(), |(_, reason)| reason);
                let cause = format!("{reason}; OpenVINO runs standard operators only");
                DeviceError::NoOperator { cause, fitting: Precision::Plain }.into()
            }
        }
    }
}

/// Makes OpenVINO run the whole graph. Loading fails if OpenVINO cannot run a node.
fn openvino(builder: SessionBuilder, threads: usize) -> ort::Result<SessionBuilder> {
    // Threads are not pinned to cores, because a pinned thread has to wait while another program runs on the same core.
    let settings = format!(
        r#"{{"CPU": {{"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": "{threads}", "ENABLE_CPU_PINNING": "NO"}}}}"#
    );
    let provider =
        ep::OpenVINO::default().with_device_type("CPU").with_arbitrary_config("load_config", settings);
    Ok(builder
        .with_execution_providers([provider.build().error_on_failure()])?
        .with_config_entry("session.disable_cpu_ep_fallback", "1")?)
}

/// Makes ONNX Runtime run a node on the GPU if CUDA has a kernel for the node. All other nodes, such as nodes that compute
/// shapes, run on the CPU; [`Placement`](super::placement::Placement) counts the nodes on the GPU and the nodes elsewhere.
fn cuda(builder: SessionBuilder, number: usize, memory_max: Option<usize>) -> ort::Result<SessionBuilder> {
    let provider = ep::CUDA::default()
        .with_device_id(i32::try_from(number).unwrap_or(i32::MAX))
        // TF32 has only 10 bits of fraction. Without TF32, an fp32 export is computed in fp32.
        .with_tf32(false)
        // The list leaves out cuDNN's attention, which ONNX Runtime would prefer on Hopper and newer GPUs. cuDNN makes a plan
        // for every new shape of a batch, and nearly every batch has a new shape.
        .with_attention_backend(
            AttentionBackend::FLASH_ATTENTION
                | AttentionBackend::EFFICIENT_ATTENTION
                | AttentionBackend::MATH,
        )
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    let provider = match memory_max {
        Some(bytes) => provider.with_memory_limit(bytes),
        None => provider,
    };
    Ok(builder.with_execution_providers([provider.build().error_on_failure()])?)
}

pub(super) fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let message = format!("{error:#}");
    OUT_OF_MEMORY.iter().any(|words| message.contains(words))
}

pub(super) fn exceeds_kernel(message: &str) -> bool {
    TOO_LARGE_FOR_KERNEL.iter().any(|words| message.contains(words))
}

/// Shortens a message of ONNX Runtime to the reason, in one line. The whole message has line breaks, and has file names and
/// signatures of functions before and after the reason.
pub(super) fn one_line(message: &str) -> String {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = message.rsplit_once(" : FAIL : ").map_or(message.as_str(), |(_, reason)| reason);
    let after_call = reason.rfind(CUDA_CALL).and_then(|at| reason[at..].split_once("] "));
    let reason = after_call.map_or(reason, |(_, reason)| reason);
    let reason = reason.rfind(CUDA_FAILURE).map_or(reason, |at| &reason[at..]);
    reason.split(" ; GPU=").next().unwrap_or(reason).to_owned()
}
