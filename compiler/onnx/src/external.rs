//! Weights that lie beside the model in files of their own.
//!
//! A model file is untrusted, and the file name in it is as untrusted as the rest: it must lead to
//! a regular file inside the model's own folder, after every symbolic link is followed.
//! Sizes are compared with the file and with the tensor's shape before anything is allocated.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use crate::error::ExternalError;
use crate::proto;

/// Where external data may come from.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// The model's folder with every link followed; `None` for a model that is not a file.
    root: Option<PathBuf>,
}

/// The part of a file that a tensor names.
struct Part {
    location: String,
    offset: u64,
    length: Option<u64>,
}

impl Folder {
    /// For a model that came as bytes: external data is refused.
    pub(crate) fn none() -> Self {
        Self { root: None }
    }

    /// The folder of a model file.
    pub(crate) fn of_model(path: &Path) -> Self {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Self { root: fs::canonicalize(parent).ok() }
    }

    /// Reads the part that `entries` describe, which must be `wanted` bytes long.
    pub(crate) fn load(
        &self,
        entries: &[proto::StringStringEntryProto],
        wanted: u64,
    ) -> Result<Bytes, ExternalError> {
        let part = Part::parse(entries)?;
        let location = part.location.clone();
        let Some(root) = &self.root else {
            return Err(ExternalError::NoFolder { location });
        };
        let unreadable =
            |reason: String| ExternalError::Unreadable { location: location.clone(), reason };
        let path = inside(root, &location)?;
        let mut file = File::open(&path).map_err(|e| unreadable(e.to_string()))?;
        let metadata = file.metadata().map_err(|e| unreadable(e.to_string()))?;
        if !metadata.is_file() {
            return Err(unreadable("not a regular file".to_owned()));
        }
        let size = metadata.len();
        let found = part.length.unwrap_or_else(|| size.saturating_sub(part.offset));
        let end = part.offset.saturating_add(found);
        if part.offset > size || end > size {
            return Err(ExternalError::PastEnd { location, size, offset: part.offset, end });
        }
        if found != wanted {
            return Err(ExternalError::Length { location, wanted, found });
        }
        let length = usize::try_from(found).map_err(|e| unreadable(e.to_string()))?;
        let mut data = vec![0; length];
        file.seek(SeekFrom::Start(part.offset)).map_err(|e| unreadable(e.to_string()))?;
        file.read_exact(&mut data).map_err(|e| unreadable(e.to_string()))?;
        Ok(Bytes::from(data))
    }
}

impl Part {
    fn parse(entries: &[proto::StringStringEntryProto]) -> Result<Self, ExternalError> {
        let value = |key: &str| {
            let entry = entries.iter().find(|e| e.key.as_deref() == Some(key));
            entry.and_then(|e| e.value.as_deref())
        };
        let number = |key: &'static str| match value(key) {
            None => Ok(None),
            Some(text) => text
                .trim()
                .parse::<u64>()
                .map(Some)
                .map_err(|_| ExternalError::NotANumber { key, found: text.to_owned() }),
        };
        let location = value("location").filter(|l| !l.is_empty());
        let location = location.ok_or(ExternalError::NoLocation)?.to_owned();
        Ok(Self { location, offset: number("offset")?.unwrap_or(0), length: number("length")? })
    }
}

/// The file that `location` names, if it lies inside `root` with every link followed.
fn inside(root: &Path, location: &str) -> Result<PathBuf, ExternalError> {
    let outside = || ExternalError::Outside { location: location.to_owned() };
    let relative = Path::new(location);
    let plain = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
    if !relative.components().all(plain) {
        return Err(outside());
    }
    let path = fs::canonicalize(root.join(relative)).map_err(|e| ExternalError::Unreadable {
        location: location.to_owned(),
        reason: e.to_string(),
    })?;
    if path.starts_with(root) { Ok(path) } else { Err(outside()) }
}
