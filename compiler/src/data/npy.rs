//! The `.npy` format: one array, as `numpy.lib.format` (versions 1 to 3) describes it.
//!
//! Files are hostile: the header bounds what is read, and memory grows only with bytes that are
//! really there. Every number type becomes `f64`, every order row-major.

use std::io::{Read, Write};

use super::DataError;

/// Longest header that is read; numpy's own are below 200 bytes.
const MAX_HEADER: usize = 1 << 16;
/// Most elements of one array: 2^31.
const MAX_ELEMENTS: usize = 1 << 31;

/// A tensor of real numbers in row-major order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Array {
    /// Its shape; a scalar has the empty shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Vec<f64>,
    /// Whether the file stores integers or booleans.
    pub integer: bool,
}

/// The number type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dtype {
    kind: u8,
    bytes: usize,
    big_endian: bool,
}

/// Reads one array; `name` is what messages call it.
///
/// # Errors
/// If it is not a `.npy` file, is cut, or holds something that is not a real number.
pub fn read(name: &str, mut source: impl Read) -> Result<Array, DataError> {
    let header = read_header(name, &mut source)?;
    let bad = |what: &str| DataError::NotNpy { name: name.to_owned(), what: what.to_owned() };
    let descr = field(&header, "descr").ok_or_else(|| bad("its header has no type"))?;
    let dtype = parse_dtype(descr).ok_or_else(|| DataError::Dtype {
        name: name.to_owned(),
        dtype: descr.chars().take(40).collect(),
    })?;
    let fortran = match field(&header, "fortran_order").map(str::trim) {
        Some("True") => true,
        Some("False") => false,
        _ => return Err(bad("its header has no order")),
    };
    let shape = field(&header, "shape")
        .and_then(parse_shape)
        .ok_or_else(|| bad("its header has no readable shape"))?;
    let elements = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| bad("its shape is too large"))?;
    let wanted = elements * dtype.bytes;
    let mut raw = Vec::new();
    source
        .take(wanted as u64)
        .read_to_end(&mut raw)
        .map_err(|source| DataError::Io { name: name.to_owned(), source })?;
    if raw.len() != wanted {
        return Err(bad(&format!("it is cut: {} of {wanted} bytes of data", raw.len())));
    }
    let data: Vec<f64> = raw.chunks_exact(dtype.bytes).map(|b| number(b, dtype)).collect();
    let data = if fortran { transpose(&shape, &data) } else { data };
    Ok(Array { shape, data, integer: matches!(dtype.kind, b'i' | b'u' | b'b') })
}

/// Writes an array as `.npy` version 1, row-major, as float32 or (with `double`) float64.
///
/// # Errors
/// Whatever the writer reports.
pub fn write(
    mut out: impl Write,
    shape: &[usize],
    data: &[f64],
    double: bool,
) -> std::io::Result<()> {
    write_header(&mut out, if double { "<f8" } else { "<f4" }, shape)?;
    let mut body = Vec::with_capacity(data.len() * if double { 8 } else { 4 });
    for &v in data {
        if double {
            body.extend(v.to_le_bytes());
        } else {
            body.extend((v as f32).to_le_bytes());
        }
    }
    out.write_all(&body)
}

/// Writes words as `.npy` version 1, row-major, each as wide as the longest in characters.
///
/// # Errors
/// Whatever the writer reports.
pub fn write_words(mut out: impl Write, shape: &[usize], words: &[&str]) -> std::io::Result<()> {
    // An empty word has no character, but numpy's narrowest type has one.
    let width = words.iter().map(|w| w.chars().count()).max().unwrap_or(0).max(1);
    write_header(&mut out, &format!("<U{width}"), shape)?;
    for word in words {
        let padding = std::iter::repeat_n('\0', width - word.chars().count());
        let bytes: Vec<u8> =
            word.chars().chain(padding).flat_map(|c| u32::from(c).to_le_bytes()).collect();
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Writes everything in front of the elements.
fn write_header(out: &mut impl Write, descr: &str, shape: &[usize]) -> std::io::Result<()> {
    let dims: Vec<String> = shape.iter().map(|d| format!("{d},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", dims.join(" "));
    // Magic, version, length and header together fill a multiple of 64 bytes.
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(std::io::Error::other)?;
    out.write_all(b"\x93NUMPY\x01\x00")?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(header.as_bytes())
}

/// Checks the magic and returns the header's text.
fn read_header(name: &str, source: &mut impl Read) -> Result<String, DataError> {
    let bad = |what: &str| DataError::NotNpy { name: name.to_owned(), what: what.to_owned() };
    let mut fixed = [0u8; 8];
    source.read_exact(&mut fixed).map_err(|_| bad("it is shorter than a header"))?;
    if &fixed[..6] != b"\x93NUMPY" {
        return Err(bad("it does not begin as one"));
    }
    let wide = match fixed[6] {
        1 => false,
        2 | 3 => true,
        _ => return Err(bad(&format!("its format version is {}", fixed[6]))),
    };
    let mut length = [0u8; 4];
    source
        .read_exact(&mut length[..if wide { 4 } else { 2 }])
        .map_err(|_| bad("its header is cut"))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_HEADER {
        return Err(bad("its header is too long"));
    }
    let mut header = vec![0u8; length];
    source.read_exact(&mut header).map_err(|_| bad("its header is cut"))?;
    String::from_utf8(header).map_err(|_| bad("its header is not text"))
}

/// The text of a value of the header's Python dictionary.
fn field<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = [format!("'{key}'"), format!("\"{key}\"")]
        .iter()
        .find_map(|quoted| header.find(quoted).map(|i| i + quoted.len()))?;
    let rest = header[at..].trim_start().strip_prefix(':')?.trim_start();
    match rest.chars().next()? {
        quote @ ('\'' | '"') => rest[1..].split(quote).next(),
        '(' => rest[1..].split(')').next(),
        _ => rest.split([',', '}']).next(),
    }
}

fn parse_dtype(descr: &str) -> Option<Dtype> {
    let mut bytes = descr.bytes();
    let order = bytes.next()?;
    let kind = bytes.next()?;
    let size: usize = descr.get(2..)?.parse().ok()?;
    let known = match kind {
        b'f' => matches!(size, 2 | 4 | 8),
        b'i' | b'u' => matches!(size, 1 | 2 | 4 | 8),
        b'b' => size == 1,
        _ => false,
    };
    let ordered = matches!(order, b'<' | b'>' | b'|' | b'=');
    (known && ordered).then_some(Dtype { kind, bytes: size, big_endian: order == b'>' })
}

fn parse_shape(text: &str) -> Option<Vec<usize>> {
    let dims = text.split(',').map(str::trim).filter(|d| !d.is_empty());
    dims.map(|d| d.trim_end_matches('L').parse().ok()).collect()
}

/// One number from its bytes.
fn number(bytes: &[u8], dtype: Dtype) -> f64 {
    let mut le = [0u8; 8];
    for (i, slot) in le.iter_mut().take(bytes.len()).enumerate() {
        *slot = bytes[if dtype.big_endian { bytes.len() - 1 - i } else { i }];
    }
    let bits = u64::from_le_bytes(le);
    match (dtype.kind, dtype.bytes) {
        (b'f', 2) => half(bits as u16),
        (b'f', 4) => f64::from(f32::from_bits(bits as u32)),
        (b'f', _) => f64::from_bits(bits),
        (b'i', size) => {
            let unused = 64 - 8 * size as u32;
            ((bits << unused) as i64 >> unused) as f64
        }
        (b'b', _) => f64::from(u8::from(bits != 0)),
        _ => bits as f64,
    }
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f64::from(bits & 1023);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}

/// Column-major elements in row-major order.
fn transpose(shape: &[usize], data: &[f64]) -> Vec<f64> {
    let mut stride = Vec::with_capacity(shape.len());
    let mut step = 1;
    for &d in shape {
        stride.push(step);
        step *= d;
    }
    let source = |mut flat: usize| {
        let mut at = 0;
        for (&d, &s) in shape.iter().zip(&stride).rev() {
            at += flat % d * s;
            flat /= d;
        }
        at
    };
    (0..data.len()).map(|i| data[source(i)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A version 1 file with this header and body, as numpy lays it out.
    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(body);
        out
    }

    #[test]
    fn every_number_type_is_read() {
        let cases: [(&str, &[u8], f64); 9] = [
            ("<f4", &1.5f32.to_le_bytes(), 1.5),
            (">f8", &(-2.25f64).to_be_bytes(), -2.25),
            ("<f2", &[0x00, 0x3e], 1.5),
            ("<f2", &[0x01, 0x80], -(2f64.powi(-24))),
            ("|i1", &[0xff], -1.0),
            ("|u1", &[0xff], 255.0),
            (">i2", &[0xff, 0xfe], -2.0),
            ("<i8", &(-7i64).to_le_bytes(), -7.0),
            ("|b1", &[1], 1.0),
        ];
        for (descr, bytes, value) in cases {
            let header =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}\n");
            let a = read("a", file(&header, bytes).as_slice()).unwrap();
            assert_eq!((a.shape, a.data), (vec![1], vec![value]), "{descr}");
        }
    }

    #[test]
    fn column_major_arrays_are_turned() {
        let body: Vec<u8> =
            [1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }";
        let a = read("a", file(header, &body).as_slice()).unwrap();
        assert_eq!(a.data, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn written_arrays_are_read_back() {
        for (shape, double) in [(vec![2, 3], true), (vec![6], false), (vec![1, 6, 1], false)] {
            let data = [0.5, -1.0, 3.25, 0.0, 7.0, 1e6];
            let mut bytes = Vec::new();
            write(&mut bytes, &shape, &data, double).unwrap();
            let a = read("a", bytes.as_slice()).unwrap();
            assert_eq!((a.shape, a.data), (shape, data.to_vec()));
        }
    }

    #[test]
    fn words_are_padded_to_the_longest() {
        let mut bytes = Vec::new();
        write_words(&mut bytes, &[2, 1], &["é", "oak"]).unwrap();
        let body = bytes.split_off(bytes.len() - 24);
        let header = String::from_utf8_lossy(&bytes[10..]);
        assert!(header.contains("'<U3'") && header.contains("(2, 1,)"), "{header}");
        assert_eq!(bytes.len() % 64, 0);
        let units: Vec<u32> =
            body.chunks(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!(units, [0xe9, 0, 0, u32::from('o'), u32::from('a'), u32::from('k')]);
    }

    #[test]
    fn bad_files_are_refused() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        let bodies: [(Vec<u8>, &str); 6] = [
            (Vec::new(), "shorter"),
            (b"PK\x03\x04 and more".to_vec(), "begin"),
            (file(good, &[0; 7]), "7 of 8"),
            (file(&good.replace("(2,)", "(99999999999, 99999999999)"), &[]), "too large"),
            (file(&good.replace("<f4", "|O8"), &[0; 16]), "|O8"),
            (file(&good.replace("(2,)", "(-2,)"), &[0; 16]), "shape"),
        ];
        for (bytes, part) in bodies {
            let message = read("a", bytes.as_slice()).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
