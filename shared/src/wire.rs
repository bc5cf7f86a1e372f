//! The formats that leave a process. Only what is here (and the ids in it) is serialized. Each format has a snapshot
//! of each message; a changed snapshot is a change of format: think of old readers, new readers and old writers.

pub mod broadcast;
pub mod census;
pub mod condition;
pub mod content;
pub mod event;
pub mod file_view;
pub mod frame;
pub mod lab;
pub mod lines;
pub mod manifest;
mod members;
pub mod overview;
pub mod peer;
pub mod peer_view;
pub mod queue;
pub mod rest;
pub mod stream;
pub mod update;
