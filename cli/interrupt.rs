//! Ctrl-C: long work asks [`check`] and stops in order; what does not ask is ended after a moment.
//!
//! Files appear by renaming a finished one, so neither way leaves half a file behind. The second
//! way also removes the temporary file of a write that it cuts short.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static RAISED: AtomicBool = AtomicBool::new(false);
static TARGET: Mutex<Option<PathBuf>> = Mutex::new(None);

/// How long work may take to notice.
const GRACE: Duration = Duration::from_millis(700);

/// The user ended the command.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing is left half-written")]
pub(crate) struct Interrupted;

/// Handles SIGINT, SIGTERM and SIGHUP from here on.
pub(crate) fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        RAISED.store(true, Ordering::Relaxed);
        std::thread::sleep(GRACE);
        let target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = target.as_deref() {
            remove_parts(target);
        }
        crate::ui::complain(&format!("error: {Interrupted}"));
        #[allow(clippy::exit, reason = "the main thread is busy and owns nothing on the disk")]
        std::process::exit(1);
    })?;
    Ok(())
}

/// What the user's wish to end the command sets.
pub(crate) fn flag() -> &'static AtomicBool {
    &RAISED
}

/// Fails once the user has asked to end the command.
pub(crate) fn check() -> Result<(), Interrupted> {
    if RAISED.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
}

/// Runs `write`, which writes `target`; ending the command then leaves no temporary file of it.
pub(crate) fn while_writing<T, E>(
    target: &Path,
    write: impl FnOnce() -> Result<T, E>,
) -> anyhow::Result<T>
where
    anyhow::Error: From<E>,
{
    check()?;
    let set = |value| *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = value;
    set(Some(target.to_path_buf()));
    let result = write();
    set(None);
    Ok(result?)
}

/// Removes the temporary files of an atomic write to `target`: `.NAME*.part` beside it.
fn remove_parts(target: &Path) {
    let Some(name) = target.file_name().map(|n| format!(".{}", n.to_string_lossy())) else {
        return;
    };
    let folder = match target.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        if found.starts_with(&name) && found.ends_with(".part") {
            let _gone_already = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_parts_of_the_target_are_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in [".a.planXy12.part", "a.plan", ".b.planXy12.part"] {
            fs::write(at(name), b"x").expect("written");
        }
        remove_parts(&at("a.plan"));
        assert!(!at(".a.planXy12.part").exists());
        assert!(at("a.plan").exists() && at(".b.planXy12.part").exists());
    }
}
