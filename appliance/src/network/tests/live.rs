//! The whole of it in network namespaces.
