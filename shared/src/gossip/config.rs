//! The protocol's numbers, each with its unit and where it comes from.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::ids::ClusterName;
use crate::stamp::MOST_AHEAD;

/// By how much a version may exceed the one that is known. A guess: nobody changes a file so often, and a liar takes 2^31
/// messages to use up all versions.
pub const VERSION_STEP: u64 = 1 << 32;

/// How a node behaves. [`Config::default`] is what every driver uses unless told otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The overlay's name; peers of another one are refused.
    pub cluster: ClusterName,
    /// Whether peers of the original system, which speak JSON lines, may take part. They know neither clusters nor
    /// secrets.
    pub original: bool,
    /// Who may be a neighbour, and how neighbours are found.
    pub views: Views,
    /// How changes are spread.
    pub broadcast: Broadcast,
    /// How the silent are noticed.
    pub liveness: Liveness,
    /// How peers tell of themselves.
    pub census: CensusRate,
    /// What a bad neighbour may not exceed.
    pub limits: Limits,
    /// How long the sums that two neighbours tell with each ping must differ unchanged before the difference is looked
    /// into; and how old a change is that the tree should have brought long ago.
    pub reconcile_after: Duration,
    /// The pause between two comparisons on one link. While much is on its way, two neighbours never know the same:
    /// what one comparison brings would be the reason for the next.
    pub reconcile_pause: Duration,
}

/// `HyParView`'s numbers (DSN 2007; the values of section 5.1 are for 10,000 nodes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Views {
    /// The active view that a node seeks: fan-out + 1, section 5.1.
    pub active: usize,
    /// The active view beyond which somebody must go. The paper has no such slack; with it a newcomer is taken in
    /// without pushing anybody out, and nodes that can't find a fifth neighbour don't seek for ever.
    pub active_max: usize,
    /// The passive view, section 5.1.
    pub passive: usize,
    /// Links that a forward-join walks: ARWL, section 5.1.
    pub join_walk: u8,
    /// Where on its walk a newcomer's address is kept: PRWL, section 5.1.
    pub passive_walk: u8,
    /// The exchange of passive views.
    pub shuffle: Shuffle,
    /// How long a newcomer waits for those that its walks find before it asks its contact's neighbours.
    pub join_patience: Duration,
    /// The pause between attempts to dial one address. The original's 0.5 to 2 s, with a quicker first try.
    pub redial: Backoff,
    /// The same for an address that didn't answer the last time.
    pub redial_lost: Backoff,
    /// The same for a host's name: as long as an answer of a cluster's DNS may be kept (`CoreDNS` in Kubernetes).
    pub redial_name: Backoff,
    /// The pause between attempts to find another neighbour when all those asked were full.
    pub seek: Backoff,
    /// Addresses beyond the passive view that are remembered: those that were lost or gave way. Of 256, 13 live when 95
    /// of 100 have died.
    pub reserve: usize,
    /// The shortest and the longest pause between two attempts to reach somebody who was lost. In between it is a 32nd
    /// of the time since the last loss, so that a partition heals within a few percent of its duration. Where nobody
    /// was lost, somebody of the passive view is looked up after each longest pause: two overlays that have always been
    /// two become one.
    pub probe_every: Pause,
}

/// How passive views are exchanged (`HyParView`, section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shuffle {
    /// Links that it walks. The paper uses ARWL.
    pub walk: u8,
    /// Active peers in it: ka. The paper's 3 and 4 (section 5.1) leave some of those who survive the death of 95 %
    /// knowing nobody alive (simulated, 1,000 peers); this and [`Shuffle::passive`] are what a message holds.
    pub active: usize,
    /// Passive peers in it: kp.
    pub passive: usize,
    /// The pause between two: short after a join, doubling.
    pub every: Backoff,
    /// So many have doubling pauses; then each waits for the longest. A walk there and back costs 3 kB with TCP's
    /// headers: what a node's heartbeats cost in half a minute.
    pub soon: u32,
}

/// How long to wait, within limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// At least.
    pub shortest: Duration,
    /// At most.
    pub longest: Duration,
}

/// Plumtree's numbers (SRDS 2007).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broadcast {
    /// The pause before received news is announced on the lazy links, short after a change of the tree or of a
    /// neighbour, doubling while nobody grafts. The paper leaves the policy open (section 3.4).
    pub lazy_push: Backoff,
    /// So many received broadcasts are announced sooner, this long after the last announcement: where much comes, a
    /// neighbour of the tree that has stopped is soon missed. A guess: a tenth of a second's worth, and three messages
    /// of a hundred at most.
    pub lazy_push_batch: Batch,
    /// The pause between two beacons of the source from which the tree's distances are counted, while others send and
    /// it doesn't: short at first, so that the tree soon has its shape.
    pub beacon: Backoff,
    /// By how many hops another neighbour must be nearer to the source to become the parent (section 3.8). The paper
    /// has 7 for its size; a shared tree with few hops needs less.
    pub optimise_hops: u16,
    /// How many broadcasts are kept to answer grafts with, and for how long: three times the longest pause between two
    /// announcements, since what is missed is asked for soon after it was announced.
    pub kept: Retention,
    /// Sources that are remembered; beyond that the one that has been silent the longest is forgotten. What it sends
    /// then is still merged, and dropped where it is old.
    pub sources: usize,
    /// Gaps in the numbers of one source that are remembered; older ones are left to the reconciliation.
    pub gaps: usize,
}

/// What isn't waited with any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// So many.
    pub count: u32,
    /// How long after the last batch.
    pub pause: Duration,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// So many at most.
    pub count: usize,
    /// So long at most.
    pub time: Duration,
}

/// Heartbeats and deadlines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// A link on which something was said without an answer is pinged after this.
    pub busy_ping: Duration,
    /// The link between a node and its partner (the neighbour that watches it when nothing happens) is pinged this
    /// often.
    pub partner_ping: Duration,
    /// Every other link is pinged this often.
    pub idle_ping: Duration,
    /// So much earlier pings the side of a link with the larger id: more than a way takes, so that the other needn't.
    pub asks_first: Duration,
    /// The shortest time that a ping's answer may take before the link is suspected. More for slow links: see
    /// [`crate::gossip::failure_detector`].
    pub probe_timeout: Duration,
    /// How many such times a suspicion lasts before the link is closed.
    pub suspicion_multiplier: u32,
    /// How long a link may take to say hello, and an answered one to say welcome.
    pub hello: Duration,
}

/// How often records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusRate {
    /// The shortest pause between two records of one peer.
    pub shortest: Duration,
    /// What each known peer adds to that pause: so much by how many are known, up to [`CensusRate::per_peer_max`]. Of
    /// 64 peers each may send a record in 17 s, of 1,000 in 4 min; however many there are, no more than 8 records a
    /// second, or 2 kB with TCP's headers, arrive at one of them, and those only while all of their neighbours change.
    pub per_peer: Duration,
    /// The most that each known peer adds.
    pub per_peer_max: Duration,
    /// Peers that are remembered; 0 turns the census off.
    pub peers: usize,
    /// A record that isn't renewed is forgotten after this long, if nobody alive has its peer as a neighbour; looked at
    /// when this peer sends its own.
    pub keep: Duration,
}

/// What others may do to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Links in all, clients and strangers that haven't said hello included.
    pub links: usize,
    /// Links with one address (not port), but for loopback.
    pub links_per_ip: usize,
    /// Messages a second on one link, averaged over [`Limits::burst`] of them. What TCP and one core can do is 500,000.
    pub messages_per_second: u64,
    /// Messages that may come at once.
    pub burst: u64,
    /// How far another's clock may be ahead of this node's before one of them counts as wrong.
    pub future: Duration,
    /// By how much a version may exceed the one that is known (or 0), so that nobody can use up all versions at once.
    pub version_step: u64,
    /// Files that are known.
    pub files: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: ClusterName::default(),
            original: true,
            views: Views::default(),
            broadcast: Broadcast::default(),
            liveness: Liveness::default(),
            census: CensusRate::default(),
            limits: Limits::default(),
            reconcile_after: Duration::from_secs(2),
            reconcile_pause: Duration::from_millis(250),
        }
    }
}

impl Default for Views {
    fn default() -> Self {
        Self {
            active: 5,
            active_max: 8,
            passive: 30,
            join_walk: 6,
            passive_walk: 3,
            shuffle: Shuffle {
                walk: 6,
                active: 4,
                passive: 11,
                every: Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(5) },
                soon: 4,
            },
            join_patience: Duration::from_millis(500),
            redial: Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(2) },
            redial_lost: Backoff { first: Duration::from_millis(250), longest: Duration::from_mins(2) },
            redial_name: Backoff { first: Duration::from_millis(250), longest: Duration::from_secs(30) },
            seek: Backoff { first: Duration::from_millis(250), longest: Duration::from_mins(1) },
            reserve: 256,
            probe_every: Pause { shortest: Duration::from_secs(1), longest: Duration::from_mins(2) },
        }
    }
}

impl Default for Broadcast {
    fn default() -> Self {
        Self {
            lazy_push: Backoff { first: Duration::from_millis(10), longest: Duration::from_secs(3) },
            lazy_push_batch: Batch { count: 32, pause: Duration::from_millis(100) },
            beacon: Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10) },
            optimise_hops: 2,
            kept: Retention { count: 8192, time: Duration::from_secs(10) },
            sources: 16_384,
            gaps: 256,
        }
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            busy_ping: Duration::from_secs(2),
            partner_ping: Duration::from_millis(2200),
            idle_ping: Duration::from_mins(1),
            asks_first: Duration::from_millis(50),
            probe_timeout: Duration::from_millis(750),
            suspicion_multiplier: 2,
            hello: Duration::from_secs(5),
        }
    }
}

impl Default for CensusRate {
    fn default() -> Self {
        Self {
            shortest: Duration::from_secs(1),
            per_peer: Duration::from_millis(5),
            per_peer_max: Duration::from_millis(250),
            peers: 16_384,
            keep: Duration::from_mins(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: 64,
            links_per_ip: 32,
            messages_per_second: 200_000,
            burst: 100_000,
            future: MOST_AHEAD,
            version_step: VERSION_STEP,
            files: 10_000_000,
        }
    }
}
