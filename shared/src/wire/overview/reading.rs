//! How an overview is read: member by member, as in [`super::super::members`].

use serde::{Deserialize, Deserializer};
use serde_json::Error;

use crate::wire::members::Members;
use crate::wire::overview::Overview;

impl<'de> Deserialize<'de> for Overview {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, overview)
    }
}

fn overview(members: &mut Members) -> Result<Overview, Error> {
    Ok(Overview {
        seq: members.take("seq")?,
        peers: members.take("peers")?,
        up: members.take("up")?,
        files: members.take("files")?,
        file_limit: members.take("file_limit")?,
        broker: members.take("broker")?,
        bridge: members.take("bridge")?,
        conditions: members.take("conditions")?,
        log: members.take("log")?,
    })
}
