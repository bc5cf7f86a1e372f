//! The flags of `grapevine concurrency`.

use std::ops::RangeInclusive;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use shared::wire::lab::LabConfig;

/// `grapevine concurrency`. What the numbers may be, and are unless they are given, the REST API has from the same place.
#[derive(Debug, Args)]
pub struct Concurrency {
    /// Producer threads.
    #[arg(
        long, value_name = "N", default_value_t = LabConfig::default().producers,
        value_parser = within(LabConfig::THREADS), env = "GRAPEVINE_CONCURRENCY_PRODUCERS"
    )]
    pub producers: u32,
    /// Consumer threads.
    #[arg(
        long, value_name = "N", default_value_t = LabConfig::default().consumers,
        value_parser = within(LabConfig::THREADS), env = "GRAPEVINE_CONCURRENCY_CONSUMERS"
    )]
    pub consumers: u32,
    /// How many producers may be at work at once: the semaphore's permits.
    #[arg(
        long, value_name = "N", default_value_t = LabConfig::default().permits,
        value_parser = within(LabConfig::THREADS), env = "GRAPEVINE_CONCURRENCY_PERMITS"
    )]
    pub permits: u32,
    /// How many items the queue holds; a producer waits while it is full.
    #[arg(
        long, value_name = "N", default_value_t = LabConfig::default().queue_capacity,
        value_parser = within(LabConfig::PACKETS), env = "GRAPEVINE_CONCURRENCY_QUEUE"
    )]
    pub queue: u32,
    /// Items of each producer.
    #[arg(
        long, value_name = "N", default_value_t = LabConfig::default().packets,
        value_parser = within(LabConfig::PACKETS), env = "GRAPEVINE_CONCURRENCY_ITEMS"
    )]
    pub items: u32,
    /// The longest time that one item takes to make or to handle, in milliseconds; the shortest is a quarter of it.
    #[arg(
        long, value_name = "MS", default_value_t = LabConfig::default().work_ms,
        value_parser = within(LabConfig::WORK_MS), env = "GRAPEVINE_CONCURRENCY_PACE"
    )]
    pub pace: u32,
    /// Threads of the race.
    #[arg(
        long, value_name = "N", default_value_t = LabConfig::default().race_threads,
        value_parser = within(LabConfig::THREADS), env = "GRAPEVINE_CONCURRENCY_RACE_THREADS"
    )]
    pub race_threads: u32,
    /// How long each method of the race runs, in milliseconds.
    #[arg(
        long, value_name = "MS", default_value_t = LabConfig::default().race_ms,
        value_parser = within(LabConfig::RACE_MS), env = "GRAPEVINE_CONCURRENCY_RACE_MS"
    )]
    pub race_ms: u32,
    /// What the chance in the pace follows from: the same seed, the same times. Without it, a random one. Who comes first is up to
    /// the machine all the same.
    #[arg(long, value_name = "S", env = "GRAPEVINE_CONCURRENCY_SEED")]
    pub seed: Option<u32>,
    /// Print one JSON object at the end, as the REST API has it, instead of what the threads say.
    #[arg(long, env = "GRAPEVINE_CONCURRENCY_JSON")]
    pub json: bool,
}

fn within(range: RangeInclusive<u32>) -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(u64::from(*range.start())..=u64::from(*range.end()))
}
