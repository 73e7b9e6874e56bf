//! Measures how well the scores of text pairs correlate with the cosine similarities of the vectors.

use std::sync::Arc;

use anyhow::{Context, ensure};

use super::groups::{Group, groups, is_comparison, languages, setup};
use super::page::{EvalPage, Measured, PAIRS, Values};
use crate::cli::EvalPairsArguments;
use crate::command::setup::{inputs, model};
use crate::console::LogFormat;
use crate::error::{NoVector, Usage};
use crate::eval::{self, Pair};
use crate::index::VectorType;
use crate::model::Preparation;
use crate::text::snippet::snippet;
use crate::text::tokenize::Tokenizer;
use crate::vector::embedding::Embedding;

pub fn measure(arguments: &EvalPairsArguments, format: LogFormat) -> anyhow::Result<EvalPage> {
    let Ok(fields) = <&[String; 3]>::try_from(&arguments.fields[..]) else {
        return Err(
            Usage("--fields: name three fields, as in --fields sentence1,sentence2,score".into()).into()
        );
    };
    let groups = groups(&arguments.setups, arguments.instruction.as_deref(), None, format)?;
    let pairs = eval::pairs(&arguments.file, fields, &inputs::this_program()?)?;
    let scores: Arc<[f64]> = pairs.iter().map(|pair| pair.score).collect();
    ensure!(
        eval::pearson(&scores, &scores).is_some(),
        "{}: all scores are {}, so there is nothing to correlate; use pairs with different scores",
        arguments.file.display(),
        scores[0]
    );
    let mut measured = Vec::new();
    for group in groups {
        let mut last = None;
        for variant in &group.variants {
            // Embedding is slow, so set-ups that differ only in dimensions share vectors.
            let vectors = match last.take() {
                Some((instruction, vectors)) if instruction == &variant.instruction => vectors,
                _ => embed(&pairs, &group, variant.instruction.as_deref(), format)?,
            };
            let dim = variant.dim(vectors[0].values().len())?;
            let cosine = |pair: &[Embedding]| {
                Ok(pair[0].clone().truncate(dim)?.cosine(&pair[1].clone().truncate(dim)?))
            };
            let cosines = vectors.chunks_exact(2).map(cosine).collect::<Result<_, NoVector>>()?;
            let values = Values::Pairs { cosines, scores: scores.clone() };
            measured.push(Measured {
                setup: setup(&group.model, dim, VectorType::F32, variant.instruction.clone()),
                values,
            });
            last = Some((&variant.instruction, vectors));
        }
    }
    Ok(EvalPage {
        kind: PAIRS,
        languages: languages(pairs.iter().map(|pair| pair.language.as_deref())),
        ids: pairs.into_iter().map(|pair| pair.place).collect(),
        measured,
        is_comparison: is_comparison(&arguments.setups),
        notes: Vec::new(),
    })
}

/// Returns the vectors of both texts of each pair, with all dimensions.
fn embed(
    pairs: &[Pair],
    group: &Group,
    instruction: Option<&str>,
    format: LogFormat,
) -> anyhow::Result<Vec<Embedding>> {
    // Uses the default limit on tokens, so that long texts are split into the same chunks as by `build` without
    // `--max-tokens`.
    let prompt = model::document_prompt(&group.model, instruction)?;
    let max_tokens = model::max_tokens(None, &group.model)?;
    let workload = |tokenizer: &Tokenizer| model::workload(tokenizer, max_tokens);
    let full = Preparation::Full;
    let (mut embedder, _) =
        model::load(&group.arguments, &group.model, &prompt, full, &workload, None, format)?;
    for variant in &group.variants {
        variant.dim(embedder.dim())?;
    }
    let texts: Vec<&str> = pairs.iter().flat_map(|pair| &pair.texts).map(String::as_str).collect();
    let named = |at: usize| format!("text {:?}", snippet(texts[at], ""));
    let vectors = embedder.embed(&texts)?.into_iter().enumerate();
    vectors.map(|(at, vector)| vector.with_context(|| named(at))).collect()
}
