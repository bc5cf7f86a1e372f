//! What the sections of the page draw with: signals in, callbacks out; nothing is fetched here.

pub mod badge;
pub mod changing;
pub mod commands;
pub mod conditions;
pub mod event_log;
pub mod file_row;
pub mod focus;
pub mod lab_lanes;
pub mod peer_graph;
pub mod peer_row;
pub mod upload;
pub mod user_switch;
pub mod way_steps;
