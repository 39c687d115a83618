//! Where results go: default names, and writes that leave nothing behind when they fail.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// The plan that compilation of `model` writes by default: `model.plan` beside it.
pub(crate) fn plan_path(model: &Path) -> PathBuf {
    model.with_extension("plan")
}

/// The key parameters beside a plan: `X.plan` goes with `X.keyparams`.
pub(crate) fn keyparams_path(plan: &Path) -> PathBuf {
    if plan.extension().is_some_and(|e| e == "keyparams") {
        return appended(plan, ".keyparams");
    }
    plan.with_extension("keyparams")
}

/// The evaluation keys beside a secret key: `client.key` goes with `client.key.pub`.
pub(crate) fn public_path(key: &Path) -> PathBuf {
    appended(key, ".pub")
}

/// The ciphertext of an input array: `input.npy` becomes `input.enc`.
pub(crate) fn encrypted_path(input: &Path) -> PathBuf {
    input.with_extension("enc")
}

/// The ciphertext that a run gives: `input.enc` becomes `output.enc`, `seven.enc` becomes
/// `seven.output.enc`.
pub(crate) fn result_path(input: &Path) -> PathBuf {
    let stem = input.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let name = if stem.contains("input") {
        stem.replacen("input", "output", 1)
    } else {
        format!("{stem}.output")
    };
    input.with_file_name(format!("{name}.enc"))
}

/// The array that decryption gives: `output.enc` becomes `output.npy`, or `.npz` for several.
pub(crate) fn decrypted_path(output: &Path, arrays: usize) -> PathBuf {
    output.with_extension(if arrays == 1 { "npy" } else { "npz" })
}

/// Refuses a target that would overwrite what the command reads, or whose folder does not exist,
/// before any work is done for it.
pub(crate) fn check_target(target: &Path, sources: &[&Path]) -> anyhow::Result<()> {
    let same = |a: &Path, b: &Path| {
        a == b || a.canonicalize().ok().zip(b.canonicalize().ok()).is_some_and(|(a, b)| a == b)
    };
    if sources.iter().any(|s| same(target, s)) {
        bail!("{}: is an input of this command; choose another -o", target.display());
    }
    match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            bail!("{}: cannot be written: there is no such folder", target.display())
        }
        _ => Ok(()),
    }
}

fn appended(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_follow_the_input() {
        let at = |p: &str| PathBuf::from(p);
        assert_eq!(plan_path(&at("a/model.onnx")), at("a/model.plan"));
        assert_eq!(keyparams_path(&at("a/x.plan")), at("a/x.keyparams"));
        assert_eq!(public_path(&at("client.key")), at("client.key.pub"));
        assert_eq!(encrypted_path(&at("b/input.npy")), at("b/input.enc"));
        assert_eq!(result_path(&at("b/input.enc")), at("b/output.enc"));
        assert_eq!(result_path(&at("seven.enc")), at("seven.output.enc"));
        assert_eq!(decrypted_path(&at("output.enc"), 1), at("output.npy"));
        assert_eq!(decrypted_path(&at("output.enc"), 2), at("output.npz"));
    }
}
