//! Tests against the real parts: HTTP, TCP, processes, RabbitMQ, a browser.
#![cfg(test)]

mod bench;
mod bridge;
mod broker;
mod browser;
mod conditions;
mod conflict;
mod damage;
mod data;
mod door;
mod encryption;
mod files;
mod flags;
mod forms;
mod full_disk;
mod gossip;
mod limits;
mod losses;
mod machines;
mod openapi;
mod original;
mod peers;
mod pipeline;
mod pipes;
mod processes;
mod proxy;
mod readme;
mod schema;
mod scripts;
mod shares;
mod store;
mod stream;
mod support;
mod ui;
