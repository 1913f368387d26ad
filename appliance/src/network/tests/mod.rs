//! Tests of the domain as a whole.
