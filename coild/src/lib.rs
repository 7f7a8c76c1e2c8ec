//! coild
