//! The sections of the page: each owns its data and its calls; components draw it.

pub mod calls;
pub mod concurrency;
pub mod events;
pub mod files;
pub mod header;
pub mod network;
pub mod uploads;
