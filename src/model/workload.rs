//! The resources that a model may use, and the texts that it is to embed.

/// The resources of the machine that a model may use.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Threads per operator on a CPU.
    pub threads: usize,
    /// Most bytes of memory per GPU; `None` for all free memory.
    pub gpu_memory: Option<usize>,
}

/// The texts that a model is to embed.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Most tokens per text.
    pub max_tokens: usize,
    /// Most tokens per batch, padding included; `None` for the default of the device.
    pub batch_tokens: Option<usize>,
    /// Token ids that every text begins with.
    pub prefix: Vec<u32>,
}
