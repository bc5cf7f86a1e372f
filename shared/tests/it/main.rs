//! The core's behaviour, seen from outside.
#![cfg(test)]

mod convergence;
mod hostile;
mod tidy;
mod wire;
