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

/// The longest single text that a model with the least preparation embeds sooner than one with full preparation, in bytes. Full
/// preparation takes 1.5 seconds of CPU time longer and saves up to 0.3 seconds per batch (fp32, 0.6B), and so long a text has up to
/// five chunks.
const SHORT_TEXT_BYTES: usize = 32 << 10;

/// How much work loading a model does to make embedding faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// As much as pays for many texts.
    Full,
    /// As much as pays for one text.
    Least,
}

impl Preparation {
    /// Returns the preparation that embeds these texts soonest.
    pub fn for_texts(texts: &[String]) -> Self {
        match texts {
            [text] if text.len() <= SHORT_TEXT_BYTES => Preparation::Least,
            _ => Preparation::Full,
        }
    }
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
    /// Whether the run embeds only one text. Then the probe does not pay.
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
