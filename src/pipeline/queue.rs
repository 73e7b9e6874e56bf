//! One queue and one thread per device: batches come in, their vectors go out.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::step::Devices;
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedded, Embedder, FallbackEmbedder};

/// Batches in flight per device: it works on one, and one waits, so that the device need not wait.
const BATCHES_PER_DEVICE: usize = 2;

/// What a device made of a batch.
pub(super) struct Outcome {
    /// The first chunk of the batch.
    pub first: ChunkKey,
    /// Chunks in the batch.
    pub chunks: usize,
    /// Tokens in the batch, without padding.
    pub tokens: usize,
    /// Time in the model.
    pub time: Duration,
    /// The vector of each chunk, or the error that ends the run.
    pub embedded: anyhow::Result<Vec<Embedded>>,
    /// Most tokens per batch from now on, padding included, if this batch did not fit into memory.
    pub batch_limit: Option<usize>,
}

/// The queue. To drop it is to wait for the batches that devices work on, because the engine must not outlive `main`.
pub(super) struct Queue {
    batches: Sender<Batch>,
    /// Batches that no device has taken yet.
    waiting: Receiver<Batch>,
    outcomes: Receiver<Outcome>,
    threads: Vec<JoinHandle<()>>,
    /// Which chunks may share a batch.
    pub batching: Batching,
    /// The most tokens of a batch that suit every device.
    pub batch_tokens: usize,
    in_flight: usize,
}

impl Queue {
    /// Starts a thread for each embedder. All embedders run the same model.
    ///
    /// # Panics
    /// If there is no embedder.
    pub fn start(embedders: Vec<Box<dyn Embedder>>) -> Self {
        let first = embedders.first().unwrap_or_else(|| panic!("an embedder for each device"));
        let batching = first.batching();
        let batch_tokens = embedders.iter().map(|embedder| embedder.batch_tokens()).min().unwrap_or(0);
        let (batches, waiting) = bounded(embedders.len() * BATCHES_PER_DEVICE);
        let (made, outcomes) = unbounded();
        let start = |embedder| {
            let (waiting, made) = (waiting.clone(), made.clone());
            thread::spawn(move || work(FallbackEmbedder::new(embedder), &waiting, &made))
        };
        let threads = embedders.into_iter().map(start).collect();
        Queue { batches, waiting, outcomes, threads, batching, batch_tokens, in_flight: 0 }
    }

    pub fn devices(&self) -> usize {
        self.threads.len()
    }

    pub fn state(&self) -> Devices {
        match self.in_flight {
            0 => Devices::Idle,
            _ if self.is_full() => Devices::Full,
            _ => Devices::Working,
        }
    }

    pub fn is_full(&self) -> bool {
        self.in_flight == self.devices() * BATCHES_PER_DEVICE
    }

    /// Hands a batch to the devices.
    ///
    /// # Panics
    /// If the queue is full, or with the panic of a thread.
    pub fn push(&mut self, batch: Batch) {
        if self.batches.try_send(batch).is_err() {
            self.panic();
        }
        self.in_flight += 1;
    }

    /// Returns where outcomes come from. Call [`Queue::count_taken`] for each one received.
    pub fn outcomes(&self) -> &Receiver<Outcome> {
        &self.outcomes
    }

    /// Makes room for another batch, because an outcome has been received.
    pub fn count_taken(&mut self) {
        self.in_flight -= 1;
    }

    /// Passes on the panic of a thread, if one has panicked.
    pub fn check(&mut self) {
        if self.threads.iter().any(JoinHandle::is_finished) {
            self.panic();
        }
    }

    /// Waits for the batches that devices work on, drops the others, and returns the outcomes nobody has received.
    pub fn stop(mut self) -> Vec<Outcome> {
        self.join();
        self.outcomes.try_iter().collect()
    }

    fn join(&mut self) {
        // With their sender gone, the threads end after the batch at hand.
        self.batches = bounded(0).0;
        self.waiting.try_iter().for_each(drop);
        for thread in self.threads.drain(..) {
            // Its panic has been passed on, or the run ends with another error.
            let _ = thread.join();
        }
    }

    fn panic(&mut self) -> ! {
        let finished = self.threads.iter().position(JoinHandle::is_finished);
        match finished.map(|at| self.threads.remove(at).join()) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => panic!("a batch was handed in while the queue was full"),
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.join();
    }
}

/// Embeds batches until there are no more, or nobody receives the outcomes.
fn work(mut embedder: FallbackEmbedder, batches: &Receiver<Batch>, outcomes: &Sender<Outcome>) {
    for batch in batches {
        let Some(first) = batch.keys().next() else { continue };
        let (chunks, tokens, limit) = (batch.len(), batch.tokens(), embedder.batch_limit());
        let started = Instant::now();
        let embedded = embedder.embed(batch);
        let outcome = Outcome {
            first,
            chunks,
            tokens,
            time: started.elapsed(),
            embedded,
            batch_limit: embedder.batch_limit().filter(|&now| limit != Some(now)),
        };
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}
