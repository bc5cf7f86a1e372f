//! Placeholder for the lab's signatures.

use shared::wire::rest::{LabConfig, LabRunOut};

use crate::hub::Hub;

/// Why no run was started.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A run is at work.
    #[error("a run is at work")]
    Busy,
    /// A number is out of range.
    #[error("{0}")]
    Invalid(String),
}

/// The lab.
#[derive(Debug, Clone)]
pub struct Lab {}

impl Lab {
    /// A lab.
    pub fn new(_hub: Hub) -> Self {
        Self {}
    }

    /// Starts a run.
    ///
    /// # Errors
    /// When one is at work or a number is out of range.
    pub fn start(&self, _config: LabConfig) -> Result<LabRunOut, LabError> {
        Err(LabError::Busy)
    }

    /// A run.
    pub fn get(&self, _id: &str) -> Option<LabRunOut> {
        None
    }
}
