//! Measures the quality of vectors on a test set with known answers, and the uncertainty of the figures.

mod bootstrap;
mod data;
mod metrics;
mod rankings;

pub use bootstrap::{Interval, interval};
pub use data::{
    CorpusEntry, Judgments, Layout, LayoutError, Pair, Question, corpus, judgments, pairs, questions,
};
pub use metrics::{K, ndcg, pearson, recall, reciprocal_rank, spearman};
pub use rankings::Rankings;
