//! A stored tensor: checked when the model is read, decoded when somebody asks.
//!
//! Decoding waits because most weights are read once, by the importer, and a model may hold
//! tensors that nobody reads. The check does not wait: after it, the number of stored elements is
//! the product of the shape, so decoding allocates no more than the file has shown.

use bytes::Bytes;

use crate::data_type::{DataType, Kind};
use crate::error::TensorError;
use crate::external::Folder;
use crate::proto;

/// A constant of the model: an initialiser, or a tensor in an attribute.
#[derive(Debug, Clone)]
pub struct Tensor {
    name: String,
    dims: Vec<usize>,
    data_type: DataType,
    storage: Storage,
}

/// Decoded elements, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Any float type; every value is exact.
    Float(Vec<f64>),
    /// Any integer type.
    Int(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Text, as bytes, which ONNX says are UTF-8.
    Text(Vec<Bytes>),
}

#[derive(Debug, Clone)]
enum Storage {
    Raw(Bytes),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Uint64(Vec<u64>),
    Text(Vec<Bytes>),
}

impl Tensor {
    /// The name in the graph; may be empty for the tensor of an attribute.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape; no dimensions for a scalar.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The element type in the file.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Number of elements, the product of the shape.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements, row-major.
    ///
    /// # Errors
    /// An element type that is not decoded, or a stored number that its type cannot hold.
    pub fn elements(&self) -> Result<Elements, TensorError> {
        match self.data_type.kind() {
            Kind::Float => Ok(Elements::Float(self.floats()?)),
            Kind::Int => Ok(Elements::Int(self.ints()?)),
            Kind::Bool => Ok(Elements::Bool(self.ints()?.iter().map(|&v| v != 0).collect())),
            Kind::Text => match &self.storage {
                Storage::Text(texts) => Ok(Elements::Text(texts.clone())),
                _ => Err(self.unsupported()),
            },
            Kind::Other => Err(self.unsupported()),
        }
    }

    fn unsupported(&self) -> TensorError {
        TensorError::Unsupported { data_type: self.data_type.to_string() }
    }

    fn floats(&self) -> Result<Vec<f64>, TensorError> {
        let data_type = self.data_type;
        match &self.storage {
            Storage::Float(v) => Ok(v.iter().map(|&x| f64::from(x)).collect()),
            Storage::Double(v) => Ok(v.clone()),
            Storage::Raw(bytes) => {
                Ok(words(bytes, data_type, self.len()).map(|w| data_type.float_of(w)).collect())
            }
            Storage::Int32(v) if data_type.width().is_some_and(|w| w < 8) => {
                let packed = self.packed(v)?;
                let decode = |w| data_type.float_of(w);
                Ok(words(&packed, data_type, self.len()).map(decode).collect())
            }
            Storage::Int32(v) => {
                let limit = 1_u64 << data_type.width().unwrap_or(0);
                let decode = |(index, &x): (usize, &i32)| {
                    let bits = u64::from(x as u32);
                    if bits < limit {
                        Ok(data_type.float_of(bits))
                    } else {
                        Err(self.out_of_range(index, x))
                    }
                };
                v.iter().enumerate().map(decode).collect()
            }
            _ => Err(self.unsupported()),
        }
    }

    /// The bytes of elements of less than a byte, of which one number holds one.
    fn packed(&self, numbers: &[i32]) -> Result<Vec<u8>, TensorError> {
        let byte = |(i, &x): (usize, &i32)| u8::try_from(x).map_err(|_| self.out_of_range(i, x));
        numbers.iter().enumerate().map(byte).collect()
    }

    fn ints(&self) -> Result<Vec<i64>, TensorError> {
        let data_type = self.data_type;
        match &self.storage {
            Storage::Raw(bytes) => words(bytes, data_type, self.len())
                .enumerate()
                .map(|(i, w)| data_type.int_of(w).ok_or_else(|| self.out_of_range(i, w)))
                .collect(),
            Storage::Int64(v) => Ok(v.clone()),
            Storage::Uint64(v) => {
                let top =
                    if data_type == DataType::Uint32 { u64::from(u32::MAX) } else { u64::MAX };
                let decode = |(i, &x): (usize, &u64)| {
                    let value = i64::try_from(x).ok().filter(|_| x <= top);
                    value.ok_or_else(|| self.out_of_range(i, x))
                };
                v.iter().enumerate().map(decode).collect()
            }
            Storage::Int32(v) if data_type.width().is_some_and(|w| w < 8) => {
                let packed = self.packed(v)?;
                let decode = |w| data_type.int_of(w).unwrap_or(0);
                Ok(words(&packed, data_type, self.len()).map(decode).collect())
            }
            Storage::Int32(v) => {
                let decode = |(i, &x): (usize, &i32)| {
                    let value = i64::from(x);
                    let inside = int_range(data_type).contains(&value);
                    if inside { Ok(value) } else { Err(self.out_of_range(i, x)) }
                };
                v.iter().enumerate().map(decode).collect()
            }
            _ => Err(self.unsupported()),
        }
    }

    fn out_of_range(&self, index: usize, found: impl ToString) -> TensorError {
        TensorError::OutOfRange {
            data_type: self.data_type.to_string(),
            index,
            found: found.to_string(),
        }
    }

    /// Checks a tensor message and takes its data over without a copy.
    ///
    /// # Errors
    /// Shape and data disagree, data in the wrong field, or external data that `folder` refuses.
    pub(crate) fn from_proto(
        message: proto::TensorProto,
        folder: &Folder,
    ) -> Result<Self, TensorError> {
        if message.segment.is_some() {
            return Err(TensorError::Segmented);
        }
        let data_type = DataType::from_number(message.data_type.unwrap_or(0));
        let (dims, len) = shape(&message.dims)?;
        let name = message.name.clone().unwrap_or_default();
        let storage = if message.data_location == Some(EXTERNAL) {
            let bytes = byte_len(data_type, len, &message.dims)?
                .ok_or(TensorError::Unsupported { data_type: data_type.to_string() })?;
            Storage::Raw(folder.load(&message.external_data, bytes as u64)?)
        } else {
            inline(message, data_type)?
        };
        let tensor = Self { name, dims, data_type, storage };
        tensor.check_length(len)?;
        Ok(tensor)
    }

    fn check_length(&self, len: usize) -> Result<(), TensorError> {
        let packed = match self.data_type.width() {
            Some(width) if width < 8 => len.div_ceil(8 / width),
            _ => len,
        };
        let (unit, wanted, found) = match &self.storage {
            Storage::Raw(bytes) => {
                let dims: Vec<i64> = self.dims.iter().map(|&d| d as i64).collect();
                match byte_len(self.data_type, len, &dims)? {
                    Some(wanted) => ("bytes", wanted, bytes.len()),
                    // An element type that is never decoded has no length to hold it to.
                    None => return Ok(()),
                }
            }
            Storage::Float(v) => ("elements", len, v.len()),
            Storage::Double(v) => ("elements", len, v.len()),
            Storage::Int32(v) => ("elements", packed, v.len()),
            Storage::Int64(v) => ("elements", len, v.len()),
            Storage::Uint64(v) => ("elements", len, v.len()),
            Storage::Text(v) => ("elements", len, v.len()),
        };
        if wanted == found || self.data_type.kind() == Kind::Other {
            Ok(())
        } else {
            Err(TensorError::Length { dims: self.dims.clone(), unit, wanted, found })
        }
    }
}

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// The shape as lengths, and its product.
fn shape(dims: &[i64]) -> Result<(Vec<usize>, usize), TensorError> {
    let too_large = || TensorError::TooLarge { dims: dims.to_vec() };
    let mut lengths = Vec::with_capacity(dims.len());
    for (axis, &found) in dims.iter().enumerate() {
        if found < 0 {
            return Err(TensorError::NegativeDimension { axis, found });
        }
        lengths.push(usize::try_from(found).map_err(|_| too_large())?);
    }
    // Zeros are left out of the overflow check, so that no order of dimensions hides one.
    let nonzero = lengths.iter().filter(|&&d| d != 0);
    let product = nonzero.copied().try_fold(1_usize, usize::checked_mul).ok_or_else(too_large)?;
    let len = if lengths.contains(&0) { 0 } else { product };
    Ok((lengths, len))
}

/// Bytes that `len` elements take in raw form; `None` where there is no raw form.
fn byte_len(data_type: DataType, len: usize, dims: &[i64]) -> Result<Option<usize>, TensorError> {
    let Some(width) = data_type.width() else { return Ok(None) };
    let bits = len.checked_mul(width);
    let bits = bits.ok_or_else(|| TensorError::TooLarge { dims: dims.to_vec() })?;
    Ok(Some(bits.div_ceil(8)))
}

/// Picks the one field that holds the data.
fn inline(message: proto::TensorProto, data_type: DataType) -> Result<Storage, TensorError> {
    let mut found = Vec::new();
    let mut note = |present: bool, name: &'static str| {
        if present {
            found.push(name);
        }
    };
    note(message.raw_data.is_some(), "raw_data");
    note(!message.float_data.is_empty(), "float_data");
    note(!message.int32_data.is_empty(), "int32_data");
    note(!message.string_data.is_empty(), "string_data");
    note(!message.int64_data.is_empty(), "int64_data");
    note(!message.double_data.is_empty(), "double_data");
    note(!message.uint64_data.is_empty(), "uint64_data");
    let own_field = match data_type {
        DataType::Float => "float_data",
        DataType::Double => "double_data",
        DataType::Int64 => "int64_data",
        DataType::Uint32 | DataType::Uint64 => "uint64_data",
        DataType::Text => "string_data",
        _ => "int32_data",
    };
    let field = match found.as_slice() {
        [] => own_field,
        ["raw_data"] if data_type != DataType::Text => "raw_data",
        [only] if *only == own_field || data_type.kind() == Kind::Other => only,
        several => {
            return Err(TensorError::Storage {
                data_type: data_type.to_string(),
                found: several.join(" and "),
            });
        }
    };
    Ok(match field {
        "raw_data" => Storage::Raw(message.raw_data.unwrap_or_default()),
        "float_data" => Storage::Float(message.float_data),
        "double_data" => Storage::Double(message.double_data),
        "int64_data" => Storage::Int64(message.int64_data),
        "uint64_data" => Storage::Uint64(message.uint64_data),
        "string_data" => Storage::Text(message.string_data),
        _ => Storage::Int32(message.int32_data),
    })
}

/// The first `len` elements' bits, each in the low bits of a word; data is little-endian.
fn words(bytes: &[u8], data_type: DataType, len: usize) -> impl Iterator<Item = u64> {
    let width = data_type.width().unwrap_or(8);
    (0..len).map(move |i| {
        if width < 8 {
            let each = 8 / width;
            let byte = bytes.get(i / each).copied().unwrap_or(0);
            u64::from(byte >> (i % each * width)) & ((1 << width) - 1)
        } else {
            let size = width / 8;
            let element = bytes.get(i * size..(i + 1) * size).unwrap_or(&[]);
            element.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
        }
    })
}

/// The values that an integer type stored in `int32_data` may have.
fn int_range(data_type: DataType) -> std::ops::RangeInclusive<i64> {
    match data_type {
        DataType::Bool => 0..=1,
        DataType::Uint8 => 0..=0xff,
        DataType::Int8 => -0x80..=0x7f,
        DataType::Uint16 => 0..=0xffff,
        DataType::Int16 => -0x8000..=0x7fff,
        _ => i64::from(i32::MIN)..=i64::from(i32::MAX),
    }
}
