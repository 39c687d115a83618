use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::*;

fn sample() -> Vec<u8> {
    to_bytes(Kind::Plan, &[(0, b"instructions"), (7, b""), (1, b"constants")])
}

fn message(bytes: &[u8]) -> String {
    match Container::parse(bytes, Kind::Plan) {
        Err(problem) => problem.of(Path::new("a.plan")).to_string(),
        Ok(_) => "sound".into(),
    }
}

#[test]
fn sections_come_back() {
    let bytes = sample();
    let c = Container::parse(&bytes, Kind::Plan).unwrap();
    assert_eq!(c.ids().collect::<Vec<_>>(), [0, 7, 1]);
    assert_eq!(c.section(0).unwrap(), b"instructions");
    assert_eq!(c.section(7).unwrap(), b"");
    assert_eq!(c.section(1).unwrap(), b"constants");
    assert!(matches!(c.section(2), Err(Problem::NoSection { id: 2 })));
    assert!(message(&to_bytes(Kind::Plan, &[(3, b"a"), (3, b"b")])).contains("two sections 3"));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let good = sample();
    for i in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[i / 8] ^= 1 << (i % 8);
        let read = Container::parse(&bytes, Kind::Plan)
            .and_then(|c| [0, 7, 1].into_iter().try_for_each(|id| c.section(id).map(|_| ())));
        assert!(read.is_err(), "bit {i}");
    }
}

#[test]
fn every_truncation_is_noticed_and_named() {
    let good = sample();
    for n in 1..good.len() {
        let text = message(&good[..n]);
        assert!(text.starts_with(&format!("a.plan: is cut: {n} of ")), "{text}");
    }
    let longer = [good, vec![0]].concat();
    assert!(message(&longer).contains("is too long"));
}

#[test]
fn wrong_files_are_told_apart() {
    assert!(message(b"").starts_with("a.plan: is empty, not a plan"));
    assert!(message(b"\x93NUMPY\x01\x00").contains("is a NumPy array, not a plan"));
    assert!(message(b"// heplan key parameters").contains("is a file of key parameters"));
    assert!(message(&[9; 80]).contains("is another kind of file, not a plan"));
    let key = to_bytes(Kind::SecretKey, &[]);
    assert!(message(&key).contains("is a secret key, not a plan"));
    let mut newer = sample();
    newer[8] = 2;
    assert!(message(&newer).contains("was written by a newer version (format 2"));
    let mut changed = sample();
    changed[30] ^= 1;
    assert!(message(&changed).contains("was changed: the checksum of the header differs"));
}

#[test]
fn a_file_gives_single_sections_and_notices_the_changed_one_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.plan");
    let mut bytes = sample();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let reader = SectionReader::open(&path, Kind::Plan).unwrap();
    assert_eq!(reader.section(0).unwrap(), b"instructions");
    assert_eq!(reader.length(1), Some(9));
    assert!(reader.section(1).unwrap_err().to_string().contains("checksum of section 1"));
    for n in [0, 5, 30, 60, 150, bytes.len() - 1] {
        fs::write(&path, &bytes[..n]).unwrap();
        assert!(SectionReader::open(&path, Kind::Plan).is_err(), "{n}");
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.npy");
    write_atomic(&path, None, |w| w.write_all(b"old")).unwrap();
    let failed = write_atomic(&path, None, |w| {
        w.write_all(&[1; 100_000])?;
        Err::<(), _>(std::io::Error::other("disk full"))
    });
    let text = failed.unwrap_err().to_string();
    assert!(text.contains("x.npy: cannot be written: disk full"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert!(write_atomic(dir.path(), None, |_| Ok(())).is_err());
    assert!(write_atomic(&dir.path().join("no/such.key"), None, |_| Ok(())).is_err());
}

#[cfg(unix)]
#[test]
fn secrets_are_private_even_over_a_public_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.key");
    fs::write(&path, b"public").unwrap();
    write_atomic(&path, Some(SECRET_MODE), |w| {
        let inside = w.get_ref().metadata()?.permissions().mode();
        assert_eq!(inside & 0o777, 0o600);
        w.write_all(b"secret")
    })
    .unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&path).unwrap(), b"secret");
}
