//! Sample data of a model: calibration and test sets, single input arrays.
//!
//! Reads `.npz`, `.zip` of `.npy` files (HE-MAN's calibration format) and single `.npy` files, and
//! matches their arrays with the model's inputs. Nothing here runs a model.

pub mod npy;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::tensor::{Graph, Op};

pub use npy::Array;

/// Most arrays in one archive.
const MAX_ARRAYS: usize = 1 << 20;

/// Why a data file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system says no.
    #[error("cannot read {name}: {source}")]
    Io {
        /// File or member of the archive.
        name: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The bytes are no `.npy` array.
    #[error("{name} is not a numpy array: {what}")]
    NotNpy {
        /// File or member of the archive.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The bytes are no archive.
    #[error("{name} is neither a numpy array nor an archive of them: {what}")]
    NotZip {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// The elements are not real numbers.
    #[error("{name} holds elements of type {dtype:?}, not real numbers")]
    Dtype {
        /// File or member of the archive.
        name: String,
        /// numpy's name of the type.
        dtype: String,
    },
    /// A number is NaN or infinite.
    #[error("{name} holds {value} at {index:?}")]
    NotFinite {
        /// File or member of the archive.
        name: String,
        /// The number.
        value: f64,
        /// Where it stands.
        index: Vec<usize>,
    },
}

impl From<DataError> for Diagnostic {
    fn from(error: DataError) -> Self {
        Self::new(Code::Calibration, error.to_string())
    }
}

/// Name and shape of a model input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// The ONNX name.
    pub name: String,
    /// The shape, batch axis (bound to 1) included.
    pub shape: Vec<usize>,
}

impl InputSpec {
    /// The inputs of a graph, in the order of its `Input` operations.
    pub fn of(graph: &Graph) -> Vec<Self> {
        let named = graph.values.iter().filter_map(|v| match &v.op {
            Op::Input { name } => Some(Self { name: name.clone(), shape: v.shape.clone() }),
            _ => None,
        });
        named.collect()
    }

    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many samples an array of this shape holds, or `None` if it does not fit.
    fn samples(&self, shape: &[usize]) -> Option<usize> {
        let bare = match self.shape.split_first() {
            Some((1, rest)) => rest,
            _ => &self.shape[..],
        };
        if shape == self.shape || shape == bare {
            return Some(1);
        }
        let (&count, rest) = shape.split_first()?;
        // Flattened elements have one order; any other shape may mean another layout.
        let flat = rest.len() == 1 || bare.len() == 1;
        let same = flat && rest.iter().product::<usize>() == self.elements();
        (rest == bare || rest == self.shape || same).then_some(count)
    }

    /// Splits an array whose leading axis may count samples into one tensor per sample.
    ///
    /// # Errors
    /// If the shape is neither the input's, nor that without the batch axis, nor one of these
    /// with a leading axis, nor a leading axis before flattened elements; or if a number is not
    /// finite.
    pub fn split(&self, name: &str, array: &Array) -> Result<Vec<Vec<f64>>, Vec<Diagnostic>> {
        let Some(count) = self.samples(&array.shape) else {
            return Err(vec![self.misfit(name, array)]);
        };
        finite(name, array).map_err(|e| vec![e.into()])?;
        let size = self.elements();
        Ok((0..count).map(|i| array.data[i * size..(i + 1) * size].to_vec()).collect())
    }

    fn misfit(&self, name: &str, array: &Array) -> Diagnostic {
        let message = format!(
            "array {name:?} of shape {:?} does not fit input {:?} of shape {:?}",
            array.shape, self.name, self.shape
        );
        let bare = match self.shape.split_first() {
            Some((1, rest)) => rest,
            _ => &self.shape[..],
        };
        let batch: Vec<String> = std::iter::once("samples".to_owned())
            .chain(bare.iter().map(usize::to_string))
            .collect();
        Diagnostic::new(Code::Calibration, message)
            .help(format!("store the samples as one array of shape [{}]", batch.join(", ")))
    }
}

/// The arrays of a file, by name in the file's order. A single `.npy` has one array, named by the
/// file's stem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    /// Names (without `.npy`) and contents.
    pub arrays: Vec<(String, Array)>,
}

impl Archive {
    /// Reads every array of an `.npz`, of a `.zip` of `.npy` files, or a single `.npy`. The kind
    /// is told by the content, not by the name.
    ///
    /// # Errors
    /// If the file cannot be read, is none of these, or is cut.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let name = file_name(path);
        let io = |source| DataError::Io { name: name.clone(), source };
        let file = File::open(path).map_err(io)?;
        if starts_with_zip(path).map_err(io)? {
            return Self::read_zip(&name, file);
        }
        let array = npy::read(&name, BufReader::new(file))?;
        let stem = path.file_stem().map_or(name, |s| s.to_string_lossy().into_owned());
        Ok(Self { arrays: vec![(stem, array)] })
    }

    fn read_zip(name: &str, file: File) -> Result<Self, DataError> {
        let bad = |what: String| DataError::NotZip { name: name.to_owned(), what };
        let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| bad(e.to_string()))?;
        if zip.len() > MAX_ARRAYS {
            return Err(bad(format!("it has {} members", zip.len())));
        }
        let mut arrays = Vec::new();
        for i in 0..zip.len() {
            let member = zip.by_index(i).map_err(|e| bad(e.to_string()))?;
            if member.is_dir() {
                continue;
            }
            let inner = member.name().map_err(|e| bad(e.to_string()))?.into_owned();
            let Some(stem) = inner.strip_suffix(".npy") else {
                return Err(bad(format!("its member {inner:?} is not an .npy file")));
            };
            let array = npy::read(&format!("{name}:{inner}"), member)?;
            arrays.push((stem.to_owned(), array));
        }
        arrays.sort_by_key(|a| natural(&a.0));
        Ok(Self { arrays })
    }

    /// The array with this name.
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.arrays.iter().find(|a| a.0 == name).map(|a| &a.1)
    }
}

/// A set of samples for a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// `inputs[i][s]`: the elements of input `i` (in the graph's order) in sample `s`.
    pub inputs: Vec<Vec<Vec<f64>>>,
    /// The class of each sample, where the file has an array `y` of integers.
    pub labels: Option<Vec<i64>>,
    /// The expected first output of each sample, where the file has an array `out`.
    pub expected: Option<Vec<Vec<f64>>>,
}

impl Samples {
    /// Reads a set for a model with these inputs: for each the array of its name, else (for a
    /// single input) `x`, else every array whose shape fits; one array per sample or batched.
    ///
    /// # Errors
    /// Every finding about the file, with code [`Code::Calibration`].
    pub fn read(path: &Path, inputs: &[InputSpec]) -> Result<Self, Vec<Diagnostic>> {
        let archive = Archive::read(path).map_err(|e| vec![Diagnostic::from(e)])?;
        Self::from_archive(&file_name(path), &archive, inputs)
    }

    /// The same from arrays in memory; `file` is what messages call their source.
    ///
    /// # Errors
    /// As [`Samples::read`].
    pub fn from_archive(
        file: &str,
        archive: &Archive,
        inputs: &[InputSpec],
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut found = Vec::new();
        let mut errors = Vec::new();
        for spec in inputs {
            match samples_of(file, archive, spec, inputs.len() == 1) {
                Ok(samples) => found.push(samples),
                Err(more) => errors.extend(more),
            }
        }
        let counts: Vec<usize> = found.iter().map(Vec::len).collect();
        if let Some(other) = counts.iter().find(|&&c| c != counts[0]) {
            let message =
                format!("{file} has {} samples of one input and {other} of another", counts[0]);
            errors.push(Diagnostic::new(Code::Calibration, message));
        }
        if counts.first() == Some(&0) {
            errors.push(Diagnostic::new(Code::Calibration, format!("{file} holds no sample")));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let count = counts.first().copied().unwrap_or(0);
        Ok(Self {
            inputs: found,
            labels: labels(archive, count),
            expected: expected(archive, count),
        })
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.first().map_or(0, Vec::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs of sample `s`.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn sample(&self, s: usize) -> Vec<Vec<f64>> {
        self.inputs.iter().map(|i| i[s].clone()).collect()
    }
}

/// Reads a single array, from an `.npy` or from the first array of an archive.
///
/// # Errors
/// As [`Archive::read`]; also if it holds nothing or a number that is not finite.
pub fn read_array(path: &Path) -> Result<(Vec<usize>, Vec<f64>), DataError> {
    let name = file_name(path);
    let Some((inner, array)) = Archive::read(path)?.arrays.into_iter().next() else {
        return Err(DataError::NotZip { name, what: "it is empty".into() });
    };
    finite(&inner, &array)?;
    Ok((array.shape, array.data))
}

/// Writes an array as `.npy`, float32 or (with `double`) float64.
///
/// # Errors
/// Whatever the writer reports.
pub fn write_npy(
    out: impl std::io::Write,
    shape: &[usize],
    data: &[f64],
    double: bool,
) -> std::io::Result<()> {
    npy::write(out, shape, data, double)
}

/// Writes words as `.npy`, row-major; numpy reads them as strings.
///
/// # Errors
/// Whatever the writer reports.
pub fn write_npy_words(
    out: impl std::io::Write,
    shape: &[usize],
    words: &[&str],
) -> std::io::Result<()> {
    npy::write_words(out, shape, words)
}

/// The samples of one input.
fn samples_of(
    file: &str,
    archive: &Archive,
    spec: &InputSpec,
    single: bool,
) -> Result<Vec<Vec<f64>>, Vec<Diagnostic>> {
    let named = [Some(spec.name.as_str()), single.then_some("x")]
        .into_iter()
        .flatten()
        .find_map(|name| archive.get(name).map(|a| (name, a)));
    if let Some((name, array)) = named {
        return spec.split(name, array);
    }
    if archive.arrays.is_empty() {
        return Err(vec![Diagnostic::new(Code::Calibration, format!("{file} holds no array"))]);
    }
    let fitting: Vec<&(String, Array)> = archive
        .arrays
        .iter()
        .filter(|(name, a)| name != "y" && spec.samples(&a.shape).is_some())
        .collect();
    if fitting.is_empty() || !single {
        if let [(name, array)] = archive.arrays.as_slice() {
            return spec.split(name, array);
        }
        let shapes = archive.arrays.iter().take(8).map(|(n, a)| format!("{n:?} {:?}", a.shape));
        let message =
            format!("{file} has no array for input {:?} of shape {:?}", spec.name, spec.shape);
        let finding = Diagnostic::new(Code::Calibration, message)
            .note(format!("it has {}", shapes.collect::<Vec<_>>().join(", ")))
            .help(format!("name the array {:?}", spec.name));
        return Err(vec![finding]);
    }
    let mut samples = Vec::new();
    for (name, array) in fitting {
        samples.extend(spec.split(name, array)?);
    }
    Ok(samples)
}

/// Refuses NaN and infinity.
fn finite(name: &str, array: &Array) -> Result<(), DataError> {
    let Some(mut at) = array.data.iter().position(|v| !v.is_finite()) else {
        return Ok(());
    };
    let value = array.data[at];
    let mut index: Vec<usize> = Vec::new();
    for &d in array.shape.iter().rev() {
        index.push(at % d);
        at /= d;
    }
    index.reverse();
    Err(DataError::NotFinite { name: name.to_owned(), value, index })
}

/// The array `y`, if it holds one integer per sample.
fn labels(archive: &Archive, count: usize) -> Option<Vec<i64>> {
    let y = archive.get("y").filter(|y| y.integer && y.data.len() == count)?;
    Some(y.data.iter().map(|&v| v as i64).collect())
}

/// The array `out`, if it has one row of finite numbers per sample.
fn expected(archive: &Archive, count: usize) -> Option<Vec<Vec<f64>>> {
    let out = archive.get("out").filter(|o| o.shape.first() == Some(&count) && count > 0)?;
    let size = out.data.len() / count;
    let whole = size > 0 && out.data.iter().all(|v| v.is_finite());
    whole.then(|| out.data.chunks_exact(size).map(<[f64]>::to_vec).collect())
}

/// Sort key under which `2.npy` comes before `10.npy`.
fn natural(name: &str) -> (String, u64, String) {
    let digits = name.chars().rev().take_while(char::is_ascii_digit).count();
    let (stem, number) = name.split_at(name.len() - digits);
    (stem.to_owned(), number.parse().unwrap_or(u64::MAX), name.to_owned())
}

fn starts_with_zip(path: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut magic = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut magic)?;
    // The second form is that of an archive without members.
    Ok(magic == b"PK\x03\x04" || magic == b"PK\x05\x06")
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.to_string_lossy(), |n| n.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: &[usize]) -> InputSpec {
        InputSpec { name: "input".into(), shape: shape.to_vec() }
    }

    fn array(shape: &[usize]) -> Array {
        let n: usize = shape.iter().product();
        Array { shape: shape.to_vec(), data: (0..n).map(|i| i as f64).collect(), integer: false }
    }

    fn archive(arrays: &[(&str, Array)]) -> Archive {
        Archive { arrays: arrays.iter().map(|(n, a)| ((*n).to_owned(), a.clone())).collect() }
    }

    #[test]
    fn batches_and_single_samples_fit() {
        let input = spec(&[1, 2, 3]);
        let cases: [(&[usize], Option<usize>); 7] = [
            (&[1, 2, 3], Some(1)),
            (&[2, 3], Some(1)),
            (&[5, 2, 3], Some(5)),
            (&[5, 1, 2, 3], Some(5)),
            (&[0, 2, 3], Some(0)),
            (&[6], None),
            (&[2, 2], None),
        ];
        for (shape, count) in cases {
            assert_eq!(input.split("a", &array(shape)).ok().map(|s| s.len()), count, "{shape:?}");
        }
    }

    #[test]
    fn flattened_samples_fit_and_other_layouts_do_not() {
        let count = |input: &[usize], given: &[usize]| {
            spec(input).split("a", &array(given)).ok().map(|s| s.len())
        };
        assert_eq!(count(&[1, 2, 3], &[5, 6]), Some(5));
        assert_eq!(count(&[1, 6], &[5, 2, 3]), Some(5));
        assert_eq!(count(&[1, 6], &[5, 1, 2, 3]), Some(5));
        assert_eq!(count(&[1, 2, 3], &[5, 3, 2]), None);
        assert_eq!(count(&[1, 2, 3], &[5, 7]), None);
    }

    #[test]
    fn the_array_is_found_by_name_then_x_then_shape() {
        let inputs = [spec(&[1, 4])];
        let count = |arrays: &[(&str, Array)]| {
            Samples::from_archive("f", &archive(arrays), &inputs).map(|s| s.len())
        };
        assert_eq!(count(&[("x", array(&[2, 4])), ("input", array(&[3, 4]))]), Ok(3));
        assert_eq!(count(&[("x", array(&[2, 4])), ("z", array(&[3, 4]))]), Ok(2));
        assert_eq!(count(&[("1", array(&[1, 4])), ("2", array(&[4])), ("b", array(&[2]))]), Ok(2));
    }

    #[test]
    fn labels_and_expected_outputs_come_along() {
        let y = Array { integer: true, ..array(&[2]) };
        let set = archive(&[("x", array(&[2, 4])), ("y", y), ("out", array(&[2, 3]))]);
        let samples = Samples::from_archive("f", &set, &[spec(&[1, 4])]).unwrap();
        assert_eq!(samples.labels, Some(vec![0, 1]));
        assert_eq!(samples.expected.unwrap()[1], [3.0, 4.0, 5.0]);
    }

    #[test]
    fn wrong_data_is_named() {
        let mut nan = array(&[2, 4]);
        nan.data[6] = f64::NAN;
        let cases = [
            (archive(&[("x", array(&[2, 5]))]), "\"x\" of shape [2, 5]"),
            (archive(&[("x", nan)]), "x holds NaN at [1, 2]"),
            (archive(&[("x", array(&[0, 4]))]), "f holds no sample"),
            (archive(&[]), "f holds no array"),
            (archive(&[("a", array(&[9])), ("b", array(&[8]))]), "no array for input \"input\""),
        ];
        for (set, part) in cases {
            let errors = Samples::from_archive("f", &set, &[spec(&[1, 4])]).unwrap_err();
            assert!(errors[0].message.contains(part), "{}", errors[0].message);
            assert_eq!(errors[0].code, Code::Calibration);
        }
    }

    #[test]
    fn several_inputs_need_their_names_and_equal_counts() {
        let two = [spec(&[1, 4]), InputSpec { name: "second".into(), shape: vec![1, 2] }];
        let set = archive(&[("input", array(&[3, 4])), ("second", array(&[3, 2]))]);
        assert_eq!(Samples::from_archive("f", &set, &two).unwrap().len(), 3);
        let set = archive(&[("input", array(&[3, 4])), ("second", array(&[2, 2]))]);
        assert!(Samples::from_archive("f", &set, &two).is_err());
    }
}
