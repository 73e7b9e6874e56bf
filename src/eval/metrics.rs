//! Computes nDCG, recall, reciprocal rank and correlations.
//!
//! The figures of rankings are defined as in trec_eval (`m_ndcg_cut.c`, `m_recall.c`, `m_recip_rank.c`); pytrec_eval calls
//! them `ndcg_cut_10`, `recall_10` and `recip_rank`. A ranking is a list of numbers: the relevance of each document, best
//! document first. A document that was not judged has relevance 0. A document is relevant if its relevance is above 0.

use std::cmp::Reverse;

/// nDCG and recall use this many documents at the top of a ranking.
pub const K: usize = 10;

/// Returns nDCG: the gain of the first `k` documents of a ranking, divided by the highest gain that `k` of the `judged`
/// documents can have. A document with relevance `x` at rank `r` adds `x / log2(r + 1)` to the gain (Järvelin and Kekäläinen
/// 2002). Returns 0 if no document is relevant.
pub fn ndcg(ranked: &[i64], judged: &[i64], k: usize) -> f64 {
    let mut best = judged.to_vec();
    best.sort_unstable_by_key(|&relevance| Reverse(relevance));
    match gain(&best, k) {
        0.0 => 0.0,
        most => gain(ranked, k) / most,
    }
}

fn gain(relevances: &[i64], k: usize) -> f64 {
    let first = relevances.iter().take(k).zip(2u32..);
    first.map(|(&relevance, next)| relevance.max(0) as f64 / f64::from(next).log2()).sum()
}

/// Returns recall: the number of relevant documents among the first `k`, divided by the number of all relevant documents.
/// Returns 0 if no document is relevant.
pub fn recall(ranked: &[i64], judged: &[i64], k: usize) -> f64 {
    let relevant = |relevances: &[i64]| relevances.iter().filter(|&&relevance| relevance > 0).count();
    match relevant(judged) {
        0 => 0.0,
        all => relevant(&ranked[..k.min(ranked.len())]) as f64 / all as f64,
    }
}

/// Returns one divided by the rank of the first relevant document, or 0 if the ranking has no relevant document.
pub fn reciprocal_rank(ranked: &[i64]) -> f64 {
    ranked.iter().position(|&relevance| relevance > 0).map_or(0.0, |at| 1.0 / (at + 1) as f64)
}

/// Returns Pearson's r, or `None` if all values of `a` or all values of `b` are equal.
///
/// # Panics
/// If `a` and `b` have different lengths.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "values come in pairs");
    // Compares the values, because rounding errors can make the variance of equal values differ from 0.
    let is_constant = |values: &[f64]| values.iter().all(|&value| value == values[0]);
    if is_constant(a) || is_constant(b) {
        return None;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        both += a * b;
        of_a += a * a;
        of_b += b * b;
    }
    Some((both / (of_a.sqrt() * of_b.sqrt())).clamp(-1.0, 1.0))
}

/// Returns Spearman's rho: Pearson's r of the ranks, where equal values share the mean of their ranks.
///
/// # Panics
/// If `a` and `b` have different lengths.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    // tests/suite/eval.rs compares these functions with pytrec_eval and SciPy. The expected values here were computed by
    // hand, or are undefined in these two libraries.

    #[test]
    fn rankings_are_measured_as_by_hand() {
        let discounted = 1.0 / 3f64.log2();
        assert_eq!(ndcg(&[0, 1], &[1, 0], K), discounted);
        assert_eq!(ndcg(&[1, 2], &[2, 1, -1], K), (1.0 + 2.0 * discounted) / (2.0 + discounted));
        assert_eq!(ndcg(&[-1, 1], &[1, -1], K), discounted);
        assert_eq!((ndcg(&[0], &[0], K), recall(&[0], &[0], K), reciprocal_rank(&[0, -1])), (0.0, 0.0, 0.0));
        assert_eq!(recall(&[0, 1, 1], &[1, 1, 1, 1], 2), 0.25);
        assert_eq!(reciprocal_rank(&[0, 0, 3]), 1.0 / 3.0);
    }

    #[test]
    fn equal_values_share_their_rank_and_constants_correlate_with_nothing() {
        assert_eq!(ranks(&[0.5, -1.0, 0.5, 7.0]), [2.5, 1.0, 2.5, 4.0]);
        let rho = spearman(&[1.0, 2.0, 300.0], &[-3.0, -2.0, 0.0]).unwrap();
        assert!((rho - 1.0).abs() < 1e-12, "{rho}");
        assert_eq!(pearson(&[0.1; 7], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]), None);
        assert_eq!(pearson(&[], &[]), None);
    }
}
