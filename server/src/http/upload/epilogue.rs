//! What comes after a body's last boundary. It says nothing (RFC 2046, section 5.1.1), so the parser passes it over; but a
//! client that puts a second file there would lose it without a word.

use memchr::memmem;

/// What stands before each boundary but the first.
const LINE_BREAK: &[u8] = b"\r\n";

/// Finds the last boundary in a body that comes in pieces.
#[derive(Debug)]
pub(super) struct Epilogue {
    /// The last boundary with the line break before it.
    end: Vec<u8>,
    /// The last bytes that came: one less than `end` has.
    before: Vec<u8>,
    is_over: bool,
    has_more: bool,
}

impl Epilogue {
    /// For a body with this boundary.
    pub(super) fn new(boundary: &str) -> Self {
        let end = [LINE_BREAK, b"--", boundary.as_bytes(), b"--"].concat();
        // A body may begin with its last boundary.
        Self { end, before: LINE_BREAK.to_owned(), is_over: false, has_more: false }
    }

    /// Takes the next piece.
    pub(super) fn pass(&mut self, piece: &[u8]) {
        let more = if self.is_over { Some(piece) } else { self.after_end(piece) };
        if let Some(more) = more {
            self.is_over = true;
            self.has_more |= !more.trim_ascii().is_empty();
        }
    }

    /// Whether more than white space came after the last boundary.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// What of `piece` comes after the last boundary, if that ends in it.
    fn after_end<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let kept = self.end.len() - 1;
        let (head, _) = piece.split_at(kept.min(piece.len()));
        let seam = [self.before.as_slice(), head].concat();
        if let Some(at) = memmem::find(&seam, &self.end) {
            return piece.get(at + self.end.len() - self.before.len()..);
        }
        if let Some(at) = memmem::find(piece, &self.end) {
            return piece.get(at + self.end.len()..);
        }
        let last = if piece.len() >= kept { piece } else { &seam };
        last.get(last.len().saturating_sub(kept)..).unwrap_or_default().clone_into(&mut self.before);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_last_boundary_is_seen_however_the_body_is_cut() {
        for (body, expected) in [
            ("--b\r\n\r\nx\r\n--b--", false),
            ("--b\r\n\r\nx\r\n--b--\r\n", false),
            ("--b\r\n\r\nx\r\n--b-- \t\r\n\r\n", false),
            ("--b\r\n\r\nx\r\n--b--\r\nmore", true),
            ("--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n--b--\r\n", true),
            ("--b\r\n\r\nx --b-- y\r\n--b--\r\n", false),
            ("--b--more", true),
        ] {
            for length in 1..=body.len() {
                let mut epilogue = Epilogue::new("b");
                for piece in body.as_bytes().chunks(length) {
                    epilogue.pass(piece);
                }
                assert_eq!(epilogue.has_more(), expected, "{body:?} in pieces of {length}");
            }
        }
    }
}
