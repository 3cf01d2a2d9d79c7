//! What differs between processors.
//!
//! In: a task's saved registers. Out: the arguments of its system call. Owns: nothing.

pub(crate) mod registers;
