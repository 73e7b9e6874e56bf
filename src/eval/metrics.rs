//! The measures. Pure.
//!
//! Those of rankings are trec_eval's (`m_ndcg_cut.c`, `m_recall.c`, `m_recip_rank.c`), which pytrec_eval calls `ndcg_cut_10`,
//! `recall_10` and `recip_rank`. A ranking is given as the relevance of its documents, the first first, 0 for one that was
//! not judged; only what is above 0 is relevant.

use std::cmp::Reverse;

/// How many documents of a ranking nDCG and recall look at.
pub const K: usize = 10;

/// Discounted cumulative gain of the first `k`, over that of the best order of all `judged` documents. The gain is the
/// relevance itself, the discount at rank `r` is `log2(r + 1)` (Järvelin and Kekäläinen 2002). 0 where nothing is relevant.
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

/// The share of the relevant documents that is among the first `k`. 0 where nothing is relevant.
pub fn recall(ranked: &[i64], judged: &[i64], k: usize) -> f64 {
    let relevant = |relevances: &[i64]| relevances.iter().filter(|&&relevance| relevance > 0).count();
    match relevant(judged) {
        0 => 0.0,
        all => relevant(&ranked[..k.min(ranked.len())]) as f64 / all as f64,
    }
}

/// One over the rank of the first relevant document; 0 where there is none.
pub fn reciprocal_rank(ranked: &[i64]) -> f64 {
    ranked.iter().position(|&relevance| relevance > 0).map_or(0.0, |at| 1.0 / (at + 1) as f64)
}

/// Pearson's r; `None` where one side is the same throughout.
///
/// # Panics
/// If the sides are not of the same length.
pub fn pearson(a: &[f64], b: &[f64]) -> Option<f64> {
    assert_eq!(a.len(), b.len(), "values come in pairs");
    // By comparison: rounding leaves a little variance to equal values.
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

/// Spearman's rho: Pearson's r of the ranks, of which equal values have the mean of theirs.
///
/// # Panics
/// As [`pearson`].
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

    // Against pytrec_eval and scipy: tests/suite/eval.rs. Here is what they leave open, or what is known by hand.

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
