"""Compares figures of `qwen3-index eval` with those of trec_eval, SciPy and NumPy.

tests/suite/eval.rs prepares the files and calls this. `metrics` checks figures that the library computed from numbers.
`retrieval` and `pairs` compute the figures of a test set from vectors that `embed` made, and compare them with the program's.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytrec_eval
from scipy import stats

TOLERANCE = 1e-6
TREC = {"ndcg_10": "ndcg_cut_10", "recall_10": "recall_10", "mrr": "recip_rank"}


def read(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def lines(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def same(ours, theirs, what):
    assert math.isclose(ours, theirs, abs_tol=TOLERANCE), (what, ours, theirs)


def trec(qrels, run):
    return pytrec_eval.RelevanceEvaluator(qrels, set(TREC.values())).evaluate(run)


def same_interval(ours, one, other, statistic, resamples):
    """SciPy draws other random numbers, which moves the ends by about a hundredth of the width; 6 % are allowed."""
    theirs = stats.bootstrap(
        (one, other), statistic, paired=True, method="percentile", n_resamples=resamples, rng=np.random.default_rng(7)
    ).confidence_interval
    room = 0.06 * (theirs.high - theirs.low)
    assert abs(ours["low"] - theirs.low) < room > abs(ours["high"] - theirs.high), (ours, theirs)


def mean_difference(one, other, axis=-1):
    return np.mean(other, axis=axis) - np.mean(one, axis=axis)


def metrics(path):
    cases = read(path)
    for at, case in enumerate(cases["rankings"]):
        for question, figures in trec(case["qrels"], case["run"]).items():
            for key, name in TREC.items():
                same(case["figures"][question][key], figures[name], (at, question, key))
    for case in cases["correlations"]:
        same(case["spearman"], stats.spearmanr(case["a"], case["b"]).statistic, "spearman")
        same(case["pearson"], stats.pearsonr(case["a"], case["b"]).statistic, "pearson")
    for case in cases["intervals"]:
        same_interval(case["interval"], case["one"], case["other"], mean_difference, 10_000)
    print(*(f"{len(found)} {kind}" for kind, found in cases.items()))


def figures_of(said, dim):
    [setup] = [setup for setup in said["setups"] if setup["setup"]["dim"] == dim]
    assert setup["setup"]["bytes"] == 4 * dim
    return setup


def cut(vectors, dim):
    vectors = vectors[:, :dim].astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def retrieval():
    said = read("said.json")
    documents = [line["_id"] for line in lines("test/corpus.jsonl") if line["title"]]
    questions = lines("test/queries.jsonl")
    qrels = {}
    for line in Path("test/qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        question, document, score = line.split("\t")
        qrels.setdefault(question, {})[document] = int(score)
    for dim in (64, 32):
        vectors, asked = cut(np.load("documents.npy"), dim), cut(np.load("questions.npy"), dim)
        # A matrix product could give equal rows scores that differ in the last bits.
        run = {
            question["_id"]: dict(zip(documents, (vectors * vector).sum(axis=1).tolist()))
            for question, vector in zip(questions, asked)
        }
        theirs = trec(qrels, run)
        setup = figures_of(said, dim)
        assert [each["id"] for each in setup["each"]] == [q["_id"] for q in questions if q["_id"] in theirs]
        for each in setup["each"]:
            for key, name in TREC.items():
                same(each[key], theirs[each["id"]][name], (dim, each["id"], key))
        for figures in setup["figures"]:
            language = figures["language"]
            ids = [q["_id"] for q in questions if q["_id"] in theirs and language in (None, q.get("language"))]
            assert figures["count"] == len(ids) > 0, figures
            for key, name in TREC.items():
                same(figures[key], np.mean([theirs[id][name] for id in ids]), (dim, language, key))
    print(len(theirs), "questions")


def pairs():
    said = read("said.json")
    rows = lines("pairs.jsonl")
    scores = np.array([row["score"] for row in rows])
    vectors = np.load("texts.npy")
    cosines = {}
    for dim in (64, 32):
        [one, other] = cut(vectors[0::2], dim), cut(vectors[1::2], dim)
        cosines[dim] = (one * other).sum(axis=1)
        for figures in figures_of(said, dim)["figures"]:
            some = [at for at, row in enumerate(rows) if figures["language"] in (None, row.get("lang"))]
            assert figures["count"] == len(some) > 0, figures
            same(figures["spearman"], stats.spearmanr(cosines[dim][some], scores[some]).statistic, figures)
            same(figures["pearson"], stats.pearsonr(cosines[dim][some], scores[some]).statistic, figures)
    statistics = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}
    for found in said["differences"]:
        if found["language"] is None:
            figure = statistics[found["metric"]]
            items = np.arange(len(rows))

            def difference(drawn, _, figure=figure):
                drawn = drawn.astype(int)
                return (
                    figure(cosines[32][drawn], scores[drawn]).statistic
                    - figure(cosines[64][drawn], scores[drawn]).statistic
                )

            same(found["difference"], difference(items, items), found)
            same_interval(found["interval"], items, items, difference, 4_000)
    print(len(rows), "pairs")


if __name__ == "__main__":
    {"metrics": metrics, "retrieval": retrieval, "pairs": pairs}[sys.argv[1]](*sys.argv[2:])
