//! `grapevine fsck`: says what is where in a data directory that no server uses, and, when told to, puts right what can
//! be. Nothing that somebody might want is removed: it is moved. Reads every content, whatever their sizes, in pieces.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use shared::ids::ContentHash;
use shared::words::counted;

use crate::contents::error::ContentsError;
use crate::contents::fault::{Fault, Inode};
use crate::contents::{Contents, LOST, TEMPORARY, clear_way, hashes_in, open_file};
use crate::db::DbError;
use crate::db::access::open_to_read;
use crate::peer::state;
use crate::store::error::StoreError;
use crate::store::opening::{CATALOGUE, TABLES, is_older};
use crate::store::{metadata, schema};

/// Where contents are kept whose bytes aren't right, below the folder of contents.
const DAMAGED: &str = "damaged";
/// How many contents are read from the catalogue at once.
const BATCH: u32 = 500;

/// Why checking ends otherwise than with "all is well".
#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    /// Something is wrong that is still so.
    #[error("{}{hint}", counted(*count, "fault"), hint = if *mendable { "; --repair puts right what can be" } else { "" })]
    Faults {
        /// How many.
        count: u64,
        /// Whether some of them would have been put right.
        mendable: bool,
    },
    /// Nothing more can be printed.
    #[error("can't write")]
    Write(#[from] io::Error),
    /// A folder can't be read.
    #[error("can't go on checking")]
    Contents(#[from] ContentsError),
    /// The catalogue is of a version that isn't known yet.
    #[error(transparent)]
    Newer(StoreError),
    /// The catalogue can't be read.
    #[error("can't read the catalogue")]
    Db(#[from] DbError),
}

/// Checks the data directory `dir`, which the caller holds the lock of; a line on `out` for each thing that isn't as it
/// should be. With `repair` it is put right where it can be. Blocks.
///
/// # Errors
/// [`FsckError::Faults`] when something is wrong and still is; or whatever ends it before its time.
pub fn run(dir: &Path, repair: bool, out: &mut impl Write) -> Result<(), FsckError> {
    let contents = Contents::at(dir.join("contents"));
    let mut check = Check { dir, contents, repair, out, faults: 0, mended: 0, mendable: false, looked_at: 0 };
    check.folders()?;
    match check.catalogue()? {
        Some(catalogue) => {
            check.files(&catalogue)?;
            check.unused(&catalogue)?;
            check.lost(&catalogue)?;
        }
        None => check.unexplained()?,
    }
    check.temporary()?;
    check.kept_damage()?;
    check.peers()?;
    let Check { faults: count, mended, mendable, looked_at, .. } = check;
    let were = if looked_at == 1 { "was" } else { "were" };
    let (looked_at, faults) = (counted(looked_at, "content"), counted(count + mended, "fault"));
    writeln!(out, "{looked_at} {were} read; {faults}, {mended} of them mended")?;
    if count == 0 { Ok(()) } else { Err(FsckError::Faults { count, mendable }) }
}

struct Check<'a, W> {
    dir: &'a Path,
    contents: Contents,
    repair: bool,
    out: &'a mut W,
    /// What is wrong and still is.
    faults: u64,
    /// What was wrong.
    mended: u64,
    /// Whether something could be put right, and wasn't to be.
    mendable: bool,
    looked_at: u64,
}

impl<W: Write> Check<'_, W> {
    fn note(&mut self, what: &str) -> Result<(), FsckError> {
        Ok(writeln!(self.out, "{what}")?)
    }

    fn fault(&mut self, what: &str) -> Result<(), FsckError> {
        self.faults += 1;
        self.note(what)
    }

    /// A fault that `mend` puts right, if it is to; it says whether it did.
    fn mendable(&mut self, what: &str, done: &str, mend: impl FnOnce() -> bool) -> Result<(), FsckError> {
        if self.repair && mend() {
            self.mended += 1;
            self.note(&format!("{what}; {done}"))
        } else {
            self.mendable |= !self.repair;
            self.fault(what)
        }
    }

    /// A content that can't be read may be whole or not.
    fn unreadable(&mut self, path: &Path, error: &ContentsError) -> Result<(), FsckError> {
        self.fault(&format!("{}: it can't be read: {}", path.display(), innermost(error)))
    }

    /// What is in the place of a folder.
    fn folders(&mut self) -> Result<(), FsckError> {
        let contents = self.dir.join("contents");
        for folder in [contents.join(TEMPORARY), contents.join(LOST), contents.join(DAMAGED), self.dir.join("peers")] {
            if fs::metadata(&folder).is_ok_and(|found| !found.is_dir()) {
                let what = format!("{}: it isn't a folder", folder.display());
                self.mendable(&what, "moved away", || clear_way(&folder).is_ok())?;
            }
        }
        Ok(())
    }

    /// The catalogue, if it can be relied on.
    fn catalogue(&mut self) -> Result<Option<Connection>, FsckError> {
        let path = self.dir.join(CATALOGUE);
        if !path.exists() {
            if self.contents.has_any()? {
                self.fault(&format!("{}: there is none, but contents of files are", path.display()))?;
            }
            return Ok(None);
        }
        let name = path.display();
        let opened = open_to_read(&path);
        let read = opened.and_then(|catalogue| Ok((schema::version(&catalogue)?, wrong_in(&catalogue)?, catalogue)));
        let wrong = match read {
            Ok((found, ..)) if found > schema::VERSION => {
                return Err(FsckError::Newer(StoreError::NewerCatalogue { path, found, known: schema::VERSION }));
            }
            Ok((_, wrong, catalogue)) if wrong.is_empty() => return Ok(Some(catalogue)),
            Ok((_, wrong, _)) => wrong,
            Err(error) => vec![innermost(&error)],
        };
        for what in wrong {
            self.fault(&format!("{name}: {what}"))?;
        }
        self.note(&format!(
            "{name}: put back a copy of it; until then nothing is known of the contents but their names"
        ))?;
        Ok(None)
    }

    /// Each content that a version of a file has.
    fn files(&mut self, catalogue: &Connection) -> Result<(), FsckError> {
        let mut after = String::new();
        loop {
            let batch = metadata::contents_after(catalogue, &after, BATCH)?;
            let Some((last, _)) = batch.last() else { return Ok(()) };
            after = last.to_string();
            for (hash, size_bytes) in batch {
                self.looked_at += 1;
                let path = self.contents.path(hash);
                match fault_of(&path, hash, Some(size_bytes)) {
                    Ok(None) => {}
                    Ok(Some(fault)) => self.bad_content(catalogue, hash, fault)?,
                    Err(error) => self.unreadable(&path, &error)?,
                }
            }
        }
    }

    fn bad_content(&mut self, catalogue: &Connection, hash: ContentHash, fault: Fault) -> Result<(), FsckError> {
        let files = metadata::files_with(catalogue, hash)?.join(", ");
        let (path, lost) =
            (self.contents.path(hash), self.contents.path(hash).with_file_name(LOST).join(hash.to_string()));
        let is_there = fault != Fault::Missing;
        let contents = self.contents.clone();
        if matches!(fault_of(&lost, hash, None), Ok(None)) {
            let put_back = || (!is_there || contents.set_aside(hash, DAMAGED)) && renamed(&lost, &path);
            let what = format!("{}: {fault}, but it is whole in {} (of {files})", path.display(), lost.display());
            return self.mendable(&what, "put back", put_back);
        }
        let what = format!("{}: {fault} (of {files}); uploading the same bytes mends it", path.display());
        if self.repair && is_there && contents.set_aside(hash, DAMAGED) {
            // The file is as unusable as before.
            return self.fault(&format!("{what}; what was there is in contents/{DAMAGED}"));
        }
        self.fault(&what)
    }

    /// Contents that no version of a file has.
    fn unused(&mut self, catalogue: &Connection) -> Result<(), FsckError> {
        let forgotten = forgotten(catalogue)?;
        for hash in hashes_in(&self.dir.join("contents"))? {
            let hash = hash?;
            if metadata::is_used(catalogue, hash)? {
                continue;
            }
            let path = self.contents.path(hash);
            if let Some((_, at_ms)) = forgotten.iter().find(|(content, _)| *content == hash) {
                let is_older = is_older(&self.contents, hash, *at_ms);
                let next =
                    if is_older { "removes it" } else { "moves it to contents/lost, for it may have come again" };
                self.note(&format!("{}: its file was deleted; the next start {next}", path.display()))?;
                continue;
            }
            let contents = self.contents.clone();
            let what = format!("{}: no file has it", path.display());
            self.mendable(&what, &format!("moved to contents/{LOST}"), || contents.set_aside(hash, LOST))?;
        }
        Ok(())
    }

    /// What was set aside because no file had it.
    fn lost(&mut self, catalogue: &Connection) -> Result<(), FsckError> {
        for path in files_in(&self.dir.join("contents").join(LOST))? {
            self.looked_at += 1;
            let Some(hash) = hash_of(&path) else {
                self.note(&format!("{}: isn't a content", path.display()))?;
                continue;
            };
            let state = match fault_of(&path, hash, None) {
                Ok(fault) => fault.map_or_else(|| "whole".to_owned(), |fault| fault.to_string()),
                Err(error) => innermost(&error),
            };
            let in_place = self.contents.path(hash);
            if metadata::is_used(catalogue, hash)? {
                // Where it isn't, that was told with the files that miss it.
                if matches!(fault_of(&in_place, hash, None), Ok(None)) && state == "whole" {
                    let what = format!("{}: a second copy of what is whole in its place", path.display());
                    self.mendable(&what, "removed", || fs::remove_file(&path).is_ok())?;
                }
                continue;
            }
            let bytes = fs::metadata(&path).map_or(0, |found| found.len());
            self.fault(&format!(
                "{}: no file has it ({bytes} bytes, {state}); remove it if nobody misses it",
                path.display()
            ))?;
        }
        Ok(())
    }

    /// Without a catalogue only a content's own name says what it should be.
    fn unexplained(&mut self) -> Result<(), FsckError> {
        for hash in hashes_in(&self.dir.join("contents"))? {
            let hash = hash?;
            self.looked_at += 1;
            let path = self.contents.path(hash);
            match fault_of(&path, hash, None) {
                Ok(None) => {}
                Ok(Some(fault)) => self.fault(&format!("{}: {fault}", path.display()))?,
                Err(error) => self.unreadable(&path, &error)?,
            }
        }
        Ok(())
    }

    /// What uploads that were interrupted have left.
    fn temporary(&mut self) -> Result<(), FsckError> {
        for path in files_in(&self.dir.join("contents").join(TEMPORARY))? {
            if path.is_dir() {
                self.fault(&format!("{}: isn't a temporary file of grapevine; remove it", path.display()))?;
                continue;
            }
            let done =
                if self.repair && fs::remove_file(&path).is_ok() { "removed" } else { "the next start removes it" };
            self.note(&format!("{}: of an upload that was interrupted; {done}", path.display()))?;
        }
        Ok(())
    }

    /// What was set aside because it was damaged.
    fn kept_damage(&mut self) -> Result<(), FsckError> {
        for path in files_in(&self.dir.join("contents").join(DAMAGED))? {
            self.note(&format!("{}: a damaged content that was set aside", path.display()))?;
        }
        Ok(())
    }

    /// What the local peers keep; or the peer whose directory this is.
    fn peers(&mut self) -> Result<(), FsckError> {
        for dir in std::iter::once(self.dir.to_owned()).chain(files_in(&self.dir.join("peers"))?) {
            let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if !dir.is_dir() && name.parse::<u32>().is_ok() {
                let what = format!("{}: it isn't a folder, as a peer's is", dir.display());
                self.mendable(&what, "moved away", || clear_way(&dir).is_ok())?;
            }
            for path in files_in(&dir)? {
                let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
                if name == state::FILE {
                    self.peer(&path)?;
                } else if name.starts_with(state::FILE) && name.contains(".damaged-") && !name.ends_with("-shm") {
                    self.note(&format!("{}: a peer's damaged state that was set aside", path.display()))?;
                }
            }
        }
        Ok(())
    }

    fn peer(&mut self, path: &Path) -> Result<(), FsckError> {
        let Err(error) = state::check(path) else { return Ok(()) };
        let what = format!("{}: {}", path.display(), innermost(&error));
        if error.is_damage() {
            let done = "set aside: the peer begins anew and learns all from others";
            self.mendable(&what, done, || state::set_aside(path).is_ok())
        } else {
            self.fault(&what)
        }
    }
}

/// Contents whose files were deleted, and since when; the first catalogues had no table of them.
fn forgotten(catalogue: &Connection) -> Result<Vec<(ContentHash, u64)>, DbError> {
    if !metadata::tables(catalogue)?.iter().any(|table| table == "forgotten") {
        return Ok(Vec::new());
    }
    metadata::forgotten(catalogue)
}

/// What is wrong with a catalogue, in a few sentences.
fn wrong_in(catalogue: &Connection) -> Result<Vec<String>, DbError> {
    let tables = metadata::tables(catalogue)?;
    let missing = TABLES.iter().filter(|table| !tables.iter().any(|name| name == *table));
    let mut wrong: Vec<String> = missing.map(|table| format!("it has no table {table}")).collect();
    let mut check = catalogue.prepare("PRAGMA integrity_check(10)")?;
    for said in check.query_map([], |row| row.get::<_, String>(0))? {
        wrong.push(said?.replace('\n', " "));
    }
    wrong.retain(|said| said != "ok");
    let mut orphans = catalogue.prepare("SELECT DISTINCT \"table\", parent FROM pragma_foreign_key_check")?;
    let orphans = orphans.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    for orphan in orphans {
        let (table, parent) = orphan?;
        wrong.push(format!("rows of {table} refer to rows of {parent} that aren't there"));
    }
    Ok(wrong)
}

/// What is wrong with the content at `path`. Reads all of it.
fn fault_of(path: &Path, hash: ContentHash, size_bytes: Option<u64>) -> Result<Option<Fault>, ContentsError> {
    let (file, found) = match open_file(path) {
        Err(ContentsError::Bad(fault)) => return Ok(Some(fault)),
        opened => opened?,
    };
    if let Some(expected) = size_bytes.filter(|expected| *expected != found.len()) {
        return Ok(Some(Fault::Length { found: found.len(), expected }));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(ContentsError::io("read a content"))?;
    Ok((hasher.finalize().as_bytes() != &hash.0).then_some(Fault::Bytes { read: Inode::of(&found) }))
}

/// The hash in the name of a content that was set aside: a number may follow it.
fn hash_of(path: &Path) -> Option<ContentHash> {
    let name = path.file_name()?.to_str()?;
    name.split('.').next()?.parse().ok()
}

/// The paths in a folder, in order; none where there is no such folder.
fn files_in(dir: &Path) -> Result<Vec<PathBuf>, ContentsError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(vec![]);
        }
        read => read.map_err(ContentsError::io("read a folder"))?,
    };
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(ContentsError::io("read a folder"))?;
    paths.sort();
    Ok(paths)
}

fn renamed(from: &Path, to: &Path) -> bool {
    fs::rename(from, to).is_ok()
}

/// The last cause, which says most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
