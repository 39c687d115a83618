//! Reading a container: from bytes in memory (or a memory map), or section by section from a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::looks_like;
use super::{ENTRY, FIXED, FileError, Kind, PREFIX, Problem, VERSION};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u64,
    start: u64,
    length: u64,
    hash: [u8; 32],
}

/// The checked header of a file.
#[derive(Clone, Debug)]
struct Index {
    entries: Vec<Entry>,
    hash: [u8; 32],
}

impl Index {
    /// Checks the fixed part and returns the number of bytes up to the end of the table.
    ///
    /// `start` holds the first bytes of a file of `length` bytes.
    fn table_end(start: &[u8], length: u64, wanted: Kind) -> Result<usize, Problem> {
        if length == 0 {
            return Err(Problem::Empty(wanted));
        }
        let kind = Kind::of(start);
        if let Some(found) = kind.filter(|k| *k != wanted) {
            return Err(Problem::WrongKind { found, wanted });
        }
        let prefix = start.len().min(PREFIX.len());
        if start[..prefix] != PREFIX[..prefix] {
            return Err(Problem::Foreign { found: looks_like(start), wanted });
        }
        if start.len() < FIXED {
            let of = start.get(16..24).map_or(FIXED as u64, le64).max(FIXED as u64);
            return Err(Problem::Cut { found: length, of });
        }
        let version = u16::from_le_bytes([start[8], start[9]]);
        if version > VERSION {
            return Err(Problem::Newer { found: version, known: VERSION });
        }
        if kind.is_none() {
            return Err(Problem::Foreign { found: "a file of unknown kind", wanted });
        }
        let sections = u64::from(u32::from_le_bytes([start[12], start[13], start[14], start[15]]));
        let (end, declared) = (FIXED as u64 + sections * ENTRY as u64, le64(&start[16..24]));
        match usize::try_from(end) {
            Ok(end) if end as u64 <= length => Ok(end),
            _ if declared > length => Err(Problem::Cut { found: length, of: declared }),
            _ => Err(changed_header()),
        }
    }

    /// Reads the header, table included, of a file of `length` bytes. The checksum comes first,
    /// since what it does not cover cannot be trusted to say what is wrong.
    fn parse(header: &[u8], length: u64) -> Result<Self, Problem> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header[..24]).update(&header[FIXED..]);
        let hash = *hasher.finalize().as_bytes();
        if hash != header[24..FIXED] {
            return Err(changed_header());
        }
        let mut at = header.len() as u64;
        let mut entries = Vec::with_capacity(header.len() / ENTRY);
        for row in header[FIXED..].chunks_exact(ENTRY) {
            let mut hash = [0; 32];
            hash.copy_from_slice(&row[16..]);
            let entry = Entry { id: le64(&row[..8]), start: at, length: le64(&row[8..16]), hash };
            at = at.checked_add(entry.length).ok_or_else(changed_header)?;
            entries.push(entry);
        }
        let mut ids: Vec<u64> = entries.iter().map(|e| e.id).collect();
        ids.sort_unstable();
        if let Some(w) = ids.windows(2).find(|w| w[0] == w[1]) {
            return Err(Problem::Invalid(format!("it has two sections {}", w[0])));
        }
        let of = le64(&header[16..24]);
        if at != of || u16::from_le_bytes([header[10], header[11]]) != 0 {
            return Err(Problem::Invalid("its lengths contradict each other".into()));
        }
        match length {
            found if found < of => Err(Problem::Cut { found, of }),
            found if found > of => Err(Problem::TooLong { found, of }),
            _ => Ok(Self { entries, hash }),
        }
    }

    fn entry(&self, id: u64) -> Result<&Entry, Problem> {
        self.entries.iter().find(|e| e.id == id).ok_or(Problem::NoSection { id })
    }
}

impl Entry {
    fn check(&self, content: &[u8]) -> Result<(), Problem> {
        self.compare(&blake3::hash(content))
    }

    fn compare(&self, found: &blake3::Hash) -> Result<(), Problem> {
        if *found.as_bytes() == self.hash { Ok(()) } else { Err(self.changed()) }
    }

    fn changed(&self) -> Problem {
        Problem::Changed { part: format!("section {}", self.id) }
    }
}

/// A container in memory, its header checked.
#[derive(Clone, Debug)]
pub struct Container<'a> {
    bytes: &'a [u8],
    index: Index,
}

impl<'a> Container<'a> {
    /// Reads the header of a whole file's bytes.
    ///
    /// # Errors
    /// Everything that [`Problem`] lists for files of another kind, cut, changed or newer ones.
    pub fn parse(bytes: &'a [u8], wanted: Kind) -> Result<Self, Problem> {
        let length = bytes.len() as u64;
        let end = Index::table_end(bytes, length, wanted)?;
        Ok(Self { bytes, index: Index::parse(&bytes[..end], length)? })
    }

    /// The ids of its sections, in the order of the file.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.index.entries.iter().map(|e| e.id)
    }

    /// The BLAKE3 hash of header and table, which stands for the whole content.
    pub fn content_hash(&self) -> [u8; 32] {
        self.index.hash
    }

    /// The content of a section, its checksum verified.
    ///
    /// # Errors
    /// [`Problem::NoSection`], [`Problem::Changed`].
    pub fn section(&self, id: u64) -> Result<&'a [u8], Problem> {
        let entry = self.index.entry(id)?;
        let span = usize::try_from(entry.start).ok().zip(usize::try_from(entry.length).ok());
        let content = span.and_then(|(start, length)| self.bytes.get(start..)?.get(..length));
        let content = content.ok_or_else(changed_header)?;
        entry.check(content)?;
        Ok(content)
    }
}

/// A container on disk of which single sections are read, from any thread.
#[derive(Debug)]
pub struct SectionReader {
    path: PathBuf,
    file: Mutex<File>,
    index: Index,
}

impl SectionReader {
    /// Opens a file and checks its header; no section is read yet.
    ///
    /// # Errors
    /// As [`Container::parse`], and what the operating system says.
    pub fn open(path: &Path, wanted: Kind) -> Result<Self, FileError> {
        Self::open_inner(path, wanted).map_err(|p| p.of(path))
    }

    fn open_inner(path: &Path, wanted: Kind) -> Result<Self, Problem> {
        let mut file = File::open(path).map_err(Problem::Read)?;
        let length = file.metadata().map_err(Problem::Read)?.len();
        let mut header = Vec::new();
        take(&mut file, &mut header, FIXED)?;
        let end = Index::table_end(&header, length, wanted)?;
        take(&mut file, &mut header, end - FIXED)?;
        if header.len() != end {
            return Err(changed_header());
        }
        let index = Index::parse(&header, length)?;
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file), index })
    }

    /// The ids of its sections, in the order of the file.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.index.entries.iter().map(|e| e.id)
    }

    /// The file that it reads.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length of a section in bytes, if there is such a section.
    pub fn length(&self, id: u64) -> Option<u64> {
        self.index.entry(id).ok().map(|e| e.length)
    }

    /// The content of a section, its checksum verified.
    ///
    /// # Errors
    /// [`Problem::NoSection`], [`Problem::Changed`], and what the operating system says.
    pub fn section(&self, id: u64) -> Result<Vec<u8>, FileError> {
        self.section_inner(id).map_err(|p| p.of(&self.path))
    }

    /// A section in pieces of the given lengths, which make up all of it, each handed over when it is read: no more of
    /// them than one is in memory. Only in the end is the checksum known to be right.
    ///
    /// # Errors
    /// As [`Self::section`].
    pub fn pieces(
        &self,
        id: u64,
        lengths: &[usize],
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), FileError> {
        self.pieces_inner(id, lengths, take).map_err(|p| p.of(&self.path))
    }

    fn pieces_inner(
        &self,
        id: u64,
        lengths: &[usize],
        hand_over: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Problem> {
        let entry = self.index.entry(id)?;
        let mut hasher = blake3::Hasher::new();
        let (mut at, mut piece) = (entry.start, Vec::new());
        for &length in lengths {
            piece.clear();
            {
                // Others may read between two pieces.
                let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at)).map_err(Problem::Read)?;
                take(&mut file, &mut piece, length)?;
            }
            if piece.len() != length {
                return Err(entry.changed());
            }
            hasher.update(&piece);
            hand_over(&piece);
            at += length as u64;
        }
        entry.compare(&hasher.finalize())
    }

    fn section_inner(&self, id: u64) -> Result<Vec<u8>, Problem> {
        let entry = self.index.entry(id)?;
        let length = usize::try_from(entry.length).map_err(|_| changed_header())?;
        let mut content = Vec::with_capacity(length);
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(entry.start)).map_err(Problem::Read)?;
            take(&mut file, &mut content, length)?;
        }
        entry.check(&content)?;
        Ok(content)
    }
}

/// Reads a whole file into memory.
///
/// # Errors
/// What the operating system says.
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|e| Problem::Read(e).of(path))
}

fn take(file: &mut File, into: &mut Vec<u8>, bytes: usize) -> Result<(), Problem> {
    let read: io::Result<usize> = file.take(bytes as u64).read_to_end(into);
    read.map(|_| ()).map_err(Problem::Read)
}

fn changed_header() -> Problem {
    Problem::Changed { part: "the header".into() }
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}
