//! The flags of `grapevine fsck`.

use std::path::PathBuf;

use clap::Args;

/// `grapevine fsck`.
#[derive(Debug, Args)]
pub struct Fsck {
    /// The data directory of `grapevine serve` (or of `grapevine peer`), which nobody may be using.
    #[arg(long, default_value = "grapevine-data", value_name = "DIR", env = "GRAPEVINE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Put right what can be: bring lost contents back to files that miss them, set damaged ones and damaged peers' state
    /// aside, remove temporary files. Without it nothing is changed; the files `lock` and `…-shm` may be made, which keep
    /// others out and help to read.
    #[arg(long, env = "GRAPEVINE_REPAIR")]
    pub repair: bool,
}
