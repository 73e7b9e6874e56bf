//! The model of a run, which is loaded only if a text has to be embedded or nothing else tells its fingerprint.

use std::mem;

use crate::cli::BuildArguments;
use crate::command::setup::model;
use crate::console::{Phase, Reporter};
use crate::model::{LoadedModel, Model, ModelFingerprint, Resources, Workload};
use crate::text::tokenize::Tokenizer;

/// A model that can tell its fingerprint.
pub struct LazyModel {
    /// What messages call it.
    pub name: String,
    pub model: Model,
    /// The model's tokenizer, with the instruction.
    pub tokenizer: Tokenizer,
    pub workload: Workload,
    resources: Resources,
    state: ModelState,
}

enum ModelState {
    /// Not loaded: the old index was made with the same files.
    Known(ModelFingerprint),
    Loaded(Box<LoadedModel>),
}

impl LazyModel {
    /// Checks the arguments against the model, and loads it unless it is the one that has this fingerprint.
    ///
    /// # Errors
    /// A file of the model is missing or wrong, or an argument does not fit the model.
    pub fn new(
        arguments: &BuildArguments,
        model: Model,
        before: Option<&ModelFingerprint>,
        reporter: &Reporter,
    ) -> anyhow::Result<Self> {
        let resources = model::resources(&arguments.model);
        let tokenizer = model::tokenizer(&model, arguments.instruction.as_deref())?;
        let max_tokens = model::max_tokens(arguments.max_tokens, &model, &tokenizer)?;
        let batch_tokens = arguments.batch_tokens.map(|tokens| tokens as usize);
        let workload = Workload { batch_tokens, ..model::workload(&tokenizer, max_tokens)? };
        reporter.enter(Phase::CheckingModel);
        let known = before.map(|before| model.fingerprint_as(before)).transpose()?.flatten();
        let state = match known {
            Some(fingerprint) => ModelState::Known(fingerprint),
            None => {
                reporter.enter(Phase::LoadingModel);
                ModelState::Loaded(Box::new(model.load(&resources, &workload)?))
            }
        };
        let name = model::name(&arguments.model, &model);
        Ok(LazyModel { name, model, tokenizer, workload, resources, state })
    }

    /// Returns the fingerprint of the model's files.
    pub fn fingerprint(&self) -> &ModelFingerprint {
        match &self.state {
            ModelState::Known(fingerprint) => fingerprint,
            ModelState::Loaded(loaded) => &loaded.fingerprint,
        }
    }

    /// Gives the loaded model away, and loads it first if it is not loaded.
    ///
    /// # Errors
    /// A file of the model is missing or wrong, or the device cannot run it.
    pub fn load(&mut self) -> anyhow::Result<LoadedModel> {
        let known = ModelState::Known(self.fingerprint().clone());
        match mem::replace(&mut self.state, known) {
            ModelState::Loaded(loaded) => Ok(*loaded),
            ModelState::Known(_) => self.model.load(&self.resources, &self.workload),
        }
    }
}
