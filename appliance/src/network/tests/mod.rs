//! Tests of the domain: the plan by fixtures and by property, parsers on real
//! output, and the whole of it in network namespaces.

mod live;
mod model;
mod plan;
mod text;
mod world;
