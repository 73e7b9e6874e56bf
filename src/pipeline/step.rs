//! Decides the next step of the calling thread from a few facts. Does no I/O.

/// The facts that determine the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Whether some documents of the latest group are not in the window yet.
    pub has_arrived: bool,
    /// Whether all groups have arrived.
    pub is_end: bool,
    pub window: WindowState,
    /// Whether a chunk in the window needs the model.
    pub has_chunks: bool,
    /// Whether some batches of the latest plan have not been handed to a device yet.
    pub has_batches: bool,
    pub devices: Devices,
    pub rows: RowsState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WindowState {
    Empty,
    /// The window has documents, and room for more.
    Filling,
    Full,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Devices {
    /// No plan has needed the model yet.
    NotStarted,
    /// The devices have no batches.
    Idle,
    /// The devices have batches, and room for more.
    Working,
    /// The devices have as many batches as the limit allows.
    Full,
}

/// Whether rows can be written. The rows of a document can be written if this document and all documents before it have all their
/// vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowsState {
    /// There is no pending document, or the first pending document lacks a vector.
    NotReady,
    /// The first pending document has all its vectors. The rows are not written yet, so that more rows can be written together.
    Ready,
    /// The first pending document has all its vectors. The rows must be written now.
    Due,
}

/// A step of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Hand batches to the devices until they are full.
    HandIn,
    /// Plan batches for the chunks in the window, and empty the window. Rows that are ready then become due.
    Plan,
    /// Move documents that have arrived into the window, until the window is full.
    Fill,
    /// Write rows that are ready. If no device is working, write all such rows, otherwise the rows of a limited number of
    /// documents. Then receive a group or an outcome if one has arrived, without waiting.
    Emit,
    /// Wait for a group of documents or for vectors.
    Wait(Awaited),
    /// End, because the rows of all documents have been written.
    Done,
}

/// The events that the run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    Documents,
    Vectors,
    Both,
}

impl State {
    /// Returns the next step.
    ///
    /// Steps that keep the devices working have priority. If there is nothing to do and nothing to wait for, the run is done. So
    /// the run never waits for an event that cannot happen.
    pub fn next(self) -> Step {
        if self.has_batches && self.devices.have_room() {
            Step::HandIn
        } else if self.may_plan() {
            Step::Plan
        } else if self.has_arrived && self.window != WindowState::Full {
            Step::Fill
        } else if self.may_emit() {
            Step::Emit
        } else {
            self.awaited().map_or(Step::Done, Step::Wait)
        }
    }

    /// Returns the events that can happen now; `None` if no event can happen. A new group is received only while the window has
    /// room.
    pub fn awaited(self) -> Option<Awaited> {
        let takes_documents = !self.is_end && !self.has_arrived && self.window != WindowState::Full;
        match (takes_documents, self.devices.are_working()) {
            (true, true) => Some(Awaited::Both),
            (true, false) => Some(Awaited::Documents),
            (false, true) => Some(Awaited::Vectors),
            (false, false) => None,
        }
    }

    fn may_plan(self) -> bool {
        let is_complete = match self.window {
            WindowState::Empty => false,
            WindowState::Filling => self.is_end,
            WindowState::Full => true,
        };
        // While the devices work, a window without chunks is not emptied. Otherwise any number of documents could
        // accumulate behind a document that waits for a vector.
        is_complete && !self.has_batches && (self.has_chunks || !self.devices.are_working())
    }

    fn may_emit(self) -> bool {
        match self.rows {
            RowsState::NotReady => false,
            RowsState::Ready => self.devices == Devices::Idle,
            RowsState::Due => true,
        }
    }
}

impl Devices {
    fn have_room(self) -> bool {
        matches!(self, Devices::Idle | Devices::Working)
    }

    pub fn are_working(self) -> bool {
        matches!(self, Devices::Working | Devices::Full)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};
    use std::path::Path;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::pending::{Pending, PendingChunk, PendingDocument, PendingVectors};
    use super::super::window::{Window, WindowSize};
    use super::*;
    use crate::digest::Digest;
    use crate::error::NoVector;
    use crate::source::{Document, FormatKind, Origin};
    use crate::text::blocks::Structured;
    use crate::text::chunk::ChunkPlace;
    use crate::text::tokenize::Encoding;
    use crate::vector::batch::{Batch, Batching, ChunkKey, plan};

    const SIZE: WindowSize = WindowSize { tokens: 40, documents: 6, bytes: usize::MAX };
    const GROUP_DOCUMENTS: usize = 4;
    const EMITTED_DOCUMENTS: usize = 5;
    const BATCHES_PER_DEVICE: usize = 2;

    /// Simulates a run with the real window, plan and pending documents. A document is a list of chunks, and a chunk is a number.
    struct Simulation {
        groups: VecDeque<Vec<Vec<u8>>>,
        arrived: VecDeque<Vec<u8>>,
        is_end: bool,
        window: Window,
        batches: VecDeque<Batch>,
        devices: usize,
        is_started: bool,
        in_flight: Vec<Batch>,
        pending: Pending,
        are_rows_due: bool,
        made: HashSet<u8>,
        written: usize,
    }

    impl Simulation {
        fn new(groups: Vec<Vec<Vec<u8>>>, devices: usize) -> Self {
            let mut window = Window::default();
            window.resize(SIZE);
            Simulation {
                groups: groups.into(),
                arrived: VecDeque::new(),
                is_end: false,
                window,
                batches: VecDeque::new(),
                devices,
                is_started: false,
                in_flight: Vec::new(),
                pending: Pending::default(),
                are_rows_due: false,
                made: HashSet::new(),
                written: 0,
            }
        }

        fn state(&self) -> State {
            State {
                has_arrived: !self.arrived.is_empty(),
                is_end: self.is_end,
                window: self.window.state(),
                has_chunks: self.window.has_chunks(),
                has_batches: !self.batches.is_empty(),
                devices: match self.in_flight.len() {
                    0 if !self.is_started => Devices::NotStarted,
                    0 => Devices::Idle,
                    many if many == self.devices * BATCHES_PER_DEVICE => Devices::Full,
                    _ => Devices::Working,
                },
                rows: match self.pending.is_first_ready() {
                    true if self.are_rows_due => RowsState::Due,
                    true => RowsState::Ready,
                    false => RowsState::NotReady,
                },
            }
        }

        /// Takes a step. `chance` decides which event happens.
        fn take(&mut self, step: Step, chance: usize) {
            match step {
                Step::HandIn => {
                    while self.state().devices.have_room()
                        && let Some(batch) = self.batches.pop_front()
                    {
                        self.in_flight.push(batch);
                    }
                }
                Step::Plan => {
                    self.are_rows_due = self.pending.is_first_ready();
                    let chunks = self.window.take();
                    self.is_started |= !chunks.is_empty();
                    self.batches = plan(chunks, Batching::AnyLengths, 12).into();
                }
                Step::Fill => {
                    while self.window.state() != WindowState::Full
                        && let Some(document) = self.arrived.pop_front()
                    {
                        self.add(document);
                    }
                }
                Step::Emit => {
                    let awaited = self.state().awaited();
                    let most =
                        if self.state().devices.are_working() { EMITTED_DOCUMENTS } else { usize::MAX };
                    let rows = (0..most).map_while(|_| self.pending.pop_ready()).count();
                    assert!(rows > 0);
                    self.written += rows;
                    self.are_rows_due &= self.pending.is_first_ready();
                    if let Some(awaited) = awaited.filter(|_| chance.is_multiple_of(3)) {
                        self.receive(awaited, chance / 3);
                    }
                }
                Step::Wait(awaited) => self.receive(awaited, chance),
                Step::Done => panic!("no step"),
            }
        }

        fn receive(&mut self, awaited: Awaited, chance: usize) {
            let is_group = match awaited {
                Awaited::Documents => true,
                Awaited::Vectors => false,
                Awaited::Both => chance.is_multiple_of(2),
            };
            if is_group {
                assert!(!self.is_end && self.arrived.is_empty(), "one group at a time");
                match self.groups.pop_front() {
                    Some(group) => self.arrived = group.into(),
                    None => self.is_end = true,
                }
            } else {
                let working = self.in_flight.len().min(self.devices);
                let batch = self.in_flight.remove(chance / 2 % working);
                for key in batch.keys() {
                    self.pending.fill(key, Err(NoVector::NotFinite));
                }
                for encoding in batch.ids().rows() {
                    self.made.insert(u8::try_from(encoding[0]).unwrap());
                }
            }
        }

        fn add(&mut self, document: Vec<u8>) {
            let tokens = |chunk: u8| 1 + usize::from(chunk % 9);
            self.window.add_document(document.iter().map(|&chunk| tokens(chunk)).sum(), 1);
            let (mut chunks, mut missing) = (Vec::new(), 0);
            for (at, chunk) in document.into_iter().enumerate() {
                let digest = Digest::of([chunk]);
                if !self.made.contains(&chunk) {
                    missing += 1;
                    let key = ChunkKey { document: self.pending.next_number(), chunk: at };
                    if self.pending.wait(key, digest) {
                        let ids = vec![u32::from(chunk); tokens(chunk)];
                        self.window.add_chunk(key, Encoding::new(ids));
                    }
                }
                chunks.push(PendingChunk { place: ChunkPlace::default(), digest, vector: None });
            }
            let origin = Origin { file: Path::new("").into(), line: None };
            self.pending.push(PendingDocument {
                document: Document {
                    id: String::new(),
                    content: Structured::default(),
                    title: None,
                    origin,
                    format: FormatKind::Text,
                    part: None,
                    encoding: None,
                    repaired: 0,
                    kept: Arc::new([]),
                    attached: Vec::new(),
                    unread: Vec::new(),
                },
                id: Digest::of([]),
                vectors: PendingVectors::Chunks { chunks, missing },
                is_new: false,
            });
        }

        fn check_bounds(&self) {
            let batches = self.in_flight.len();
            assert!(batches <= self.devices * BATCHES_PER_DEVICE, "{batches} batches in flight");
            assert!(self.arrived.len() <= GROUP_DOCUMENTS);
            assert!(self.window.documents <= SIZE.documents);
            // The limit: the current window, the window before it, one window per batch in flight, and one window with rows that
            // are due.
            let documents = self.pending.next_number() - self.written;
            if self.devices == 1 {
                assert!(documents <= (3 + BATCHES_PER_DEVICE) * SIZE.documents, "{documents} documents");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The simulation can always deliver the event that [`Step::Wait`] names. So after a wrong decision, the simulation ends
        /// too early or never.
        #[test]
        fn whatever_comes_when_the_run_ends_with_everything_written_and_holds_no_more_than_it_may(
            groups in vec(vec(vec(any::<u8>(), 0..4), 0..=GROUP_DOCUMENTS), 0..40),
            devices in 1..4usize,
            kinds in 1..=255u8,
            chances in vec(any::<usize>(), 1..200),
        ) {
            // If there are few kinds of chunks, many chunks are equal.
            let groups: Vec<Vec<Vec<u8>>> = groups
                .into_iter()
                .map(|group| group.into_iter().map(|chunks| chunks.iter().map(|chunk| chunk % kinds).collect()).collect())
                .collect();
            let documents: usize = groups.iter().map(Vec::len).sum();
            let chunks: usize = groups.iter().flatten().map(Vec::len).sum();
            let mut simulation = Simulation::new(groups.clone(), devices);
            let mut chances = chances.into_iter().cycle();
            // The limit on the steps: each group, document and chunk takes a few steps.
            let mut left = 10 + 5 * (groups.len() + documents + chunks);
            loop {
                let state = simulation.state();
                let step = state.next();
                if step == Step::Done {
                    break;
                }
                if matches!(step, Step::Wait(_)) && state.has_batches {
                    prop_assert_eq!(state.devices, Devices::Full, "no device waits while there are batches");
                }
                simulation.take(step, chances.next().unwrap());
                simulation.check_bounds();
                left -= 1;
                prop_assert!(left > 0, "no end: {:?}", state);
            }
            prop_assert!(simulation.is_end && simulation.arrived.is_empty() && simulation.batches.is_empty());
            prop_assert!(simulation.in_flight.is_empty() && simulation.pending.is_empty());
            prop_assert_eq!(simulation.written, documents);
        }
    }
}
