//! Interprets execution plans on a backend.
