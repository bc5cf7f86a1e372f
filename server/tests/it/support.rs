//! What tests share.

pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod disk;
pub(crate) mod nginx;
pub(crate) mod place;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod rabbit;
pub(crate) mod raw;
pub(crate) mod stranger;
