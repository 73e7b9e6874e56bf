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

/// The longest single text that is embedded with the least preparation, in bytes. With the 0.6B model in fp32, full preparation took
/// 4.5 seconds of CPU time longer and saved 1.6 of 15.8 seconds for 1,000 tokens, and so long a text has some 2,000.
const SHORT_TEXT_BYTES: usize = 8 << 10;

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
