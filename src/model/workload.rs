//! What a model may use, and what it is to embed.

/// What a model may use of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Threads per operator on a CPU.
    pub threads: usize,
    /// Most bytes of memory per GPU; `None` for all that is free.
    pub gpu_memory: Option<usize>,
}

/// The texts that a model is to embed.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Tokens of the longest text.
    pub max_tokens: usize,
    /// Most tokens per batch, padding included; `None` for what suits the device.
    pub batch_tokens: Option<usize>,
    /// Token ids that every text begins with.
    pub prefix: Vec<u32>,
}
