//! What travels through the broker: one JSON object for each change of a file.

use serde::{Deserialize, Serialize};

use crate::ids::{ContentHash, FileId, PeerId, UserId, Version};
use crate::stamp::Stamp;
use crate::wire::update::{FileUpdate, MAX_NAME_BYTES};

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// A new file.
    #[serde(rename = "file.uploaded")]
    Uploaded,
    /// A new version of a known file.
    #[serde(rename = "file.updated")]
    Updated,
    /// Another user may now see it.
    #[serde(rename = "file.shared")]
    Shared,
    /// It is gone.
    #[serde(rename = "file.deleted")]
    Deleted,
}

impl ChangeKind {
    /// The routing key under which the broker carries it; also the `event` in the message.
    pub fn routing_key(self) -> &'static str {
        match self {
            Self::Uploaded => "file.uploaded",
            Self::Updated => "file.updated",
            Self::Shared => "file.shared",
            Self::Deleted => "file.deleted",
        }
    }

    /// The kind with this routing key.
    fn from_routing_key(key: &str) -> Option<Self> {
        [Self::Uploaded, Self::Updated, Self::Shared, Self::Deleted].into_iter().find(|kind| kind.routing_key() == key)
    }
}

/// The body of a message. Only `file_id` is required when reading, as in the original's JSON events: an absent version
/// is 1, an absent `ts` is 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEvent {
    /// What happened.
    #[serde(default = "uploaded")]
    pub event: ChangeKind,
    /// To which file.
    pub file_id: FileId,
    /// The file's version after it.
    #[serde(default = "first")]
    pub version: Version,
    /// The change's stamp.
    #[serde(default)]
    pub ts: Stamp,
    /// The API host that made the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<PeerId>,
    /// The file's name; its id where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
    /// The file's size in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// The file's content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<ContentHash>,
    /// With whom it was shared, for [`ChangeKind::Shared`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<UserId>,
}

fn uploaded() -> ChangeKind {
    ChangeKind::Uploaded
}

fn first() -> Version {
    Version::FIRST
}

/// Why a message's body can't be understood.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It isn't a JSON object of the expected shape.
    #[error("not a file event")]
    Json(#[from] serde_json::Error),
    /// It is neither JSON nor one of the original's texts.
    #[error("neither JSON nor a text with an id")]
    Text,
    /// A word of the text isn't what it should be.
    #[error("no usable {0} in the text")]
    Word(&'static str),
    /// Its name is too long.
    #[error("the name is {0} bytes long; at most {MAX_NAME_BYTES} are allowed")]
    Name(usize),
}

impl FileEvent {
    /// Reads a message's body: JSON, or a text as the original publishes it.
    ///
    /// # Errors
    /// When it isn't a [`FileEvent`] with a version and a name within their limits.
    pub fn read(body: &[u8]) -> Result<Self, QueueError> {
        let event: Self = match std::str::from_utf8(body) {
            Ok(text) if !text.trim_start().starts_with(['{', '[']) => Self::from_text(text.trim())?,
            Ok(_) | Err(_) => serde_json::from_slice(body)?,
        };
        match event.name.as_ref().map_or(0, String::len) {
            len if len > MAX_NAME_BYTES => Err(QueueError::Name(len)),
            _ => Ok(event),
        }
    }

    /// `file.updated id=<id> owner=<user> name=<name> version=3`. Only the id is required, as by the original's bridge;
    /// unlike there it is the first one, so that no name can bring another.
    fn from_text(text: &str) -> Result<Self, QueueError> {
        let between = |start: &str, end: &str| {
            let (_, rest) = text.split_once(start)?;
            Some(rest.split_once(end).map_or(rest, |(value, _)| value))
        };
        let is_end = |c: char| c.is_whitespace() || c == ',';
        let mut words = text.split(is_end);
        let id = words.clone().find_map(|word| word.strip_prefix("id=")).ok_or(QueueError::Text)?;
        let version = words.clone().filter_map(|word| word.strip_prefix("version=")).next_back();
        let name =
            text.split_once(" name=").map(|(_, rest)| rest.rsplit_once(" version=").map_or(rest, |(name, _)| name));
        Ok(Self {
            event: words.next().and_then(ChangeKind::from_routing_key).unwrap_or(ChangeKind::Uploaded),
            file_id: id.parse().map_err(|_not_an_id| QueueError::Word("id"))?,
            version: version.map_or(Ok(Version::FIRST), str::parse).map_err(|_none| QueueError::Word("version"))?,
            ts: Stamp::default(),
            origin: None,
            name: name.map(ToOwned::to_owned),
            owner: between(" owner=", " ").and_then(|user| user.parse().ok()),
            size_bytes: 0,
            content_hash: None,
            target: between(" target=", " ").and_then(|user| user.parse().ok()),
        })
    }

    /// The change for the overlay; `None` where the overlay has nothing to learn (a share).
    pub fn to_update(&self) -> Option<FileUpdate> {
        if self.event == ChangeKind::Shared {
            return None;
        }
        Some(FileUpdate {
            file: self.file_id.clone(),
            version: self.version,
            stamp: self.ts,
            origin: self.origin.unwrap_or(PeerId([0; 32])),
            name: self.name.clone().unwrap_or_else(|| self.file_id.to_string()),
            owner: self.owner.clone(),
            size_bytes: self.size_bytes,
            content: self.content_hash,
            deleted: self.event == ChangeKind::Deleted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_json_event_is_read() {
        let event = FileEvent::read(br#"{"file_id":"file_0.txt","version":3,"ts":7}"#).unwrap();
        assert_eq!(event.version, Version(3));
        assert_eq!(event.to_update().unwrap().name, "file_0.txt");
    }

    #[test]
    fn poison_is_an_error_and_not_a_panic() {
        for body in [&b"[1,2]"[..], b"\xff\xfe", b"{}", br#"{"file_id":""}"#, br#"{"file_id":"a","version":0}"#] {
            assert!(FileEvent::read(body).is_err(), "{body:?}");
        }
        for text in ["", "File file_0.txt was updated", "file.uploaded id=", "id=a version=0", "id=a version=x"] {
            assert!(FileEvent::read(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_originals_texts_are_read_and_a_name_in_them_brings_no_other_file() {
        let read = |text: &str| FileEvent::read(text.as_bytes()).unwrap();
        let event = read("file.updated id=f1 owner=alice name=a b, id=spoofed version=9 version=3");
        assert_eq!((event.event, event.file_id.as_str(), event.version), (ChangeKind::Updated, "f1", Version(3)));
        assert_eq!(event.name.as_deref(), Some("a b, id=spoofed version=9"));
        assert_eq!(event.owner.as_ref().map(UserId::as_str), Some("alice"));
        let update = read("file.uploaded id=f2 version=3").to_update().unwrap();
        assert_eq!((update.file.as_str(), update.version, update.name.as_str()), ("f2", Version(3), "f2"));
        assert_eq!(read("id=f3,version=2").version, Version(2));
        let share = read("file.shared id=f1 owner=alice target=bob");
        assert_eq!((share.to_update(), share.target.as_ref().map(UserId::as_str)), (None, Some("bob")));
    }

    #[test]
    fn an_event_as_it_travels() {
        let event = FileEvent {
            event: ChangeKind::Uploaded,
            file_id: "f1".parse().unwrap(),
            version: Version(1),
            ts: Stamp(65536),
            origin: Some(PeerId([1; 32])),
            name: Some("a.txt".to_owned()),
            owner: Some("alice".parse().unwrap()),
            size_bytes: 3,
            content_hash: Some(ContentHash([2; 32])),
            target: None,
        };
        insta::assert_json_snapshot!(event);
        assert_eq!(FileEvent::read(&serde_json::to_vec(&event).unwrap()).unwrap(), event);
    }
}
