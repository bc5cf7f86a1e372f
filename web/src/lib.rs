//! Grapevine's dashboard: what the event stream tells, drawn; what the REST API can do, as buttons.
//!
//! Read in this order: [`model`] (what happened, without a browser), [`socket`] and [`rest`] (the server, at its [`address`]),
//! [`session`] (what the whole page shares), [`pages`] (its sections), [`components`] (what they draw with).

pub mod address;
pub mod app;
pub mod components;
pub mod format;
pub mod json;
pub mod layout;
pub mod model;
pub mod pages;
pub mod rest;
pub mod session;
pub mod small_map;
pub mod socket;
pub mod tasks;
