//! The four levels of the intermediate representation and every file format.
