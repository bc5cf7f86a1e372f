//! Which seeds the tests try, and how one of them is tried again.

use std::ops::Range;

/// The seeds below `count`; or those that a person asks for: `GRAPEVINE_SEED=7` is one, `GRAPEVINE_SEEDS=1000..5000` are
/// many (`make soak`).
#[expect(clippy::disallowed_methods, reason = "a person chooses seeds; the core itself reads nothing")]
pub(crate) fn seeds(count: u64) -> Range<u64> {
    if let Ok(seed) = std::env::var("GRAPEVINE_SEED") {
        let seed = seed.parse().expect("GRAPEVINE_SEED is a number");
        return seed..seed + 1;
    }
    let Ok(range) = std::env::var("GRAPEVINE_SEEDS") else { return 0..count };
    let (first, end) = range.split_once("..").unwrap_or(("0", &range));
    let number = |text: &str| text.trim().parse().expect("GRAPEVINE_SEEDS is a number of seeds, or first..end");
    number(first)..number(end)
}
