//! What has happened to a node, in numbers.

use std::collections::BTreeMap;

/// What has happened to a node since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Changes that replaced what was known of their file.
    pub applied: u64,
    /// Changes that weren't taken, by [`Refusal::name`](crate::gossip::reason::Refusal::name).
    pub rejected: BTreeMap<&'static str, u64>,
    /// Broadcasts that came once more.
    pub duplicates: u64,
    /// Messages of kinds that it doesn't know, broadcasts among them.
    pub unknown: u64,
    /// JSON lines that it didn't understand.
    pub not_understood: u64,
    /// Links that ended, by [`Reason::name`](crate::gossip::reason::Reason::name).
    pub closed: BTreeMap<&'static str, u64>,
    /// How often somebody did what it may not do, in the same way; most links that end for that are among the closed ones.
    pub offences: BTreeMap<&'static str, u64>,
}

/// Counts one more of a name.
pub fn count(counts: &mut BTreeMap<&'static str, u64>, name: &'static str) {
    *counts.entry(name).or_default() += 1;
}
