//! What tests share.

pub(crate) mod rabbit;
