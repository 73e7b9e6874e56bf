//! Batches on their way through the model: one queue, and behind it a thread a device.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedded, Embedder, FallbackEmbedder};

/// One is at work, and one waits, so that no device has to.
const BATCHES_A_DEVICE: usize = 2;

/// What became of a batch.
pub(super) struct Outcome {
    /// The first of its chunks, and how many there were.
    pub first: ChunkKey,
    pub chunks: usize,
    /// Tokens in them.
    pub tokens: usize,
    /// Time in the model.
    pub seconds: Duration,
    /// What came of each; or why the run cannot go on.
    pub embedded: anyhow::Result<Vec<Embedded>>,
    /// Most tokens per batch from now on, padding included, if this batch did not fit into memory.
    pub batch_limit: Option<usize>,
}

/// The queue. Where it is dropped, what is at work comes to its end first, since the engine must not outlive `main`.
pub(super) struct Queue {
    batches: Sender<Batch>,
    /// Those that wait.
    waiting: Receiver<Batch>,
    outcomes: Receiver<Outcome>,
    threads: Vec<JoinHandle<()>>,
    /// How much company texts may have.
    pub batching: Batching,
    /// Most tokens of a batch that suit the devices.
    pub batch_tokens: usize,
    in_flight: usize,
}

impl Queue {
    /// Starts a thread for each embedder. They are of one model.
    ///
    /// # Panics
    /// If there are none.
    pub fn start(embedders: Vec<Box<dyn Embedder>>) -> Self {
        let first = embedders.first().unwrap_or_else(|| panic!("an embedder for each device"));
        let batching = first.batching();
        let batch_tokens = embedders.iter().map(|embedder| embedder.batch_tokens()).min().unwrap_or(0);
        let (batches, waiting) = bounded(embedders.len() * BATCHES_A_DEVICE);
        let (made, outcomes) = unbounded();
        let work_on = |embedder| {
            let (taken, made) = (waiting.clone(), made.clone());
            thread::spawn(move || work(FallbackEmbedder::new(embedder), &taken, &made))
        };
        let threads = embedders.into_iter().map(work_on).collect();
        Queue { batches, waiting, outcomes, threads, batching, batch_tokens, in_flight: 0 }
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.threads.len()
    }

    /// Whether nothing is at work.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether a batch would have to wait for more than one other.
    pub fn is_full(&self) -> bool {
        self.in_flight == self.devices() * BATCHES_A_DEVICE
    }

    /// Hands a batch in.
    ///
    /// # Panics
    /// If the queue is full, or with the panic of a thread.
    pub fn push(&mut self, batch: Batch) {
        if self.batches.try_send(batch).is_err() {
            self.panic();
        }
        self.in_flight += 1;
    }

    /// Where outcomes come from; each is to be given to [`Queue::taken`].
    pub fn outcomes(&self) -> &Receiver<Outcome> {
        &self.outcomes
    }

    /// Counts an outcome that has been received.
    pub fn taken(&mut self) {
        self.in_flight -= 1;
    }

    /// Goes on with the panic of a thread, if one has panicked.
    pub fn check(&mut self) {
        if self.threads.iter().any(JoinHandle::is_finished) {
            self.panic();
        }
    }

    /// Lets what is at work come to its end, and gives up what waits.
    pub fn stop(mut self) -> Vec<Outcome> {
        self.join();
        self.outcomes.try_iter().collect()
    }

    fn join(&mut self) {
        self.batches = bounded(0).0;
        self.waiting.try_iter().for_each(drop);
        for thread in self.threads.drain(..) {
            // Its panic has been told, or the run ends for another reason.
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
            seconds: started.elapsed(),
            embedded,
            batch_limit: embedder.batch_limit().filter(|&now| limit != Some(now)),
        };
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}
