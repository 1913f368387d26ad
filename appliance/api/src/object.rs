//! The shape that every noun shares.
//!
//! `{ id, revision, created_at, deleting, spec, status }`: what is wanted and
//! what is seen are different types under one object, so no reader has to guess
//! which of the two a field is. `revision` is the ETag of the object.

use serde::{Deserialize, Serialize};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The objects, in order of name.
    pub items: Vec<T>,
    /// How many there are in all, on every page together.
    pub total: usize,
    /// Give this as `after` to get the next page; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How an object is, in one word and one sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Condition {
    /// False while something is left to do or is wrong.
    pub ready: bool,
    /// What is going on or what is wrong, for a person; empty when all is well.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What the reader can do about it; empty when nothing is needed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Declares the object type of a noun from its id, spec and status.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident, $id:ty, $spec:ty, $status:ty) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct $name {
            /// Unique for ever, chosen at creation.
            pub id: $id,
            /// Grows with every change of the spec; the object's ETag.
            pub revision: u64,
            /// When it was created.
            #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
            pub created_at: $crate::Timestamp,
            /// True from the request to delete it until it is gone.
            #[serde(default)]
            pub deleting: bool,
            /// What is wanted.
            pub spec: $spec,
            /// What is seen.
            pub status: $status,
        }
    };
}
