//! The core's behaviour, seen from outside.
#![cfg(test)]

mod convergence;
mod lines;
mod tidy;
mod wire;
