//! What a model may use, and what it is to embed.

/// What a model may use.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Threads inside one operator, on a CPU.
    pub threads: usize,
    /// Most bytes of the memory of each GPU.
    pub gpu_memory: Option<usize>,
}

/// What it is to embed.
#[derive(Debug, Clone)]
pub struct Texts {
    /// Most tokens of one.
    pub max_tokens: usize,
    /// Most tokens that are to go through it together; `None` for what suits it.
    pub together: Option<usize>,
    /// Token ids that all begin with.
    pub prefix: Vec<u32>,
}
