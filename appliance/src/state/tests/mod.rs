//! Tests of the state as a whole; each file says what it holds on to.

mod sample;
mod store;
mod suite;
