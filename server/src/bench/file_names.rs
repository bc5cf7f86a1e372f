//! What the files are called, so that a version's arrival tells which update it was.

use serde::{Deserialize, Serialize};
use shared::ids::{FileId, IdError, Version};

/// How many files the versions of [`Files::Untimed`] are of.
pub(super) const VERSION_FILES: usize = 10_000;

/// Which files the updates of a publication are of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Files {
    /// Each is of its own.
    Own,
    /// Of so many in turn. Who knows a version has what is before it.
    Shared(usize),
    /// Of [`VERSION_FILES`] in turn. Nobody notes when they came: that would take more memory than what is measured.
    Untimed,
}

/// What a version's arrival means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// An update, and that all before it of the same file are of no use any more.
    Update { base: usize, stride: usize, version: usize },
    /// One of [`Files::Untimed`].
    Untimed { file: usize, version: usize },
    /// A file that others knew from the start.
    Kept,
}

impl Files {
    /// What update number `place` of a publication, which begins with update `first`, is of.
    pub(super) fn name(self, first: usize, place: usize) -> Result<(FileId, Version), IdError> {
        let (name, round) = match self {
            Self::Own => (format!("u-{}", first + place), 0),
            Self::Shared(count) => (format!("s-{}-{count}", first + place % count), place / count),
            Self::Untimed => (format!("v-{}", place % VERSION_FILES), place / VERSION_FILES),
        };
        Ok((name.parse()?, Version(u64::try_from(round).unwrap_or(u64::MAX) + 1)))
    }
}

/// A file that peers know from the start.
pub(super) fn kept(number: usize) -> Result<FileId, IdError> {
    format!("f-{number}").parse()
}

/// What it means that a version came; `None` if it is nobody's here.
pub(super) fn arrival(file: &FileId, version: Version) -> Option<Arrival> {
    let (kind, numbers) = file.as_str().split_once('-')?;
    let version = usize::try_from(version.0).ok()?;
    match kind {
        "u" => Some(Arrival::Update { base: numbers.parse().ok()?, stride: 0, version: 1 }),
        "s" => {
            let (base, stride) = numbers.split_once('-')?;
            Some(Arrival::Update { base: base.parse().ok()?, stride: stride.parse().ok()?, version })
        }
        "v" => Some(Arrival::Untimed { file: numbers.parse().ok()?, version }),
        "f" => Some(Arrival::Kept),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: Files, first: usize, place: usize, arrived: Arrival) {
        let (file, version) = files.name(first, place).unwrap();
        assert_eq!(arrival(&file, version), Some(arrived));
    }

    #[test]
    fn an_arrival_tells_the_update() {
        check(Files::Own, 100, 7, Arrival::Update { base: 107, stride: 0, version: 1 });
        check(Files::Shared(5), 100, 7, Arrival::Update { base: 102, stride: 5, version: 2 });
        check(Files::Untimed, 100, 20_003, Arrival::Untimed { file: 3, version: 3 });
        assert_eq!(arrival(&kept(1).unwrap(), Version(1)), Some(Arrival::Kept));
        assert_eq!(arrival(&"other".parse().unwrap(), Version(1)), None);
    }
}
