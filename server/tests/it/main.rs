//! Tests against the real parts: HTTP, TCP, processes, RabbitMQ, a browser.
#![cfg(test)]

mod gossip;
