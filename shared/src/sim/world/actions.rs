//! What a scenario does to the hosts.

use std::collections::BTreeSet;

use crate::gossip::io::{Identity, Input};
use crate::gossip::node::Node;
use crate::ids::{FileId, Version};
use crate::sim::check::Violation;
use crate::sim::host::{Life, addr as addr_of, peer_id};
use crate::sim::scenario::Action;
use crate::sim::world::{BEGAN_MS, World};
use crate::stamp::Stamp;
use crate::wire::event::PeerState;
use crate::wire::update::FileUpdate;

impl World {
    /// Does one of the scenario's actions now.
    pub(super) fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Start(host, contact) => self.start(host, contact)?,
            Action::Kill(host) => self.stop(host, PeerState::Killed),
            Action::Leave(host) => {
                if let Some(life) = self.life(host).filter(|life| !self.is_paused(life.host)) {
                    self.feed(life, Input::Leave)?;
                }
                self.stop(host, PeerState::Left);
            }
            Action::Partition(host, side) => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.side = side;
                }
            }
            Action::Pause(host, paused) => self.pause(host, paused),
            Action::Publish(host, file) => self.publish(host, file)?,
        }
        Ok(())
    }

    /// Whether a host is held up now: it neither reads nor does anything.
    pub(super) fn is_paused(&self, host: usize) -> bool {
        self.hosts.get(host).is_some_and(|host| host.paused)
    }

    fn pause(&mut self, index: usize, paused: bool) {
        if let Some(host) = self.hosts.get_mut(index) {
            host.paused = paused;
        }
        if !paused {
            for happening in self.waiting.remove(&index).unwrap_or_default() {
                self.queue.push(self.now, happening);
            }
        }
    }

    fn start(&mut self, index: usize, contact: usize) -> Result<(), Violation> {
        let (seed, now, at_ms) = (self.rng.any(), self.now, self.wall_ms());
        let config = self.scenario.config.clone();
        let Some(host) = self.hosts.get_mut(index).filter(|host| host.node.is_none()) else { return Ok(()) };
        host.starts += 1;
        host.wake_at = None;
        host.paused = false;
        host.applied = host.disk.iter().map(|update| (update.file.clone(), update.version)).collect();
        let peer = peer_id(index);
        if let Some(story) = &mut self.story {
            story.started(index, &host.disk, at_ms);
        }
        let me = Identity { peer, listen: addr_of(index), durable: true, began_ms: at_ms, version: String::new() };
        host.node = Some(Box::new(Node::new(me, config, host.disk.clone(), seed, now)));
        let life = Life { host: index, start: host.starts };
        if contact == index {
            self.feed(life, Input::Wake)
        } else {
            self.feed(life, Input::Contact { addr: addr_of(contact) })
        }
    }

    /// It stops, by goodbye or without.
    fn stop(&mut self, index: usize, state: PeerState) {
        let Some(life) = self.life(index) else { return };
        let at_ms = self.wall_ms();
        if let Some(story) = &mut self.story {
            story.stopped(index, state, at_ms);
        }
        self.waiting.remove(&index);
        let mut links = BTreeSet::new();
        if let Some(host) = self.hosts.get_mut(index) {
            host.node = None;
            host.uncommitted.clear();
            host.paused = false;
            links = std::mem::take(&mut host.links);
        }
        for link in links {
            self.close(link, life);
        }
    }

    fn publish(&mut self, index: usize, file: u32) -> Result<(), Violation> {
        let Some(life) = self.life(index).filter(|life| !self.is_paused(life.host)) else { return Ok(()) };
        let Ok(file) = format!("file-{file}").parse::<FileId>() else { return Ok(()) };
        let node = self.hosts.get(index).and_then(|host| host.node.as_ref());
        let known = node.and_then(|node| node.catalogue().of_file(&file)).map(|known| known.version);
        let Some(version) = known.map_or(Some(Version::FIRST), Version::next) else { return Ok(()) };
        let stamp = Stamp((BEGAN_MS << 16) + self.now.as_micros());
        let update = FileUpdate::injected(file.clone(), version, stamp, peer_id(index));
        self.published.entry((file, version)).or_default().push(update.clone());
        self.tally.published(index, &update, self.now);
        self.feed(life, Input::Publish { update: update.into() })
    }
}
