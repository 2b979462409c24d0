//! The state store (being built).
