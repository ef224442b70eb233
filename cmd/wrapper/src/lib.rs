//! What every wrapper binary shares.
