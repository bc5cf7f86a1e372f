//! The overlay as one of its peers tells it: for a server that runs no peers of its own and knows some elsewhere.

use std::sync::Arc;
use std::time::Duration;

use shared::ids::PeerId;
use shared::wire::census::Record;
use shared::wire::condition::Condition;
use shared::wire::peer::{Fingerprint, Key, Partner, PeerMessage, Prefix, Set, Wanted};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::broker::explain;
use crate::client::{Link, LinkError};
use crate::dial::HostPort;
use crate::hub::Hub;

/// How often it is looked whether a contact answers.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one contact may take to say what it knows.
const LIMIT: Duration = Duration::from_secs(2);
/// The most peers that are shown: as many as a peer's census has.
const PEERS: usize = 16_384;

/// Peers elsewhere, one of which is asked.
#[derive(Debug, Clone)]
pub struct Contact {
    contacts: Arc<[HostPort]>,
    cluster: Arc<str>,
    me: PeerId,
}

impl Contact {
    /// Asks the first of `contacts` that answers, in the overlay `cluster`.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(contacts: Vec<HostPort>, cluster: &str) -> Result<Self, getrandom::Error> {
        let mut me = [0; 32];
        getrandom::fill(&mut me)?;
        Ok(Self { contacts: contacts.into(), cluster: cluster.into(), me: PeerId(me) })
    }

    /// The peers that a contact knows of.
    ///
    /// # Errors
    /// Why none of the contacts says so.
    pub async fn peers(&self) -> Result<Vec<Arc<Record>>, String> {
        self.ask(async |mut link: Link| census(&mut link).await).await
    }

    async fn ask<T>(&self, question: impl AsyncFn(Link) -> Result<T, LinkError>) -> Result<T, String> {
        let mut reasons = Vec::new();
        for entry in self.contacts.iter() {
            let asking = async { question(Link::open(entry.clone(), self.me, &self.cluster).await?).await };
            match timeout(LIMIT, asking).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => reasons.push(format!("{entry}: {}", explain(&error))),
                Err(_elapsed) => reasons.push(format!("{entry}: no answer within {LIMIT:?}")),
            }
        }
        Err(reasons.join("; "))
    }
}

/// Tells for how long no contact answers, until `token` is cancelled.
pub async fn watch(contact: Contact, hub: Hub, token: CancellationToken) {
    let watching = async {
        loop {
            match contact.ask(async |_link| Ok(())).await {
                Ok(()) => hub.clear(Condition::OverlayUnreachable),
                Err(reasons) => {
                    hub.raise(
                        Condition::OverlayUnreachable,
                        format!("none of the peers named by --peer answers: {reasons}"),
                    );
                }
            }
            sleep(LOOK_EVERY).await;
        }
    };
    token.run_until_cancelled(watching).await;
}

/// Page by page, all that the peer knows of others and tells of itself.
async fn census(link: &mut Link) -> Result<Vec<Arc<Record>>, LinkError> {
    let mut records = Vec::new();
    let mut rest = Some((Prefix { depth: 0, digits: 0 }, Key(0)));
    while let Some((prefix, key)) = rest.filter(|_| records.len() < PEERS) {
        link.send(&PeerMessage::Request(Set::Census, vec![Wanted::Range(prefix, key)])).await?;
        let (page, more) = answer(link).await?;
        records.extend(page);
        rest = more;
    }
    records.retain(|record: &Arc<Record>| !record.left);
    Ok(records)
}

async fn answer(link: &mut Link) -> Result<(Vec<Arc<Record>>, Option<(Prefix, Key)>), LinkError> {
    loop {
        match link.receive().await? {
            PeerMessage::Records { entries, rest } => return Ok((entries, rest)),
            PeerMessage::Goodbye { reason, .. } => return Err(LinkError::Goodbye(reason)),
            PeerMessage::Ping { nonce, .. } => {
                let (catalogue, partner) = (Fingerprint::default(), Partner::default());
                link.send(&PeerMessage::Pong { nonce, catalogue, partner }).await?;
            }
            // What peers say to each other is not meant for a client.
            _ => {}
        }
    }
}
