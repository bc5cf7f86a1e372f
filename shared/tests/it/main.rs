//! The core's behaviour, seen from outside.
#![cfg(test)]

mod convergence;
mod tidy;
mod wire;
