//! The caddy service.
