//! How threads of the lab and their steps are read: by what `role` and `step` say.

use serde::{Deserialize, Deserializer};
use serde_json::Error;

use crate::wire::lab::{LabStep, LabThread};
use crate::wire::members::{Members, unknown};

impl<'de> Deserialize<'de> for LabThread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, thread)
    }
}

fn thread(members: &mut Members) -> Result<LabThread, Error> {
    Ok(match members.tag("role")?.as_str() {
        "producer" => LabThread::Producer(members.take("number")?),
        "consumer" => LabThread::Consumer(members.take("number")?),
        other => return unknown(other),
    })
}

impl<'de> Deserialize<'de> for LabStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Members::read(deserializer, step)
    }
}

/// Returns the step among `members`, which may be those of an event.
///
/// # Errors
/// When there is none.
pub(in crate::wire) fn step(members: &mut Members) -> Result<LabStep, Error> {
    Ok(match members.tag("step")?.as_str() {
        "waits_for_permit" => LabStep::WaitsForPermit,
        "works" => LabStep::Works,
        "generated" => LabStep::Generated { packet: members.take("packet")? },
        "queued" => LabStep::Queued { depth: members.take("depth")? },
        "released_permit" => LabStep::ReleasedPermit,
        "waits_for_packet" => LabStep::WaitsForPacket,
        "took" => LabStep::Took { depth: members.take("depth")? },
        "waits_for_lock" => LabStep::WaitsForLock,
        "logged" => LabStep::Logged { entry: members.take("entry")? },
        "finished" => LabStep::Finished,
        other => return unknown(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step of the next kind, so that none can be forgotten; `None` after the last.
    fn after(step: &LabStep) -> Option<LabStep> {
        Some(match step {
            LabStep::WaitsForPermit => LabStep::Works,
            LabStep::Works => LabStep::Generated { packet: 1 },
            LabStep::Generated { .. } => LabStep::Queued { depth: 2 },
            LabStep::Queued { .. } => LabStep::ReleasedPermit,
            LabStep::ReleasedPermit => LabStep::WaitsForPacket,
            LabStep::WaitsForPacket => LabStep::Took { depth: 3 },
            LabStep::Took { .. } => LabStep::WaitsForLock,
            LabStep::WaitsForLock => LabStep::Logged { entry: "a line".to_owned() },
            LabStep::Logged { .. } => LabStep::Finished,
            LabStep::Finished => return None,
        })
    }

    #[test]
    fn every_kind_of_step_is_read_as_it_was_written() {
        for step in std::iter::successors(Some(LabStep::WaitsForPermit), after) {
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<LabStep>(&text).unwrap(), step, "{text}");
        }
        for thread in [LabThread::Producer(1), LabThread::Consumer(2)] {
            let text = serde_json::to_string(&thread).unwrap();
            assert_eq!(serde_json::from_str::<LabThread>(&text).unwrap(), thread, "{text}");
        }
    }
}
