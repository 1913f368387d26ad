//! Parsers and texts.
