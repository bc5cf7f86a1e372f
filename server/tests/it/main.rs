//! Tests against the real parts: HTTP, TCP, processes, RabbitMQ, a browser.
#![cfg(test)]

mod bridge;
mod broker;
mod browser;
mod gossip;
mod pipeline;
mod support;
