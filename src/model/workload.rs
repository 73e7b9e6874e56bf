//! The resources that a model may use, and a description of the texts that the model will embed.

use std::num::NonZeroUsize;
use std::thread;

/// The resources of the machine that a model may use.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// The number of threads per operator on a CPU.
    pub threads: usize,
    /// The most memory to use per GPU, in bytes; `None` for all free memory.
    pub gpu_memory: Option<usize>,
}

/// A description of the texts that a model will embed.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The most tokens per text.
    pub max_tokens: usize,
    /// The most tokens per batch, padding included; `None` for the default of the device.
    pub batch_tokens: Option<usize>,
    /// Token ids that every text begins with.
    pub prefix: Vec<u32>,
    /// Whether the run embeds only one text. Then loading the model takes longer than using it, so it leaves out what only pays for
    /// many texts: the probe, and the copy of the weights in the order of the kernels.
    pub is_one_text: bool,
}

impl Workload {
    /// Returns the workload of texts with at most `max_tokens` tokens each, which all begin with `prefix`.
    pub fn of_many(max_tokens: usize, prefix: Vec<u32>) -> Self {
        Workload { max_tokens, batch_tokens: None, prefix, is_one_text: false }
    }

    /// Returns the workload of one text. The run probes the memory of a GPU with a batch that is only as long as this text.
    pub fn of_one(tokens: usize) -> Self {
        Workload { max_tokens: tokens, batch_tokens: Some(tokens), prefix: Vec::new(), is_one_text: true }
    }
}

/// Returns how many threads an operator uses on a CPU: one per core, because a second thread per core does not make the model
/// faster. A container may allow fewer cores than the machine has.
pub fn default_threads() -> usize {
    let allowed = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    allowed.min(num_cpus::get_physical())
}
