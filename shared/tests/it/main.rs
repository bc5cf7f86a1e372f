//! The core's behaviour, seen from outside.
#![cfg(test)]

mod content;
mod convergence;
mod corpus;
mod crowd;
mod fetch;
mod grafts;
mod hostile;
mod lines;
mod overlay;
mod places;
mod replay;
mod seeds;
mod story;
mod tidy;
mod tomorrow;
mod wire;
