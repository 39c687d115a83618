//! Writing: containers, and any file so that a killed command leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{ENTRY, FIXED, FileError, Kind, Problem, VERSION};

/// Writes a container section by section, so that no file is ever held in memory as a whole.
///
/// The table comes first in the file but its checksums are known last: its place is kept free and
/// [`finish`](Self::finish) fills it in.
#[derive(Debug)]
pub struct SectionWriter<W> {
    out: W,
    start: u64,
    kind: Kind,
    sections: usize,
    table: Vec<u8>,
    length: u64,
}

impl<W: Write + Seek> SectionWriter<W> {
    /// Begins a container with exactly `sections` sections.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(mut out: W, kind: Kind, sections: usize) -> io::Result<Self> {
        let start = out.stream_position()?;
        let length = FIXED + sections * ENTRY;
        out.write_all(&vec![0; length])?;
        let length = length as u64;
        Ok(Self { out, start, kind, sections, table: Vec::new(), length })
    }

    /// Appends a section.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn section(&mut self, id: u64, content: &[u8]) -> io::Result<()> {
        self.out.write_all(content)?;
        self.table.extend(id.to_le_bytes());
        self.table.extend((content.len() as u64).to_le_bytes());
        self.table.extend(blake3::hash(content).as_bytes());
        self.length += content.len() as u64;
        Ok(())
    }

    /// Writes header and table and gives the writer back, at the end of the container.
    ///
    /// # Errors
    /// Those of the writer, and a number of sections other than announced.
    pub fn finish(mut self) -> io::Result<W> {
        let count = self.table.len() / ENTRY;
        let sections = u32::try_from(count).ok().filter(|_| count == self.sections);
        let sections = sections.ok_or_else(|| {
            io::Error::other(format!("{count} sections written, {} announced", self.sections))
        })?;
        let mut head = self.kind.magic().to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend([0, 0]);
        head.extend(sections.to_le_bytes());
        head.extend(self.length.to_le_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head).update(&self.table);
        self.out.seek(SeekFrom::Start(self.start))?;
        self.out.write_all(&head)?;
        self.out.write_all(hasher.finalize().as_bytes())?;
        self.out.write_all(&self.table)?;
        self.out.seek(SeekFrom::Start(self.start + self.length))?;
        Ok(self.out)
    }
}

/// A container in memory.
pub fn to_bytes(kind: Kind, sections: &[(u64, &[u8])]) -> Vec<u8> {
    let write = || {
        let mut w = SectionWriter::new(Cursor::new(Vec::new()), kind, sections.len())?;
        sections.iter().try_for_each(|(id, content)| w.section(*id, content))?;
        w.finish()
    };
    write().expect("writing to memory does not fail").into_inner()
}

/// Writes a file beside its target, syncs it and renames it over the target.
///
/// `mode` gives the permission bits from the moment of creation ([`SECRET_MODE`](super::SECRET_MODE)
/// for secrets); without it the process's mask decides. A target that is a symbolic link keeps
/// being one. On any error the target is as it was and nothing else is left.
///
/// # Errors
/// [`Problem::Write`] with the path of the target, whatever part of it failed.
pub fn write_atomic<T>(
    path: &Path,
    mode: Option<u32>,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> Result<T, FileError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if fs::metadata(&target).is_ok_and(|m| !m.is_file()) {
        return Err(Problem::NotRegular.of(path));
    }
    replace(&target, mode, fill).map_err(|e| Problem::Write(e).of(path))
}

fn replace<T>(
    target: &Path,
    mode: Option<u32>,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let name = target.file_name().ok_or_else(|| io::Error::other("it has no file name"))?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(mode.unwrap_or(0o666)));
    }
    #[cfg(not(unix))]
    let _ = mode;
    // The file removes itself when dropped without `persist`.
    let (file, guard) = builder.tempfile_in(&folder)?.into_parts();
    let mut out = BufWriter::new(file);
    let value = fill(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    drop(out);
    guard.persist(target).map_err(|e| e.error)?;
    // The rename itself lives in the folder; not every file system lets a folder be synced.
    if let Ok(folder) = File::open(&folder) {
        let _ = folder.sync_all();
    }
    Ok(value)
}
