//! The fuzz targets' corpus: one input for each message of the protocol, recorded lines, and whatever was found worth
//! keeping. Here all of it goes through the decoders, without a fuzzer.

use std::fs;
use std::path::PathBuf;

use shared::ids::{ChunkHash, ContentHash};
use shared::wire::content::frame::{encode as encode_content, read as read_content};
use shared::wire::frame::{Decoder, decode, encode};
use shared::wire::lines;
use shared::wire::manifest::{Chunk, Root, encode_page};
use shared::wire::queue::FileEvent;

use crate::content;
use crate::lines::RECORDED;
use crate::wire::messages;

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// The largest input that is checked in.
const MAX_INPUT_BYTES: usize = 4096;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path());
    let all: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    assert!(!all.is_empty());
    all
}

#[expect(clippy::disallowed_methods, reason = "a person renews the corpus; the core itself reads nothing")]
fn renews() -> bool {
    std::env::var("GRAPEVINE_RENEW").is_ok()
}

/// Whether the corpus has this input under this name.
fn check(target: &str, name: &str, input: &[u8]) {
    let path = folder(target).join(name);
    if renews() {
        fs::create_dir_all(folder(target)).unwrap();
        fs::write(&path, input).unwrap();
    }
    let there = fs::read(&path).unwrap_or_default();
    assert!(there == input, "{} is old: GRAPEVINE_RENEW=1 cargo test -p shared corpus", path.display());
}

/// A script of the target `node`: two peers join, both say all of this, and time passes.
fn script(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut script = vec![1, 0, 1, 1];
    for link in [0, 1] {
        for frame in frames {
            script.extend([13, link]);
            script.extend(frame);
        }
    }
    script.extend([8, 0, 0, 16, 0, 0, 0, 0, 0, 0]);
    script
}

#[test]
fn corpus_has_every_message_of_the_protocol() {
    let mut all = Vec::new();
    for (number, message) in messages().enumerate() {
        let frame = encode(&message).unwrap();
        let name = format!("{number:02}-{}", message.kind().name);
        let whole: Vec<u8> = [&[255], frame.as_slice()].concat();
        check("frame", &name, &whole);
        check("node", &name, &script(std::slice::from_ref(&frame)));
        all.push(frame);
    }
    let in_pieces: Vec<u8> = [vec![6], all.concat()].concat();
    check("frame", "all-in-pieces", &in_pieces);
    check("node", "all", &script(&all));
}

#[test]
fn corpus_of_frames_goes_through_the_decoder() {
    for (path, input) in inputs("frame") {
        assert!(input.len() <= MAX_INPUT_BYTES, "{}", path.display());
        let (cut, bytes) = input.split_first().unwrap();
        let mut decoder = Decoder::default();
        'input: for piece in bytes.chunks(usize::from(*cut) + 1) {
            decoder.push(piece);
            loop {
                match decoder.next_message() {
                    Ok(Some(message)) => {
                        let again = decode(&encode(&message).unwrap()[LENGTH_BYTES..]);
                        assert_eq!(again, Ok(message), "{}", path.display());
                    }
                    Ok(None) => break,
                    Err(_) => break 'input,
                }
            }
        }
    }
}

#[test]
fn corpus_has_the_lines_that_an_original_said() {
    let mut all = String::new();
    for (name, line) in ["hello", "state", "event"].into_iter().zip(RECORDED) {
        let line = format!("{line}\n");
        check("lines", name, &[&[255], line.as_bytes()].concat());
        all += &line;
    }
    check("lines", "all-in-pieces", &[&[6], all.as_bytes()].concat());
}

#[test]
fn corpus_has_the_lines_and_texts_that_an_original_would_get_over_with() {
    for (name, line) in [
        ("version-as-text", r#"  {"type": "event", "file_id": "a", "version": "4", "ts": "7"}"#),
        ("version-with-point", r#"{"type": "event", "file_id": "a", "version": 2.0}"#),
        ("state-without-from", r#"{"type": "state", "files": {"a": "3"}}"#),
        ("no-version", r#"{"type": "event", "file_id": "a"}"#),
    ] {
        check("lines", name, &[&[9], line.as_bytes(), b"\n"].concat());
    }
    for (name, text) in [
        ("text-uploaded", "file.uploaded id=f1 owner=alice name=a b.txt version=1"),
        ("text-shared", "file.shared id=f1 owner=alice target=bob"),
        ("text-short", "id=f1,version=3"),
    ] {
        check("queue", name, text.as_bytes());
    }
}

#[test]
fn corpus_of_lines_goes_through_the_decoder() {
    for (path, input) in inputs("lines") {
        assert!(input.len() <= MAX_INPUT_BYTES, "{}", path.display());
        let (cut, bytes) = input.split_first().unwrap();
        let mut decoder = lines::Decoder::default();
        'input: for piece in bytes.chunks(usize::from(*cut) + 1) {
            decoder.push(piece);
            loop {
                match decoder.next_line() {
                    // It is only read.
                    Ok(Some(lines::Line { message: lines::LineMessage::NotUnderstood { .. }, .. })) => {}
                    Ok(Some(line)) => {
                        let written = lines::encode(&line).unwrap();
                        assert_eq!(lines::decode(&written).unwrap(), line, "{}", path.display());
                    }
                    Ok(None) => break,
                    Err(_) => break 'input,
                }
            }
        }
    }
}

#[test]
fn corpus_of_broker_messages_goes_through_the_parser() {
    for (path, body) in inputs("queue") {
        if let Ok(event) = FileEvent::read(&body) {
            let again = FileEvent::read(&serde_json::to_vec(&event).unwrap()).unwrap();
            assert_eq!(again, event, "{}", path.display());
        }
    }
}

#[test]
fn corpus_has_manifests_and_what_isnt_quite_one() {
    let chunk = |number| Chunk { hash: ChunkHash([number; 32]), len_bytes: 65_536 };
    let (page, says) = encode_page(&[chunk(1), chunk(2)]).unwrap();
    let root = Root { size_bytes: 131_072, content: ContentHash([3; 32]), pages: vec![says] }.encode().unwrap();
    for (name, bytes) in [
        ("one-page", [&root[..], &page[..]].concat()),
        ("a-third-level", [&root[..], &root[..]].concat()),
        ("a-root-that-is-cut-off", root[..root.len() - 1].to_vec()),
    ] {
        check("manifest", name, &[&[1], &bytes[..]].concat());
    }
}

#[test]
fn corpus_of_manifests_goes_through_the_reader() {
    for (path, input) in inputs("manifest") {
        let (end, bytes) = input.split_first().unwrap();
        let root = &bytes[..(42 + usize::from(*end) * 44).min(bytes.len())];
        if let Ok(read) = Root::verify(Root::name(root), root) {
            assert_eq!(read.encode().unwrap(), root, "{}", path.display());
        }
    }
}

#[test]
fn corpus_has_every_message_of_content_connections() {
    let mut all = Vec::new();
    for (number, message) in content::messages().into_iter().enumerate() {
        let frame = encode_content(&message).unwrap();
        let follows = vec![7; usize::try_from(message.follow_bytes()).unwrap()];
        check("content", &format!("{number:02}-{}", message.kind().1), &[&frame[..], &follows].concat());
        all.extend([frame, follows].concat());
    }
    check("content", "all", &all);
}

#[test]
fn corpus_of_content_messages_goes_through_the_reader() {
    for (path, input) in inputs("content") {
        let mut rest = &input[..];
        while let Ok(Some((message, taken))) = read_content(rest) {
            let again = encode_content(&message).unwrap();
            assert_eq!(read_content(&again), Ok(Some((message.clone(), again.len()))), "{}", path.display());
            let behind = taken + usize::try_from(message.follow_bytes()).unwrap();
            rest = rest.get(behind..).unwrap_or_default();
        }
    }
}
