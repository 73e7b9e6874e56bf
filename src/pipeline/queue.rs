//! Embeds batches on one thread per device. All devices take their batches from one queue.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::step::Devices;
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedded, Embedder, FallbackEmbedder};

/// Limit on the batches in flight per device. While the device works on one batch, a second batch is ready, so that the device
/// never waits for a batch.
const BATCHES_PER_DEVICE: usize = 2;

/// The result of embedding a batch.
pub(super) struct Outcome {
    /// The key of the first chunk of the batch.
    pub first: ChunkKey,
    /// Number of chunks in the batch.
    pub chunks: usize,
    /// Number of tokens in the batch, without padding.
    pub tokens: usize,
    /// The time that the model needed for the batch.
    pub time: Duration,
    /// The key and the vector of each chunk, or the error that ends the run.
    pub embedded: anyhow::Result<Vec<Embedded>>,
    /// The new limit on the tokens per batch, padding included; `None` if the limit is unchanged. The limit changes when a batch
    /// does not fit into the memory of the device.
    pub batch_limit: Option<usize>,
}

/// The batches for the devices, and one thread per device. Dropping the queue waits for the batches that devices work on, because
/// no device may work after `main` has returned.
pub(super) struct Queue {
    batches: Sender<Batch>,
    /// Batches that no device has taken yet.
    waiting: Receiver<Batch>,
    outcomes: Receiver<Outcome>,
    threads: Vec<JoinHandle<()>>,
    /// The rule that decides which chunks may share a batch.
    pub batching: Batching,
    /// Limit on the tokens per batch: the lowest limit of all devices.
    pub batch_tokens: usize,
    in_flight: usize,
}

impl Queue {
    /// Starts a thread for each embedder. All embedders must run the same model.
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
    /// If the queue is full, or if a thread has panicked. The panic of the thread is passed on.
    pub fn push(&mut self, batch: Batch) {
        if self.batches.try_send(batch).is_err() {
            self.panic();
        }
        self.in_flight += 1;
    }

    /// Returns the channel of the outcomes. The caller must call [`Queue::count_taken`] for each outcome that it receives.
    pub fn outcomes(&self) -> &Receiver<Outcome> {
        &self.outcomes
    }

    /// Makes room for another batch. Must be called after an outcome has been received.
    pub fn count_taken(&mut self) {
        self.in_flight -= 1;
    }

    /// Passes on the panic of a thread if a thread has panicked.
    pub fn check(&mut self) {
        if self.threads.iter().any(JoinHandle::is_finished) {
            self.panic();
        }
    }

    /// Waits for the batches that devices work on, and drops the batches that no device has taken. Returns the outcomes that have
    /// not been received.
    pub fn stop(mut self) -> Vec<Outcome> {
        self.join();
        self.outcomes.try_iter().collect()
    }

    fn join(&mut self) {
        // This assignment drops the sender, so each thread ends after its current batch.
        self.batches = bounded(0).0;
        self.waiting.try_iter().for_each(drop);
        for thread in self.threads.drain(..) {
            // If the thread has panicked, either its panic was passed on before, or the run already ends with another error.
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

/// Embeds batches until there are no more batches, or until the receiver of the outcomes has been
/// dropped.
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
