//! Consensus (being built).
