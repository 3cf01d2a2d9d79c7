//! What the headers' values say, at the bounds of the specification.

mod parent;
mod state;
