//! The original system's protocol: one JSON object a line, with Python's spacing, so that its peers, its bridge and
//! `nc` can take part. What is said and when is in [`crate::gossip::originals`].
//!
//! ```text
//! {"type": "hello", "from": "127.0.0.1:29021", "ts": 1}
//! {"type": "state", "from": "127.0.0.1:29021", "files": {"a": 3, "f1": 2}, "peers": ["127.0.0.1:29022"], "ts": 3}
//! {"type": "event", "file_id": "f1", "version": 2, "ts": 0}
//! ```

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Map, Value};

use crate::ids::{FileId, Version};

/// The first byte of a connection that speaks lines. As a frame's first byte it would mean one of 2 GB.
pub const OPENING: u8 = b'{';
/// The longest line that is read, in bytes without its end. The original's writers have no limit: one that knows 20,000
/// files says so in a line of 900 KB. As much as a frame.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// The longest line that is written: what the original's readers take (asyncio's `StreamReader`), its end included.
pub const MAX_WRITTEN_BYTES: usize = 64 * 1024;
/// The longest line of a state that is told in several: half of what is allowed, since nothing is gained by more.
pub const STATE_LINE_BYTES: usize = 32 * 1024;
/// So much of a type that isn't known is told.
const MAX_TYPE_BYTES: usize = 64;
/// A state without files and peers, with the longest address and the longest numbers.
const EMPTY_STATE_BYTES: usize = 160;
/// A file's quotes, colon, comma, spaces, and the longest version.
const FILE_BYTES: usize = 6 + 20;
/// The longest address (IPv6 with a scope and a port), with quotes and comma.
const ADDR_BYTES: usize = 64 + 4;

/// What one side did wrong, or would do. The decoder's stream is of no use after one.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is beyond the limit.
    #[error("a line of more than {0} bytes")]
    TooLong(usize),
    /// The line isn't a JSON object.
    #[error("not a JSON object")]
    Json(#[from] serde_json::Error),
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it says.
    #[serde(flatten)]
    pub message: LineMessage,
    /// The sender's Lamport clock; 0 where absent.
    pub ts: u64,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LineMessage {
    /// I am there.
    Hello {
        /// Where the sender listens. The IP address is unspecified where it wrote a host's name: it's where it comes from.
        from: SocketAddr,
    },
    /// This is what I know, or some of it.
    State {
        /// As in a hello, if it is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<SocketAddr>,
        /// Files and their versions.
        files: BTreeMap<FileId, Version>,
        /// Peers that the sender knows, of either kind.
        peers: Vec<SocketAddr>,
    },
    /// A file has changed.
    Event {
        /// Which.
        #[serde(rename = "file_id")]
        file: FileId,
        /// Its version.
        version: Version,
    },
    /// An object that says nothing of use. It is counted like any other line, and its reason told to people.
    #[serde(skip)]
    NotUnderstood {
        /// What is wrong with it.
        why: String,
    },
}

/// One complete line, its end included, as Python's `json.dumps` writes it.
///
/// # Errors
/// When the original's readers wouldn't take it.
pub fn encode(line: &Line) -> Result<Vec<u8>, LineError> {
    let mut bytes = Vec::new();
    line.serialize(&mut Serializer::with_formatter(&mut bytes, Python))?;
    bytes.push(b'\n');
    if bytes.len() > MAX_WRITTEN_BYTES { Err(LineError::TooLong(MAX_WRITTEN_BYTES)) } else { Ok(bytes) }
}

/// A space behind each comma and colon, and nothing but ASCII.
struct Python;

impl Formatter for Python {
    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        fragment.chars().try_for_each(|c| {
            if c.is_ascii() {
                return write!(writer, "{c}");
            }
            c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))
        })
    }
}

/// What a line without its end says. What the original would get over with is got over with here.
///
/// # Errors
/// When it isn't a JSON object.
pub fn decode(line: &[u8]) -> Result<Line, LineError> {
    let fields: Map<String, Value> = serde_json::from_slice(line)?;
    Ok(match understood(&fields) {
        Ok(message) => Line { message, ts: fields.get("ts").and_then(whole).unwrap_or(0) },
        Err(why) => Line { message: LineMessage::NotUnderstood { why }, ts: 0 },
    })
}

fn understood(fields: &Map<String, Value>) -> Result<LineMessage, String> {
    match text(fields, "type")? {
        "hello" => Ok(LineMessage::Hello { from: sender(fields)?.ok_or_else(|| unusable("from"))? }),
        "state" => Ok(LineMessage::State { from: sender(fields)?, files: files(fields)?, peers: peers(fields)? }),
        "event" => Ok(LineMessage::Event {
            file: text(fields, "file_id")?.parse().map_err(|_not_an_id| unusable("file_id"))?,
            version: fields.get("version").and_then(version).ok_or_else(|| unusable("version"))?,
        }),
        other => {
            Err(format!("a line of type {:?}", other.get(..other.floor_char_boundary(MAX_TYPE_BYTES)).unwrap_or("")))
        }
    }
}

fn unusable(name: &'static str) -> String {
    format!("no usable {name:?} in a line")
}

fn text<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, String> {
    fields.get(name).and_then(Value::as_str).ok_or_else(|| unusable(name))
}

/// Where the sender listens, if it says so. The original writes its `--host` as it was given, which may be a name.
fn sender(fields: &Map<String, Value>) -> Result<Option<SocketAddr>, String> {
    if !fields.contains_key("from") {
        return Ok(None);
    }
    let from = text(fields, "from")?;
    let named = || {
        let (_, port) = from.rsplit_once(':')?;
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port.parse().ok()?))
    };
    from.parse().ok().or_else(named).map(Some).ok_or_else(|| unusable("from"))
}

/// The files whose names and versions are possible here: one bad entry doesn't cost the others.
fn files(fields: &Map<String, Value>) -> Result<BTreeMap<FileId, Version>, String> {
    let Some(files) = fields.get("files") else { return Ok(BTreeMap::new()) };
    let files = files.as_object().ok_or_else(|| unusable("files"))?;
    Ok(files.iter().filter_map(|(file, number)| Some((file.parse().ok()?, version(number)?))).collect())
}

/// The peers whose addresses are numbers. A name would have to be looked up, and means something else elsewhere.
fn peers(fields: &Map<String, Value>) -> Result<Vec<SocketAddr>, String> {
    let Some(peers) = fields.get("peers") else { return Ok(Vec::new()) };
    let peers = peers.as_array().ok_or_else(|| unusable("peers"))?;
    Ok(peers.iter().filter_map(|addr| addr.as_str()?.parse().ok()).collect())
}

fn version(number: &Value) -> Option<Version> {
    whole(number)?.try_into().ok()
}

/// A whole number as Python takes one: `4`, `4.0` or `"4"`.
fn whole(number: &Value) -> Option<u64> {
    match number {
        Value::Number(number) => {
            number.as_u64().or_else(|| number.to_string().strip_suffix(".0").and_then(|whole| whole.parse().ok()))
        }
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A state of any size in lines of at most [`STATE_LINE_BYTES`]; at least one.
pub fn state(
    from: Option<SocketAddr>,
    files: impl IntoIterator<Item = (FileId, Version)>,
    peers: &[SocketAddr],
) -> Vec<LineMessage> {
    let mut split =
        Split { from, done: Vec::new(), files: BTreeMap::new(), peers: Vec::new(), bytes: EMPTY_STATE_BYTES };
    for (file, version) in files {
        split.make_room(written_bytes(file.as_str()) + FILE_BYTES);
        split.files.insert(file, version);
    }
    for addr in peers {
        split.make_room(ADDR_BYTES);
        split.peers.push(*addr);
    }
    split.end_line();
    split.done
}

struct Split {
    from: Option<SocketAddr>,
    done: Vec<LineMessage>,
    files: BTreeMap<FileId, Version>,
    peers: Vec<SocketAddr>,
    /// The size of the current line, or more.
    bytes: usize,
}

impl Split {
    fn make_room(&mut self, bytes: usize) {
        if self.bytes + bytes > STATE_LINE_BYTES {
            self.end_line();
            self.bytes = EMPTY_STATE_BYTES;
        }
        self.bytes += bytes;
    }

    fn end_line(&mut self) {
        let (files, peers) = (std::mem::take(&mut self.files), std::mem::take(&mut self.peers));
        self.done.push(LineMessage::State { from: self.from, files, peers });
    }
}

/// How many bytes a text takes in a line, without its quotes.
fn written_bytes(text: &str) -> usize {
    let bytes = |c: char| match c {
        '"' | '\\' => 2,
        ' '..='~' => 1,
        _ => 6 * c.len_utf16(),
    };
    text.chars().map(bytes).sum()
}

/// Cuts a stream of bytes into lines. Holds at most one line and what was pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    consumed: usize,
    /// Up to where no line ends, so that no byte is looked at twice.
    searched: usize,
}

impl Decoder {
    /// Takes bytes as they came from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.searched -= self.consumed;
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// When the other side broke the format. The stream can't be read any further.
    pub fn next_line(&mut self) -> Result<Option<Line>, LineError> {
        while let Some(end) = self.find_end()? {
            let line = self.buffer.get(self.consumed..end).unwrap_or_default();
            self.consumed = end + 1;
            self.searched = self.consumed;
            if !is_blank(line) {
                return decode(line).map(Some);
            }
        }
        Ok(None)
    }

    /// The last line, which the end of the stream ends.
    ///
    /// # Errors
    /// When the other side broke the format.
    pub fn last_line(&mut self) -> Result<Option<Line>, LineError> {
        let line = self.buffer.get(self.consumed..).unwrap_or_default();
        let line = if is_blank(line) { Ok(None) } else { decode(line).map(Some) };
        (self.consumed, self.searched) = (self.buffer.len(), self.buffer.len());
        line
    }

    /// Where the next line ends.
    fn find_end(&mut self) -> Result<Option<usize>, LineError> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let end = unsearched.iter().position(|byte| *byte == b'\n').map(|place| self.searched + place);
        self.searched = end.unwrap_or(self.buffer.len());
        if self.searched - self.consumed > MAX_LINE_BYTES { Err(LineError::TooLong(MAX_LINE_BYTES)) } else { Ok(end) }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> impl Strategy<Value = FileId> {
        "[a-z\"\\\\é\u{1f347}]{1,20}|[\u{e9}]{64}|[a-f0-9-]{36}".prop_map(|text| text.parse().unwrap())
    }

    fn addr() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
    }

    fn known() -> impl Strategy<Value = (BTreeMap<FileId, Version>, Vec<SocketAddr>)> {
        let files = proptest::collection::btree_map(file(), (1..=Version::MAX.0).prop_map(Version), 0..400);
        (files, proptest::collection::vec(addr(), 0..64))
    }

    fn message() -> impl Strategy<Value = LineMessage> {
        let state = |(from, (files, peers))| LineMessage::State { from, files, peers };
        prop_oneof![
            addr().prop_map(|from| LineMessage::Hello { from }),
            (file(), 1..=Version::MAX.0)
                .prop_map(|(file, number)| LineMessage::Event { file, version: Version(number) }),
            (proptest::option::of(addr()), known())
                .prop_map(state)
                .prop_filter("as a line", |state| { encode(&Line { message: state.clone(), ts: u64::MAX }).is_ok() }),
        ]
    }

    fn decoded(bytes: &[u8], cut: usize) -> Result<Vec<Line>, LineError> {
        let (mut decoder, mut lines) = (Decoder::default(), Vec::new());
        for chunk in bytes.chunks(cut) {
            decoder.push(chunk);
            while let Some(line) = decoder.next_line()? {
                lines.push(line);
            }
        }
        Ok(lines)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn no_bytes_make_the_decoder_panic(chunks in proptest::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut decoder = Decoder::default();
            for chunk in chunks {
                decoder.push(&chunk);
                while let Ok(Some(_)) = decoder.next_line() {}
            }
        }

        #[test]
        fn no_json_makes_the_decoder_panic(kind in "hello|state|event|other", value in "[0-9]{1,30}|null|\"[a-z:0-9]{0,9}\"|\\[1\\]|\\{\"a\":-1\\}") {
            let line = format!(r#"{{"type":"{kind}","from":"a:1","files":{value},"peers":{value},"file_id":{value},"ts":{value}}}"#);
            let _either_way = decode(line.as_bytes());
        }

        #[test]
        fn lines_survive_any_cutting(message in proptest::collection::vec(message(), 1..4), ts: u64, cut in 1_usize..5000) {
            let lines: Vec<Line> = message.into_iter().map(|message| Line { message, ts }).collect();
            let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(line).unwrap()).collect();
            prop_assert!(bytes.is_ascii());
            prop_assert_eq!(decoded(&bytes, cut).unwrap(), lines);
        }

        #[test]
        fn a_divided_state_says_all_in_lines_below_the_limit(from in proptest::option::of(addr()), known in known()) {
            let (files, peers) = known;
            let mut told = (BTreeMap::new(), Vec::new());
            for message in state(from, files.clone(), &peers) {
                let line = encode(&Line { message: message.clone(), ts: u64::MAX }).unwrap();
                prop_assert!(line.len() <= STATE_LINE_BYTES);
                let LineMessage::State { files, peers, .. } = message else { panic!("{message:?}") };
                told.0.extend(files);
                told.1.extend(peers);
            }
            prop_assert_eq!(told, (files, peers));
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut bytes = vec![b' '; MAX_LINE_BYTES];
        assert_eq!(decoded(&bytes, 16 * 1024).unwrap(), []);
        bytes.push(b' ');
        assert!(matches!(decoded(&bytes, 16 * 1024), Err(LineError::TooLong(MAX_LINE_BYTES))));
    }

    #[test]
    fn a_missing_or_wrong_field_is_named_and_ends_nothing() {
        for (line, field) in [
            (r#"{"from": "127.0.0.1:1"}"#, "type"),
            (r#"{"type": "hello", "from": "me"}"#, "from"),
            (r#"{"type": "state", "from": "127.0.0.1:1", "files": [], "peers": []}"#, "files"),
            (r#"{"type": "state", "files": {}, "peers": 7}"#, "peers"),
            (r#"{"type": "event", "version": 1}"#, "file_id"),
            (r#"{"type": "event", "file_id": "a", "version": "one"}"#, "version"),
            (r#"{"type": "event", "file_id": "a", "version": 2.5}"#, "version"),
            (r#"{"type": "event", "file_id": "a", "version": 0}"#, "version"),
        ] {
            let why = format!("no usable {field:?} in a line");
            assert_eq!(
                decode(line.as_bytes()).unwrap(),
                Line { message: LineMessage::NotUnderstood { why }, ts: 0 },
                "{line}"
            );
        }
        assert!(matches!(decode(b"[1, 2]"), Err(LineError::Json(_))));
    }

    #[test]
    fn lines_are_taken_as_the_original_takes_them() {
        let event = |number| LineMessage::Event { file: "a".parse().unwrap(), version: Version(number) };
        for (line, message, ts) in [
            (r#"{"type": "event", "file_id": "a", "version": "4"}"#, event(4), 0),
            (r#"  {"type": "event", "file_id": "a", "version": 2.0, "ts": "7"}"#, event(2), 7),
            (r#"{"type": "event", "file_id": "a", "version": 1, "ts": -1}"#, event(1), 0),
            (r#"{"type": "state"}"#, LineMessage::State { from: None, files: BTreeMap::new(), peers: Vec::new() }, 0),
        ] {
            assert_eq!(decode(line.as_bytes()).unwrap(), Line { message, ts }, "{line}");
        }
        let mut decoder = Decoder::default();
        decoder.push(b"\n  \r\n{\"type\": \"event\", \"file_id\": \"a\", \"version\": 3}");
        assert_eq!(decoder.next_line().unwrap(), None);
        assert_eq!(decoder.last_line().unwrap(), Some(Line { message: event(3), ts: 0 }));
        assert_eq!(decoder.last_line().unwrap(), None);
    }

    #[test]
    fn one_bad_entry_does_not_cost_the_others() {
        let line = br#"{"type": "state", "from": "localhost:9001", "files": {"": 1, "a": 0, "b": "two", "c": 3},
            "peers": ["localhost:9002", 7, "127.0.0.1:9003"], "extra": null}"#;
        let from = "0.0.0.0:9001".parse().unwrap();
        let files = [("c".parse().unwrap(), Version(3))].into();
        let message = LineMessage::State { from: Some(from), files, peers: vec!["127.0.0.1:9003".parse().unwrap()] };
        assert_eq!(decode(line).unwrap(), Line { message, ts: 0 });
    }

    #[test]
    fn an_unknown_type_says_no_more_than_that() {
        let bytes = b"{\"type\": \"bye\", \"why\": [1]}\n{\"type\": \"hello\", \"from\": \"127.0.0.1:1\", \"ts\": 4}\n";
        let lines = decoded(bytes, 7).unwrap();
        let message = LineMessage::NotUnderstood { why: "a line of type \"bye\"".to_owned() };
        assert_eq!(lines[0], Line { message, ts: 0 });
        assert!(matches!(&lines[1..], [Line { message: LineMessage::Hello { .. }, ts: 4 }]));
    }
}
