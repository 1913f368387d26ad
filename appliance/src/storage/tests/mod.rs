//! Tests of the domain: the plan by fixtures and by property, what is told, and
//! uploads and fetches against real files and sockets.

mod faults;
mod fetch;
mod model;
mod plan;
mod uploads;
