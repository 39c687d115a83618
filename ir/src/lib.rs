//! The intermediate representation: four levels, each adding one kind of decision.
//!
//! | level | a value is | decided here |
//! |---|---|---|
//! | [`tensor`] | a real tensor | *what* is computed |
//! | [`slots`] | the slots of one ciphertext | *where* each element lives |
//! | [`ckks`] | a ciphertext with level, scale, degree | *when* to rescale, relinearise, drop levels |
//! | [`plan`] | a register | *in what order*; the file that ships |
//!
//! This crate holds what compiler and runtime agree on and nothing that either of them does: types,
//! their meaning, their verifiers, their texts and their files. It depends on neither.
//! Every term is defined once, here, and used in this sense everywhere.
//!
//! # What is computed
//!
//! - A **tensor** is an array of real numbers in row-major order; its numbers are its **elements**.
//!   The batch axis is bound to 1.
//! - Everything linear is one sparse matrix over elements ([`matrix::SparseMatrix`]); an
//!   [`Affine`](tensor::Op::Affine) sums several of them, each applied to another tensor.
//!   Everything else is an element-wise [`Product`](tensor::Op::Product) or a univariate
//!   [`Function`](function::Function), which approximation turns into a
//!   [**series**](series::Series): a polynomial in the Chebyshev basis on [-1, 1].
//! - A graph's matrices, vectors and polynomials live in its [**pool**](constants::ConstPool) of
//!   constants and are named by the hash of their content.
//! - The [**origin**](origin::OriginTable) of a value is the set of ONNX nodes behind it. Passes
//!   carry it along; messages and texts show it; nothing interprets it.
//!
//! # Where it lives
//!
//! - A ciphertext has N/2 **slots**, each a real number of magnitude about one. `batch` samples may
//!   share them ([`Parameters`](parameters::Parameters)), `width = N/2/batch` slots each; whatever is
//!   said below of a ciphertext's slots holds for each sample's.
//! - A [**layout**](layout::Layout) gives each element a **place**. Place `g` is slot
//!   `g mod width` of ciphertext `g / width`.
//! - The content of a ciphertext repeats with the layout's **period**, a power of two (an input's may
//!   be any number). Repetition costs nothing, since an operation acts on all slots at once.
//! - A **rotation** by `k` moves slot `(t + k) mod width` to slot `t`.
//! - A linear map between slots is a [**transform**](transform::LinearTransform): the sum over
//!   **offsets** `d` of a **diagonal** times the input rotated by `d`. A diagonal stores only the
//!   slots that are not zero, and only those of one period.
//! - The rotations inside a transform are its **baby steps**; **giant steps** are rotations of its
//!   results, so that `n` diagonals need about `2·√n` rotations.
//! - A **fold** adds rotations of a ciphertext by its period's multiples, so that partial sums
//!   become whole sums and the period shrinks.
//! - A [**port**](slots::Port) is an input or output of the model with its layout, and with the
//!   **factor** by which the client divides (inputs) or multiplies (outputs), so that slots stay
//!   near one. [`Port::pack`](slots::Port::pack) and [`Port::unpack`](slots::Port::unpack) are the
//!   client's half of a layout.
//!
//! # When precision and room are spent
//!
//! - A number `m` is carried as the integer `round(Δ·m)`; `Δ` is its [**scale**](scale::Scale),
//!   kept exactly as a power of two times powers of chain primes. Sums need exactly equal scales.
//! - The **chain** `q_0, …, q_L` of primes is part of the [parameters](parameters::Parameters). A
//!   ciphertext at **level** `ℓ` is known modulo `q_0 ⋯ q_ℓ`; its scale must stay well below that.
//! - To [**rescale**](ckks::Op::Rescale) is to divide by the last prime: one level less, scale
//!   divided by that prime. To [**drop** levels](ckks::Op::DropLevel) is to forget primes and keep
//!   the scale.
//! - The **waterline** is the scale that every affine map and polynomial returns to.
//! - A ciphertext is one polynomial more than its **degree**: 2 after a
//!   [product](ckks::Op::Mul), and 1 again once [**relinearised**](ckks::Op::Relinearise).
//! - Rotations and relinearisation **switch keys**: the ciphertext is cut into **digits** of
//!   [`digit_size`](parameters::Parameters::digit_size) chain primes each, which are extended to
//!   the **special primes** (ModUp), multiplied by an evaluation key, and brought back (ModDown).
//!
//! # In what order, and what ships
//!
//! - A [**plan**](plan::Plan) executes operations over **registers**. An instruction may overwrite
//!   registers that it reads for the last time, and names those that it frees.
//! - An evaluation **key** serves one rotation or relinearisation up to one level
//!   ([`plan::KeySpec`]); a plan lists exactly those that it needs ([`plan::required_keys`]).
//! - A plan's **id** is the hash of its content ([`Plan::id`](plan::Plan::id)). Keys and
//!   ciphertexts carry it, so that files of different plans cannot be mixed up.
//! - [**Key parameters**](plan::KeyParams) are what the client gets: everything but the weights.
//!
//! # Files, texts, errors
//!
//! - [`container`] frames every binary file with magic, version and checksums, and replaces files
//!   atomically; [`plan`] and [`keyparams`] say what is inside theirs.
//! - [`text`] prints and parses all four levels.
//! - Each level's `verify` lists every broken invariant ([`verify::VerifierError`]): a bug of ours,
//!   or a file that is refused. What is wrong with a *model* is a [`diagnostic::Diagnostic`].
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod ckks;
pub mod constants;
pub mod container;
pub mod diagnostic;
pub mod entity;
pub mod features;
pub mod function;
pub mod keyparams;
pub mod layout;
pub mod matrix;
pub mod origin;
pub mod parameters;
pub mod plan;
pub mod primes;
pub mod scale;
pub mod series;
pub mod slots;
pub mod tail;
pub mod tensor;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transform;
pub mod verify;
