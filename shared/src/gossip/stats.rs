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

impl Stats {
    /// Every number with its name, but for those that are 0.
    pub fn numbers(&self) -> Vec<(String, u64)> {
        let Self { applied, rejected, duplicates, unknown, not_understood, closed, offences } = self;
        let plain = [
            ("applied", applied),
            ("duplicates", duplicates),
            ("unknown", unknown),
            ("not_understood", not_understood),
        ];
        let plain = plain.map(|(name, count)| (name.to_owned(), *count));
        let by_reason = [("rejected", rejected), ("closed", closed), ("offences", offences)];
        let by_reason = by_reason
            .into_iter()
            .flat_map(|(name, counts)| counts.iter().map(move |(reason, count)| (format!("{name}.{reason}"), *count)));
        plain.into_iter().chain(by_reason).filter(|(_, count)| *count > 0).collect()
    }
}

/// Counts one more of a name.
pub fn count(counts: &mut BTreeMap<&'static str, u64>, name: &'static str) {
    *counts.entry(name).or_default() += 1;
}
